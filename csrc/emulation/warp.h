// Collectives of the 32 lanes of a warp. All lanes that a mask names must make the same call with the same mask.
// There is no __activemask(): nothing that is right may depend on which lanes happen to run together.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "threads.h"
#include "vector_types.h"

namespace emulation {

template <typename T>
uint64_t to_bits(T value) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(uint64_t));
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}

template <typename T>
T from_bits(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

// The value of lane `source`, or the own one where that lies outside the segment. CUDA leaves the value of a lane that
// is not in the mask undefined; here it is an error.
template <typename T>
T shuffled(unsigned mask, T value, int source, bool in_segment, const Site& site) {
  const uint64_t* const all = exchange(mask, to_bits(value), site);
  if (!in_segment) return value;
  if ((mask >> source & 1) == 0) fail("the source lane is not in the mask", site);
  return from_bits<T>(all[source]);
}

// The lanes of the mask for whose deposits `predicate` holds.
template <typename Predicate>
unsigned lanes_where(unsigned mask, const uint64_t* all, const Predicate& predicate) {
  unsigned lanes = 0;
  for (unsigned from = 0; from < kLanes; ++from) {
    if ((mask >> from & 1) != 0 && predicate(all[from])) lanes |= 1u << from;
  }
  return lanes;
}

// In order of lanes.
template <typename T, typename Combine>
T reduced(unsigned mask, T value, const Site& site, const Combine& combine) {
  const uint64_t* const all = exchange(mask, to_bits(value), site);
  T result = value;
  bool first = true;
  for (unsigned from = 0; from < kLanes; ++from) {
    if ((mask >> from & 1) == 0) continue;
    const T other = from_bits<T>(all[from]);
    result = first ? other : combine(result, other);
    first = false;
  }
  return result;
}

}  // namespace emulation

inline void __syncwarp(unsigned mask = 0xffffffffu, PK_CALLER) {
  emulation::exchange(mask, 0, PK_SITE("__syncwarp"), true);
}

// --- shuffles; `width`, a power of two, cuts the warp into segments

template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = warpSize, PK_CALLER) {
  const int own = static_cast<int>(emulation::lane());
  return emulation::shuffled(mask, value, own / width * width + (source & (width - 1)), true, PK_SITE("__shfl_sync"));
}

template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = warpSize, PK_CALLER) {
  const int own = static_cast<int>(emulation::lane());
  const int source = own ^ lanes;
  return emulation::shuffled(mask, value, source, source / width <= own / width, PK_SITE("__shfl_xor_sync"));
}

template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize, PK_CALLER) {
  const int own = static_cast<int>(emulation::lane());
  const int source = own - static_cast<int>(delta);
  return emulation::shuffled(mask, value, source, source >= own / width * width, PK_SITE("__shfl_up_sync"));
}

template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize, PK_CALLER) {
  const int own = static_cast<int>(emulation::lane());
  const int source = own + static_cast<int>(delta);
  return emulation::shuffled(mask, value, source, source < own / width * width + width, PK_SITE("__shfl_down_sync"));
}

// --- votes and matches

inline unsigned __ballot_sync(unsigned mask, int predicate, PK_CALLER) {
  const uint64_t* const all = emulation::exchange(mask, predicate != 0, PK_SITE("__ballot_sync"));
  return emulation::lanes_where(mask, all, [](uint64_t vote) { return vote != 0; });
}

inline int __any_sync(unsigned mask, int predicate, PK_CALLER) {
  const uint64_t* const all = emulation::exchange(mask, predicate != 0, PK_SITE("__any_sync"));
  return emulation::lanes_where(mask, all, [](uint64_t vote) { return vote != 0; }) != 0;
}

inline int __all_sync(unsigned mask, int predicate, PK_CALLER) {
  const uint64_t* const all = emulation::exchange(mask, predicate != 0, PK_SITE("__all_sync"));
  return emulation::lanes_where(mask, all, [](uint64_t vote) { return vote != 0; }) == mask;
}

template <typename T>
unsigned __match_any_sync(unsigned mask, T value, PK_CALLER) {
  const uint64_t own = emulation::to_bits(value);
  const uint64_t* const all = emulation::exchange(mask, own, PK_SITE("__match_any_sync"));
  return emulation::lanes_where(mask, all, [own](uint64_t other) { return other == own; });
}

template <typename T>
unsigned __match_all_sync(unsigned mask, T value, int* all_alike, PK_CALLER) {
  const uint64_t own = emulation::to_bits(value);
  const uint64_t* const all = emulation::exchange(mask, own, PK_SITE("__match_all_sync"));
  *all_alike = emulation::lanes_where(mask, all, [own](uint64_t other) { return other == own; }) == mask;
  return *all_alike ? mask : 0;
}

// --- reductions, from sm_80 on

#if __CUDA_ARCH__ >= 800

#define PK_REDUCTION(name, type, combined)                                                           \
  inline type name(unsigned mask, type value, PK_CALLER) {                                           \
    return emulation::reduced(mask, value, PK_SITE(#name), [](type a, type b) { return combined; }); \
  }

PK_REDUCTION(__reduce_max_sync, unsigned, a < b ? b : a)
PK_REDUCTION(__reduce_max_sync, int, a < b ? b : a)
PK_REDUCTION(__reduce_min_sync, unsigned, b < a ? b : a)
PK_REDUCTION(__reduce_min_sync, int, b < a ? b : a)
PK_REDUCTION(__reduce_add_sync, unsigned, a + b)
PK_REDUCTION(__reduce_add_sync, int, static_cast<int>(static_cast<unsigned>(a) + static_cast<unsigned>(b)))
PK_REDUCTION(__reduce_and_sync, unsigned, a& b)
PK_REDUCTION(__reduce_or_sync, unsigned, a | b)
PK_REDUCTION(__reduce_xor_sync, unsigned, a ^ b)

#undef PK_REDUCTION

#endif
