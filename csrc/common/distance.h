// The canonical squared distance: what "distance" means in every kernel of this library.
//
//   (p_0 - q_0)^2 rounded, then one fused multiply-add per further coordinate, in coordinate order.
//
// Every device and every code path evaluates exactly this chain of roundings, so all of them rank neighbours alike and
// give the same integers. A vector kernel must keep one accumulator per pair; splitting the chain over coordinates
// changes the roundings.
#pragma once

#include <cmath>
#include <cstdint>

#include "macros.h"

namespace pointkernels {

PK_HOST_DEVICE inline float fused_multiply_add(float a, float b, float c) {
#ifdef __CUDA_ARCH__
  return __fmaf_rn(a, b, c);
#else
  return __builtin_fmaf(a, b, c);
#endif
}

PK_HOST_DEVICE inline double fused_multiply_add(double a, double b, double c) {
#ifdef __CUDA_ARCH__
  return __fma_rn(a, b, c);
#else
  return __builtin_fma(a, b, c);
#endif
}

template <typename T>
PK_HOST_DEVICE inline T squared_distance(const T* p, const T* q, int64_t dims) {
  // fma(x, x, 0) rounds x * x once, so the first coordinate needs no case of its own.
  T sum = 0;
  for (int64_t d = 0; d < dims; ++d) {
    const T difference = p[d] - q[d];
    sum = fused_multiply_add(difference, difference, sum);
  }
  return sum;
}

}  // namespace pointkernels
