// One product on the tensor cores: the instruction, and its body for the emulation. To be moved to csrc/cuda/arch.cuh
// by the first kernel there that uses it.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#ifdef PK_EMULATION
#include <mma.h>
#endif

// The nearest number with ten bits of mantissa, ties away from zero.
__device__ inline uint32_t to_tf32(float value) {
#ifdef PK_EMULATION
  return emulation::to_tf32(value);
#else
  uint32_t rounded;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(value));
  return rounded;
#endif
}

// sum += a b for a (16, 8) and b (8, 8) of TF32 numbers, spread over the lanes of a warp as the PTX manual says: with
// g = lane / 4 and t = lane % 4, a holds (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4), b holds (t, g), (t + 4, g),
// and sum holds (g, 2 t), (g, 2 t + 1), (g + 8, 2 t), (g + 8, 2 t + 1). From sm_80 on.
__device__ inline void multiply_add_tf32(float (&sum)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#ifdef PK_EMULATION
  emulation::mma_m16n8k8_tf32(sum, a, b);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}
