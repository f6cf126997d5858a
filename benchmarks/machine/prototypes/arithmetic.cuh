// Distances and their order, the same to the last bit in kernels and in their references on the host.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>

namespace prototypes {

__host__ __device__ inline float fused(float a, float b, float c) {
#if defined(__CUDA_ARCH__) && !defined(PK_EMULATION)
  return __fmaf_rn(a, b, c);
#else
  return std::fma(a, b, c);
#endif
}

__host__ __device__ inline float squared_distance(float x, float y, float z, float to_x, float to_y, float to_z) {
  const float dx = x - to_x, dy = y - to_y, dz = z - to_z;
  return fused(dz, dz, fused(dy, dy, dx * dx));
}

// Orders distances as unsigned integers: 0 for a negative one, which stands for a point that is none or is taken.
__device__ inline uint32_t rank_of(float distance) { return distance < 0 ? 0 : __float_as_uint(distance) + 1; }

}  // namespace prototypes
