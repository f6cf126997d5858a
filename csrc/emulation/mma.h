// Bodies for wrappers of tensor core instructions. A GPU adds the products of one instruction with fewer bits than here
// and in an order of its own; results agree where all sums are exact.
#pragma once

#include <cstdint>

#include "arithmetic.h"
#include "warp.h"

namespace emulation {

// cvt.rna.tf32.f32: to the nearest number with ten bits of mantissa, ties away from zero.
inline uint32_t to_tf32(float value) {
  const uint32_t bits = __float_as_uint(value);
  const bool is_finite = (bits & 0x7f800000u) != 0x7f800000u;
  return is_finite ? (bits + 0x1000u) & ~0x1fffu : bits;
}

// mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32, which ignores the lowest 13 bits of its factors.
inline void mma_m16n8k8_tf32(float (&sum)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], PK_CALLER) {
  const Site site = PK_SITE("mma.m16n8k8.tf32");
  float left[16][8];
  float right[8][8];
  for (int i = 0; i < 4; ++i) {
    const uint64_t* const all = exchange(0xffffffffu, a[i], site);
    for (unsigned from = 0; from < kLanes; ++from) {
      left[from / 4 + i % 2 * 8][from % 4 + i / 2 * 4] = __uint_as_float(static_cast<uint32_t>(all[from]) & ~0x1fffu);
    }
  }
  for (int i = 0; i < 2; ++i) {
    const uint64_t* const all = exchange(0xffffffffu, b[i], site);
    for (unsigned from = 0; from < kLanes; ++from) {
      right[from % 4 + i * 4][from / 4] = __uint_as_float(static_cast<uint32_t>(all[from]) & ~0x1fffu);
    }
  }
  for (int i = 0; i < 4; ++i) {
    double exact = sum[i];
    for (int k = 0; k < 8; ++k) {
      exact += static_cast<double>(left[lane() / 4 + i / 2 * 8][k]) *
               static_cast<double>(right[k][lane() % 4 * 2 + static_cast<unsigned>(i) % 2]);
    }
    sum[i] = static_cast<float>(exact);
  }
}

}  // namespace emulation
