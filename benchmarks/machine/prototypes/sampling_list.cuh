// The list step of sampling in rounds: one warp holds the candidates of a round in registers and takes the farthest of
// them, one after another.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "../../../csrc/cuda/arch.cuh"
#include "../../../csrc/cuda/launch.cuh"
#include "arithmetic.cuh"
#include "trial.h"

namespace prototypes {

// Candidate lane * kOwn + r of the warp's list. `least` is its squared distance to the samples so far, -1 for one that
// was taken.
template <int kOwn>
struct ListShare {
  float x[kOwn], y[kOwn], z[kOwn], least[kOwn];
};

// Takes the candidate with the largest distance, of several the lowest, and lowers the distances of the others. Returns
// its number in the list, the same in every lane; -1, and takes none, when no distance is above `limit`.
template <int kOwn>
__device__ inline int list_step(ListShare<kOwn>& own, float limit) {
  using pointkernels::cuda::kFullWarp;
  int place = 0;
  float best = own.least[0], x = own.x[0], y = own.y[0], z = own.z[0];
#pragma unroll
  for (int r = 1; r < kOwn; ++r) {
    const bool farther = own.least[r] > best;
    place = farther ? r : place;
    best = farther ? own.least[r] : best;
    x = farther ? own.x[r] : x;
    y = farther ? own.y[r] : y;
    z = farther ? own.z[r] : z;
  }
  const uint32_t rank = rank_of(best);
  const uint32_t largest = pointkernels::cuda::warp_max(rank);
  const int winner = __ffs(static_cast<int>(__ballot_sync(kFullWarp, rank == largest))) - 1;
  if (largest <= rank_of(limit)) return -1;
  x = __shfl_sync(kFullWarp, x, winner);
  y = __shfl_sync(kFullWarp, y, winner);
  z = __shfl_sync(kFullWarp, z, winner);
  const int taken = __shfl_sync(kFullWarp, place, winner) + winner * kOwn;
  const int own_taken = taken - static_cast<int>(threadIdx.x) % 32 * kOwn;
#pragma unroll
  for (int r = 0; r < kOwn; ++r) {
    const float distance = squared_distance(own.x[r], own.y[r], own.z[r], x, y, z);
    own.least[r] = r == own_taken ? -1.0f : fminf(own.least[r], distance);
  }
  return taken;
}

template <int kOwn>
__device__ inline ListShare<kOwn> list_share(const float4* list) {
  ListShare<kOwn> own;
#pragma unroll
  for (int r = 0; r < kOwn; ++r) {
    const float4 entry = list[static_cast<int>(threadIdx.x) % 32 * kOwn + r];
    own.x[r] = entry.x, own.y[r] = entry.y, own.z[r] = entry.z, own.least[r] = entry.w;
  }
  return own;
}

// Grid: a block of one warp for each list of 32 kOwn entries (position and distance so far). taken (lists, steps); -1
// behind the last. Does all of it `repeats` times, so that a launch takes long enough to be timed.
template <int kOwn>
__global__ void __launch_bounds__(32)
    list_kernel(const float4* lists, int repeats, int steps, float limit, int* taken) {
  int* const results = taken + static_cast<int>(blockIdx.x) * steps;
  for (int repeat = 0; repeat < repeats; ++repeat) {
    ListShare<kOwn> own = list_share<kOwn>(lists + static_cast<int>(blockIdx.x) * 32 * kOwn);
    for (int step = 0; step < steps; ++step) {
      const int place = list_step(own, limit);
      if (threadIdx.x == 0) results[step] = place;
    }
  }
}

inline std::vector<int> reference_list(const float4* list, int size, int steps, float limit) {
  std::vector<float> least(static_cast<size_t>(size));
  for (int i = 0; i < size; ++i) least[i] = list[i].w;
  std::vector<int> taken;
  for (int step = 0; step < steps; ++step) {
    int best = 0;
    for (int i = 1; i < size; ++i) best = least[i] > least[best] ? i : best;
    if (!(least[best] > limit)) best = -1;
    taken.push_back(best);
    if (best < 0) continue;
    for (int i = 0; i < size; ++i) {
      const float distance =
          squared_distance(list[i].x, list[i].y, list[i].z, list[best].x, list[best].y, list[best].z);
      least[i] = std::fmin(least[i], distance);
    }
    least[best] = -1;
  }
  return taken;
}

template <int kOwn>
Trial list_trial(int clouds, int repeats, int steps, float limit) {
  constexpr int kSize = 32 * kOwn;
  std::vector<float4> lists(static_cast<size_t>(clouds) * kSize);
  Numbers numbers(kSize);
  for (float4& entry : lists) {
    entry.x = numbers.next(), entry.y = numbers.next(), entry.z = numbers.next();
    entry.w = 3;  // beyond every distance in the unit cube
  }
  const auto given = kept<DeviceArray<float4>>(lists);
  const auto taken = kept<DeviceArray<int>>(std::vector<int>(static_cast<size_t>(clouds) * steps, -2));
  Trial trial;
  trial.group =
      std::to_string(clouds) + " lists, " + std::to_string(repeats) + " x " + std::to_string(steps) + " steps";
  trial.name = "list of " + std::to_string(kSize);
  trial.launch = [=](cudaStream_t stream) {
    return pointkernels::cuda::launch(list_kernel<kOwn>, clouds, dim3(32), 0, stream, given->data(), repeats, steps,
                                      limit, taken->data());
  };
  trial.is_right = [=] {
    const std::vector<int> found = taken->values();
    bool right = true;
    for (const int cloud : checked_clouds(clouds)) {
      const std::vector<int> expected = reference_list(lists.data() + cloud * kSize, kSize, steps, limit);
      right = right && std::equal(expected.begin(), expected.end(), found.begin() + cloud * steps);
    }
    return right;
  };
  return trial;
}

}  // namespace prototypes
