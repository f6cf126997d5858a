// Stands in for CUDA's header of this name: asynchronous copies from global to shared memory (cp.async).
//
// A GPU may carry out such a copy at any time between the call and the wait for its group. Here that happens at one of
// the two ends: at once in the forward schedule, as late as it may in all others and under the race detector. So a
// kernel that reads the destination or overwrites the source before it has waited gives different results.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "async_copies.h"

namespace emulation {

// Of the running thread.
AsyncCopies& async_copies();
bool copies_at_once();

// Here, and not in the library, so that sanitizers and race detector see it as part of the kernel.
inline void carry_out(const AsyncCopy& copy) {
  for (size_t i = 0; i < copy.bytes; ++i) copy.to[i] = i < copy.bytes - copy.zeros ? copy.from[i] : 0;
}

}  // namespace emulation

inline void __pipeline_memcpy_async(void* to, const void* from, size_t bytes, size_t zeros = 0, PK_CALLER) {
  const emulation::Site site = PK_SITE("__pipeline_memcpy_async");
  if ((bytes != 4 && bytes != 8 && bytes != 16) || zeros > bytes) emulation::fail("the size must be 4, 8 or 16", site);
  if (((reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from)) & (bytes - 1)) != 0) {
    emulation::fail("an address is not a multiple of the size", site);
  }
  if (!emulation::is_own_shared(to)) emulation::fail("the destination is not this block's shared memory", site);
  const emulation::AsyncCopy copy{static_cast<unsigned char*>(to), static_cast<const unsigned char*>(from), bytes,
                                  zeros};
  if (emulation::copies_at_once()) {
    emulation::carry_out(copy);
  } else {
    emulation::async_copies().add(copy);
  }
}

inline void __pipeline_commit() { emulation::async_copies().commit(); }

inline void __pipeline_wait_prior(unsigned pending) {
  emulation::AsyncCopy copy;
  while (emulation::async_copies().take(pending, copy)) emulation::carry_out(copy);
}
