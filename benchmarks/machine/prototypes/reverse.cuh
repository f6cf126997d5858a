// The reverse graph of a cloud in one kernel: for each point the edges that lead to it, in the order of their numbers.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <string>
#include <vector>

#include "../../../csrc/cuda/arch.cuh"
#include "../../../csrc/cuda/launch.cuh"
#include "../../../csrc/cuda/warp.cuh"
#include "trial.h"

namespace prototypes {

constexpr int kMostPoints = 1024;  // of a cloud, a thread each

struct ReverseTask {
  const uint16_t* neighbors;  // (clouds * size, k), within the cloud; size <= kMostPoints, k <= 256
  int size, k;
  int* offsets;     // (clouds, size + 1), within the cloud's edges
  uint32_t* edges;  // (clouds, size * k), query << 8 | slot
};

struct EdgeKey {
  uint32_t word;
  __device__ bool operator<(const EdgeKey& other) const { return word < other.word; }
  __device__ EdgeKey from_lane_xor(int mask) const {
    return {__shfl_xor_sync(pointkernels::cuda::kFullWarp, word, mask)};
  }
};

// Grid: a block of kMostPoints threads for each cloud. Dynamic shared memory: the cloud's edges.
// Atomic counters place the edges of a point in any order; a warp for each point then puts them in theirs. kNetwork: up
// to 32 of them by a bitonic network; else, and where there are more, each counts those before it.
template <bool kNetwork>
__global__ void __launch_bounds__(kMostPoints) reverse_kernel(ReverseTask task) {
  __shared__ int starts[kMostPoints + 1];
  __shared__ int cursors[kMostPoints];
  __shared__ int warp_sums[32];
  uint32_t* const placed = pointkernels::cuda::dynamic_shared<uint32_t>();
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int count = task.size * task.k;
  const int64_t cloud = blockIdx.x;
  const uint16_t* const lists = task.neighbors + cloud * count;
  cursors[thread] = 0;
  __syncthreads();
  for (int e = thread; e < count; e += kMostPoints) atomicAdd(&cursors[lists[e]], 1);
  __syncthreads();

  const int own = cursors[thread];
  const int up_to_lane = pointkernels::cuda::sum_up_to_lane(own);
  if (lane == 31) warp_sums[warp] = up_to_lane;
  __syncthreads();
  const int up_to_warp = pointkernels::cuda::sum_up_to_lane(warp_sums[lane]);
  const int before = __shfl_sync(pointkernels::cuda::kFullWarp, up_to_warp, warp > 0 ? warp - 1 : 0);
  const int start = up_to_lane - own + (warp > 0 ? before : 0);
  starts[thread] = cursors[thread] = start;
  if (thread == kMostPoints - 1) starts[kMostPoints] = count;
  if (thread < task.size) task.offsets[cloud * (task.size + 1) + thread] = start;
  if (thread == 0) task.offsets[cloud * (task.size + 1) + task.size] = count;
  __syncthreads();

  for (int e = thread; e < count; e += kMostPoints) {
    const uint32_t query = static_cast<uint32_t>(e) / static_cast<uint32_t>(task.k);
    const uint32_t slot = static_cast<uint32_t>(e) - query * static_cast<uint32_t>(task.k);
    placed[atomicAdd(&cursors[lists[e]], 1)] = query << 8 | slot;
  }
  __syncthreads();
  for (int point = warp; point < task.size; point += 32) {
    const uint32_t* const some = placed + starts[point];
    const int held = starts[point + 1] - starts[point];
    uint32_t* const sorted = task.edges + cloud * count + starts[point];
    if (kNetwork && held <= 32) {
      const EdgeKey key = pointkernels::cuda::warp_sort(EdgeKey{lane < held ? some[lane] : ~0u});
      if (lane < held) sorted[lane] = key.word;
      continue;
    }
    for (int n = lane; n < held; n += 32) {
      int smaller = 0;
      for (int other = 0; other < held; ++other) smaller += some[other] < some[n];
      sorted[smaller] = some[n];
    }
  }
}

inline Trial reverse_trial(const char* name, void (*kernel)(ReverseTask), int clouds, int size, int k, int targets) {
  Numbers numbers(3);
  std::vector<uint16_t> neighbors(static_cast<size_t>(clouds) * size * k);
  for (uint16_t& neighbor : neighbors) neighbor = static_cast<uint16_t>(numbers.below(targets));
  auto* const lists = kept<DeviceArray<uint16_t>>(neighbors);
  auto* const offsets = kept<DeviceArray<int>>(std::vector<int>(static_cast<size_t>(clouds) * (size + 1)));
  auto* const edges = kept<DeviceArray<uint32_t>>(std::vector<uint32_t>(neighbors.size()));
  const ReverseTask task = {lists->data(), size, k, offsets->data(), edges->data()};
  Trial trial;
  trial.group = "reverse graph " + std::to_string(clouds) + " x " + std::to_string(size) + ", k = " + std::to_string(k);
  trial.name = name;
  trial.dynamic_shared_bytes = static_cast<size_t>(size) * k * sizeof(uint32_t);
  const size_t bytes = trial.dynamic_shared_bytes;
  trial.launch = [=](cudaStream_t stream) {
    const cudaError_t error =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
    if (error != cudaSuccess) return error;
    return pointkernels::cuda::launch(kernel, clouds, dim3(kMostPoints), bytes, stream, task);
  };
  trial.is_right = [=] {
    const std::vector<int> found_offsets = offsets->values();
    const std::vector<uint32_t> found_edges = edges->values();
    for (const int cloud : checked_clouds(clouds)) {
      std::vector<std::vector<uint32_t>> expected(static_cast<size_t>(size));
      for (int e = 0; e < size * k; ++e) {
        const uint32_t edge = static_cast<uint32_t>(e / k) << 8 | static_cast<uint32_t>(e % k);
        expected[neighbors[static_cast<size_t>(cloud) * size * k + e]].push_back(edge);
      }
      int before = 0;
      for (int point = 0; point < size; ++point) {
        if (found_offsets[static_cast<size_t>(cloud) * (size + 1) + point] != before) return false;
        for (const uint32_t edge : expected[point]) {
          if (found_edges[static_cast<size_t>(cloud) * size * k + before++] != edge) return false;
        }
      }
      if (found_offsets[static_cast<size_t>(cloud) * (size + 1) + size] != before) return false;
    }
    return true;
  };
  return trial;
}

}  // namespace prototypes
