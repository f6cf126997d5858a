// Cycles of single steps, by the counter of the multiprocessor that they run on.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <vector>

#include "../../csrc/cuda/arch.cuh"
#include "prototypes/sampling_list.cuh"
#include "stopwatch.cuh"

namespace machine {

constexpr int kSteps = 1024;
constexpr int kIndependent = 4;  // instructions of a warp that do not wait for each other, where a rate is measured

// The cycles that the whole block takes for `body`.
template <typename Body>
__device__ void count_cycles(long long* cycles, const Body& body) {
  __syncthreads();
  const long long start = clock64();
  body();
  __syncthreads();
  if (threadIdx.x == 0) *cycles = clock64() - start;
}

// One instruction from sm_80 on, five shuffles before.
struct WarpMaximum {
  __device__ static unsigned step(unsigned value) { return pointkernels::cuda::warp_max(value); }
};

struct Shuffle {
  __device__ static unsigned step(unsigned value) { return __shfl_xor_sync(pointkernels::cuda::kFullWarp, value, 5); }
};

template <typename Step, int kChains>
__global__ void __launch_bounds__(512) chain_kernel(long long* cycles, unsigned* result) {
  unsigned chain[kChains];
  for (int c = 0; c < kChains; ++c) chain[c] = threadIdx.x * 7 + static_cast<unsigned>(c);
  count_cycles(cycles, [&] {
#pragma unroll 4
    for (int step = 0; step < kSteps; ++step) {
#pragma unroll
      for (int c = 0; c < kChains; ++c) chain[c] = Step::step(chain[c]);
    }
  });
  unsigned sum = 0;
  for (int c = 0; c < kChains; ++c) sum += chain[c];
  if (sum == ~0u) *result = sum;
}

// Cells hold the byte at which the next one begins: the address is what was read, with nothing to compute.
__global__ static void shared_chase_kernel(long long* cycles, unsigned* result) {
  __shared__ unsigned cells[kSteps];
  for (unsigned i = threadIdx.x; i < kSteps; i += blockDim.x) cells[i] = (i + 37) % kSteps * sizeof(unsigned);
  unsigned at = 0;
  count_cycles(cycles, [&] {
    for (int step = 0; step < kSteps; ++step) {
      at = *reinterpret_cast<const unsigned*>(reinterpret_cast<const unsigned char*>(cells) + at);
    }
  });
  if (at == ~0u) *result = at;
}

__global__ static void cached_chase_kernel(const unsigned long long* at, long long* cycles, unsigned* result) {
  count_cycles(cycles, [&] {
    for (int step = 0; step < kSteps; ++step) at = reinterpret_cast<const unsigned long long*>(__ldcg(at));
  });
  if (at == nullptr) *result = 1;
}

__global__ static void __launch_bounds__(1024) barrier_kernel(long long* cycles) {
  count_cycles(cycles, [] {
#pragma unroll 16
    for (int step = 0; step < kSteps; ++step) __syncthreads();
  });
}

template <int kOwn>
__global__ void __launch_bounds__(32) list_steps_kernel(const float4* list, long long* cycles, unsigned* result) {
  prototypes::ListShare<kOwn> own = prototypes::list_share<kOwn>(list);
  int sum = 0;
  // When everything is taken, one step in as many as the list is long, the list begins anew.
  count_cycles(cycles, [&] {
    for (int step = 0; step < kSteps; ++step) {
      const int taken = prototypes::list_step(own, -1.0f);
      sum += taken;
      if (taken < 0) own = prototypes::list_share<kOwn>(list);
    }
  });
  if (sum == -1) *result = 1;
}

// Holds a multiprocessor for so many cycles.
__global__ static void spin_kernel(long long cycles) {
  const long long start = clock64();
  while (clock64() - start < cycles) continue;
}

// Groups of eight lanes read rows of 128 bytes, 16 bytes a lane, at places that look random.
constexpr int kRows = 256;
constexpr int kGathers = 4096;
__global__ static void __launch_bounds__(1024) shared_gather_kernel(float* result) {
  __shared__ float4 tile[kRows * 8];
  for (int i = static_cast<int>(threadIdx.x); i < kRows * 8; i += static_cast<int>(blockDim.x)) {
    tile[i] = make_float4(1, 2, 3, static_cast<float>(i));
  }
  __syncthreads();
  unsigned row = threadIdx.x / 8;
  const unsigned quad = threadIdx.x % 8;
  float4 sum = {0, 0, 0, 0};
#pragma unroll 8
  for (int step = 0; step < kGathers; ++step) {
    row = (row * 5 + 37) % kRows;  // passes through all rows
    const float4 value = tile[row * 8 + quad];
    sum.x += value.x, sum.y += value.y, sum.z += value.z, sum.w += value.w;
  }
  if (sum.x + sum.y + sum.z + sum.w == -1) *result = sum.x;
}

// The median of the cycles that runs of `launch` count.
template <typename Launch>
double median_cycles(Stopwatch& watch, const Launch& launch) {
  long long* const cycles = allocate<long long>(1);
  std::vector<double> runs;
  for (int run = 0; run <= kRuns; ++run) {
    watch.once([&] { launch(cycles); });
    long long counted = 0;
    check(cudaMemcpy(&counted, cycles, sizeof(counted), cudaMemcpyDeviceToHost), "cycles");
    if (run > 0) runs.push_back(static_cast<double>(counted));
  }
  check(cudaFree(cycles), "memory");
  return median(runs);
}

// Pointers from line to line of half a mebibyte, which every second-level cache holds.
inline unsigned long long* pointer_chain() {
  constexpr int kLines = 4096, kWords = 16;
  unsigned long long* const chain = allocate<unsigned long long>(kLines * kWords);
  std::vector<unsigned long long> words(kLines * kWords);
  for (int line = 0; line < kLines; ++line) {
    words[line * kWords] = reinterpret_cast<unsigned long long>(chain + (line * 5 + 1237) % kLines * kWords);
  }
  check(cudaMemcpy(chain, words.data(), words.size() * sizeof(words[0]), cudaMemcpyHostToDevice), "copy");
  return chain;
}

}  // namespace machine
