// Atomic operations and fences. Threads are never interrupted, so plain operations are atomic.
#pragma once

#include "counters.h"
#include "races.h"

namespace emulation {

template <typename T>
struct Identity {
  using type = T;
};

// Takes the value type from the address alone, as CUDA's overloads do.
template <typename T>
using Same = typename Identity<T>::type;

// The race detector must see one atomic access, not a read and a write.
template <typename T, typename Change>
__attribute__((no_sanitize("thread"), noinline)) T atomic_change(T* address, const Change& change) {
  races::note(address, sizeof(T), races::Kind::kAtomic, __builtin_return_address(0));
  counters::note(address, sizeof(T), races::Kind::kAtomic, __builtin_return_address(0));
  const T old = *address;
  *address = change(old);
  return old;
}

}  // namespace emulation

template <typename T>
T atomicAdd(T* address, emulation::Same<T> value) {
  return emulation::atomic_change(address, [value](T old) { return static_cast<T>(old + value); });
}

template <typename T>
T atomicSub(T* address, emulation::Same<T> value) {
  return emulation::atomic_change(address, [value](T old) { return static_cast<T>(old - value); });
}

template <typename T>
T atomicMax(T* address, emulation::Same<T> value) {
  return emulation::atomic_change(address, [value](T old) { return old < value ? value : old; });
}

template <typename T>
T atomicMin(T* address, emulation::Same<T> value) {
  return emulation::atomic_change(address, [value](T old) { return value < old ? value : old; });
}

template <typename T>
T atomicOr(T* address, emulation::Same<T> value) {
  return emulation::atomic_change(address, [value](T old) { return static_cast<T>(old | value); });
}

template <typename T>
T atomicAnd(T* address, emulation::Same<T> value) {
  return emulation::atomic_change(address, [value](T old) { return static_cast<T>(old & value); });
}

template <typename T>
T atomicXor(T* address, emulation::Same<T> value) {
  return emulation::atomic_change(address, [value](T old) { return static_cast<T>(old ^ value); });
}

template <typename T>
T atomicExch(T* address, emulation::Same<T> value) {
  return emulation::atomic_change(address, [value](T) { return value; });
}

template <typename T>
T atomicCAS(T* address, emulation::Same<T> expected, emulation::Same<T> value) {
  return emulation::atomic_change(address, [=](T old) { return old == expected ? value : old; });
}

inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
