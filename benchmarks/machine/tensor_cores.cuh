// Operations of tensor cores a second, by mma.sync: what a warp reaches by itself. Warp groups (wgmma) may reach more.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "stopwatch.cuh"

namespace machine {

constexpr int kProducts = 2048;
constexpr int kSums = 4;  // independent, so that latency is hidden

// The instruction is text, so only a macro can stand for both formats; nothing is done where there is no such product.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
#define MULTIPLY_ADD(instruction)                                                             \
  asm volatile(instruction " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
               : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])                       \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
#else
#define MULTIPLY_ADD(instruction) static_cast<void>(sum), static_cast<void>(a), static_cast<void>(b)
#endif

struct Tf32 {
  static constexpr int kOperations = 2 * 16 * 8 * 8;

  __device__ static void multiply_add(float (&sum)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    MULTIPLY_ADD("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32");
  }
};

struct Bf16 {
  static constexpr int kOperations = 2 * 16 * 8 * 16;

  __device__ static void multiply_add(float (&sum)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    MULTIPLY_ADD("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32");
  }
};

#undef MULTIPLY_ADD

template <typename Format>
__global__ void __launch_bounds__(512) product_kernel(float* result) {
  float sum[kSums][4] = {};
  const uint32_t a[4] = {threadIdx.x, threadIdx.x + 1, threadIdx.x + 2, threadIdx.x + 3};
  const uint32_t b[2] = {threadIdx.x + 4, threadIdx.x + 5};
  for (int step = 0; step < kProducts; ++step) {
#pragma unroll
    for (int s = 0; s < kSums; ++s) Format::multiply_add(sum[s], a, b);
  }
  float total = 0;
  for (int s = 0; s < kSums; ++s) total += sum[s][0] + sum[s][1] + sum[s][2] + sum[s][3];
  if (total == -1) *result = total;
}

// 0 where the device has no such product.
template <typename Format>
double product_rate(Stopwatch& watch, const cudaDeviceProp& device, float* result) {
  if (device.major < 8) return 0;
  const int blocks = device.multiProcessorCount * 4, threads = 512;
  const double seconds = watch.seconds([&] { product_kernel<Format><<<blocks, threads, 0, watch.stream()>>>(result); });
  return static_cast<double>(blocks) * (threads / 32) * kProducts * kSums * Format::kOperations / seconds;
}

}  // namespace machine
