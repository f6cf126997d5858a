// Farthest point sampling with a block for each cloud, points and their distances in registers, a barrier a sample.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "../../../csrc/cuda/arch.cuh"
#include "../../../csrc/cuda/launch.cuh"
#include "arithmetic.cuh"
#include "trial.h"

namespace prototypes {

// Grid: a block of kWarps warps for each cloud of `size` <= 32 kWarps kOwn points (x, y, z). Shared: the points, and
// two sets of a rank and an index for each warp, of which each sample uses the other one, so that one barrier is
// enough. A thread has kOwn points that follow each other: of equal ranks, the lowest lane and the lowest warp have the
// lowest index, which a vote finds.
template <int kOwn, int kWarps>
__global__ void __launch_bounds__(32 * kWarps) sampling_kernel(const float* points, int size, int count, int* samples) {
  using pointkernels::cuda::kFullWarp;
  constexpr int kThreads = 32 * kWarps;
  __shared__ float4 tile[kThreads * kOwn];
  __shared__ uint32_t warp_rank[2][kWarps];
  __shared__ int warp_index[2][kWarps];
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const float* const cloud = points + static_cast<int64_t>(blockIdx.x) * size * 3;
  for (int i = thread; i < size; i += kThreads) {
    tile[i] = make_float4(cloud[3 * i], cloud[3 * i + 1], cloud[3 * i + 2], 0);
  }
  __syncthreads();
  const int first = thread * kOwn;
  float x[kOwn], y[kOwn], z[kOwn], least[kOwn];
#pragma unroll
  for (int r = 0; r < kOwn; ++r) {
    const bool there = first + r < size;
    const float4 point = there ? tile[first + r] : make_float4(0, 0, 0, 0);
    x[r] = point.x, y[r] = point.y, z[r] = point.z;
    least[r] = there ? INFINITY : -1.0f;
  }

  int sample = 0;
  for (int m = 0; m < count; ++m) {
    if (thread == 0) samples[static_cast<int64_t>(blockIdx.x) * count + m] = sample;
    if (static_cast<unsigned>(sample - first) < static_cast<unsigned>(kOwn)) {
#pragma unroll
      for (int r = 0; r < kOwn; ++r) least[r] = first + r == sample ? -1.0f : least[r];
    }
    const float4 at = tile[sample];
    float best = -1;
#pragma unroll
    for (int r = 0; r < kOwn; ++r) {
      least[r] = fminf(least[r], squared_distance(x[r], y[r], z[r], at.x, at.y, at.z));
      best = fmaxf(best, least[r]);
    }
    const int set = m & 1;
    const uint32_t rank = rank_of(best);
    const uint32_t largest = pointkernels::cuda::warp_max(rank);
    const int winner = __ffs(static_cast<int>(__ballot_sync(kFullWarp, rank == largest))) - 1;
    if (lane == winner) {
      int place = kOwn - 1;
#pragma unroll
      for (int r = kOwn - 2; r >= 0; --r) place = least[r] == best ? r : place;
      warp_rank[set][warp] = largest;
      warp_index[set][warp] = first + place;
    }
    __syncthreads();
    const uint32_t of_warp = lane < kWarps ? warp_rank[set][lane] : 0;
    const uint32_t farthest = pointkernels::cuda::warp_max(of_warp);
    sample = warp_index[set][__ffs(static_cast<int>(__ballot_sync(kFullWarp, of_warp == farthest))) - 1];
  }
}

inline std::vector<int> reference_samples(const float* points, int size, int count) {
  std::vector<float> least(static_cast<size_t>(size), std::numeric_limits<float>::infinity());
  std::vector<int> samples;
  int sample = 0;
  for (int m = 0; m < count; ++m) {
    samples.push_back(sample);
    const float* const at = points + 3 * sample;
    for (int i = 0; i < size; ++i) {
      const float* const p = points + 3 * i;
      least[i] = std::fmin(least[i], squared_distance(p[0], p[1], p[2], at[0], at[1], at[2]));
    }
    least[sample] = -1;
    for (int i = 0; i < size; ++i) sample = least[i] > least[sample] ? i : sample;
    for (int i = 0; i < size; ++i) {
      if (least[i] == least[sample]) {
        sample = i;
        break;
      }
    }
  }
  return samples;
}

// count < size: what to choose when nothing is left is no concern of this prototype.
template <int kOwn, int kWarps>
Trial sampling_trial(int clouds, int size, int count) {
  const std::vector<float> points = Numbers(static_cast<uint64_t>(size)).many(static_cast<size_t>(clouds) * size * 3);
  const auto given = kept<DeviceArray<float>>(points);
  const auto samples = kept<DeviceArray<int>>(std::vector<int>(static_cast<size_t>(clouds) * count, -1));
  Trial trial;
  trial.group = "sampling " + std::to_string(clouds) + " x " + std::to_string(size) + " to " + std::to_string(count);
  trial.name = std::to_string(kOwn) + " points a thread, " + std::to_string(kWarps) + " warps";
  trial.launch = [=](cudaStream_t stream) {
    return pointkernels::cuda::launch(sampling_kernel<kOwn, kWarps>, clouds, dim3(32 * kWarps), 0, stream,
                                      given->data(), size, count, samples->data());
  };
  trial.is_right = [=] {
    const std::vector<int> found = samples->values();
    bool right = true;
    for (const int cloud : checked_clouds(clouds)) {
      const float* const own = points.data() + static_cast<size_t>(cloud) * size * 3;
      const std::vector<int> expected = reference_samples(own, size, count);
      right = right && std::equal(expected.begin(), expected.end(), found.begin() + cloud * count);
    }
    return right;
  };
  return trial;
}

}  // namespace prototypes
