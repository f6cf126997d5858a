// Everything that depends on the GPU's architecture, and the only file that may hold inline PTX.
//
// The kernels also run on a CPU (tests only): there the compiler is a host compiler, PK_EMULATION is defined, and
// __CUDA_ARCH__ says which of the paths below is exercised.
#pragma once

#include <cuda_runtime.h>

#include <cassert>
#include <cstdint>

namespace pointkernels::cuda {

constexpr int kWarpSize = 32;
constexpr unsigned kFullWarp = 0xffffffffu;

// Stops the grid with cudaErrorAssert and a message, whether or not NDEBUG is set: guards reads that bad input would
// send out of bounds. A condition, not a function, so that the message shows it.
#ifdef PK_EMULATION
#define PK_DEVICE_CHECK(condition) PK_EMULATION_CHECK(condition)
#else
#define PK_DEVICE_CHECK(condition) \
  ((condition) ? static_cast<void>(0) : __assert_fail(#condition, __FILE__, __LINE__, __func__))
#endif

// Counts a step of an algorithm where the emulation counts, under the kernel's name; nothing on a GPU.
#ifdef PK_EMULATION
#define PK_COUNT(what, number) emulation::counters::count_work(what, number)
#else
#define PK_COUNT(what, number) static_cast<void>(0)
#endif

// The block's dynamic shared memory, 16-byte aligned.
template <typename T>
__device__ inline T* dynamic_shared() {
#ifdef PK_EMULATION
  return static_cast<T*>(emulation::dynamic_shared());
#else
  extern __shared__ __align__(16) unsigned char bytes[];
  return reinterpret_cast<T*>(bytes);
#endif
}

// Largest and smallest value over the 32 lanes of a warp, in every lane. Integer reductions are one instruction from
// sm_80 on.
__device__ inline uint32_t warp_max(uint32_t value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  return __reduce_max_sync(kFullWarp, value);
#else
  for (int step = kWarpSize / 2; step > 0; step /= 2) value = max(value, __shfl_xor_sync(kFullWarp, value, step));
  return value;
#endif
}

__device__ inline uint32_t warp_min(uint32_t value) { return ~warp_max(~value); }

}  // namespace pointkernels::cuda
