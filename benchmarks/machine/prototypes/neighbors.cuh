// Nearest neighbours in clouds of up to 1024 points in three dimensions: candidates in registers with a threshold from
// minima of groups, against a queue before a sorted list.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "../../../csrc/cuda/arch.cuh"
#include "../../../csrc/cuda/launch.cuh"
#include "../../../csrc/cuda/order.cuh"
#include "../../../csrc/cuda/warp.cuh"
#include "arithmetic.cuh"
#include "trial.h"

namespace prototypes {

constexpr int kNeighborWarps = 4;   // of a block
constexpr int kMostNeighbors = 32;  // of a list, a lane each
constexpr int kRoom = 64;           // for candidates of a query

struct NeighborTask {
  const float* points;  // (clouds * size, 3)
  int size, k;          // k <= size, k <= 32
  int splits;           // blocks that share the queries of a cloud
  int* neighbors;       // (clouds * size, k), the nearest first, of equal distances the lowest index first
};

// The 64 keys of a warp, two a lane, in ascending order over the lanes: the first 32 in `low`. Needs low and high to
// be of distinct candidates, or none.
template <typename K>
__device__ inline K lowest_32(K low, K high) {
  using pointkernels::cuda::warp_sort;
  K list[1] = {warp_sort(low)};
  pointkernels::cuda::warp_merge<K, 1>(list, warp_sort(high));
  return list[0];
}

// Grid: (cloud, split), the last fastest. A warp holds all candidates in registers, candidate j in lane j % 32, and
// walks over its queries. Of each it takes the minima of 64 groups of candidates: their k-th is no less than the k-th
// distance of all, so the k nearest are among the candidates up to it. Where those do not fit into kRoom, the query
// goes through all candidates in rows of 32.
// kBlocks of a multiprocessor at a time decide how many registers a thread may have.
template <int kOwn, int kBlocks>
__global__ void __launch_bounds__(32 * kNeighborWarps, kBlocks) registers_kernel(NeighborTask task) {
  using pointkernels::cuda::kFullWarp;
  using Key = pointkernels::cuda::Key<float>;
  __shared__ uint32_t room[kNeighborWarps][kRoom];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int64_t first = static_cast<int64_t>(static_cast<int>(blockIdx.x) / task.splits) * task.size;
  const float* const points = task.points + first * 3;
  float x[kOwn], y[kOwn], z[kOwn];
#pragma unroll
  for (int r = 0; r < kOwn; ++r) {
    const int j = r * 32 + lane;
    x[r] = j < task.size ? points[3 * j] : INFINITY;  // infinitely far, which no finite threshold admits
    y[r] = j < task.size ? points[3 * j + 1] : 0;
    z[r] = j < task.size ? points[3 * j + 2] : 0;
  }
  const int step = task.splits * kNeighborWarps;
  for (int i = static_cast<int>(blockIdx.x) % task.splits * kNeighborWarps + warp; i < task.size; i += step) {
    const float at_x = points[3 * i], at_y = points[3 * i + 1], at_z = points[3 * i + 2];
    float distance[kOwn];
    float least[2] = {INFINITY, INFINITY};
#pragma unroll
    for (int r = 0; r < kOwn; ++r) {
      distance[r] = squared_distance(x[r], y[r], z[r], at_x, at_y, at_z);
      least[r % 2] = fminf(least[r % 2], distance[r]);
    }
    // Lanes as indices, so that no two keys are alike.
    const Key minimum =
        lowest_32(Key::of(least[0], static_cast<uint32_t>(lane)), Key::of(least[1], static_cast<uint32_t>(lane) + 32));
    const float threshold = minimum.from_lane(task.k - 1).distance();
    int admitted = 0;
#pragma unroll
    for (int r = 0; r < kOwn; ++r) admitted += distance[r] <= threshold && r * 32 + lane < task.size;
    const int up_to_lane = pointkernels::cuda::sum_up_to_lane(admitted);
    const int total = __shfl_sync(kFullWarp, up_to_lane, 31);
    Key nearest = Key::none();
    if (total <= kRoom) {
      int place = up_to_lane - admitted;
#pragma unroll
      for (int r = 0; r < kOwn; ++r) {
        if (distance[r] <= threshold && r * 32 + lane < task.size) {
          room[warp][place++] = static_cast<uint32_t>(r * 32 + lane);
        }
      }
      __syncwarp();
      Key keys[2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int entry = half * 32 + lane;
        const uint32_t j = entry < total ? room[warp][entry] : 0;
        const float* const p = points + 3 * j;
        keys[half] = entry < total ? Key::of(squared_distance(p[0], p[1], p[2], at_x, at_y, at_z), j) : Key::none();
      }
      nearest = total <= 32 ? pointkernels::cuda::warp_sort(keys[0]) : lowest_32(keys[0], keys[1]);
      __syncwarp();
    } else {
      // Rare, so without the registers and the code of a loop that is unrolled.
      Key list[1] = {Key::none()};
#pragma unroll 1
      for (int row = 0; row < task.size; row += 32) {
        const int j = row + lane;
        const float* const p = points + 3 * (j < task.size ? j : 0);
        const float far = squared_distance(p[0], p[1], p[2], at_x, at_y, at_z);
        const Key key = j < task.size ? Key::of(far, static_cast<uint32_t>(j)) : Key::none();
        pointkernels::cuda::warp_merge<Key, 1>(list, pointkernels::cuda::warp_sort(key));
      }
      nearest = list[0];
    }
    if (lane < task.k) task.neighbors[(first + i) * task.k + lane] = static_cast<int>(nearest.index());
  }
}

// Grid as above. A warp goes through the candidates in rows of 32, keeps those before the last of its list in a queue,
// and merges the queue into the list when it holds 32.
__global__ static void __launch_bounds__(32 * kNeighborWarps) queue_kernel(NeighborTask task) {
  using pointkernels::cuda::kFullWarp;
  using Key = pointkernels::cuda::Key<float>;
  __shared__ uint64_t queues[kNeighborWarps][64];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int64_t first = static_cast<int64_t>(static_cast<int>(blockIdx.x) / task.splits) * task.size;
  const float* const points = task.points + first * 3;
  uint64_t* const queue = queues[warp];
  const int step = task.splits * kNeighborWarps;
  for (int i = static_cast<int>(blockIdx.x) % task.splits * kNeighborWarps + warp; i < task.size; i += step) {
    const float at_x = points[3 * i], at_y = points[3 * i + 1], at_z = points[3 * i + 2];
    Key list[1] = {Key::none()};
    Key last = Key::none();
    int held = 0;
    const auto merge = [&](int count) {
      __syncwarp();
      const Key fresh = lane < count ? Key{queue[lane]} : Key::none();
      const uint64_t behind = queue[32 + lane];
      __syncwarp();
      queue[lane] = behind;
      __syncwarp();
      pointkernels::cuda::warp_merge<Key, 1>(list, pointkernels::cuda::warp_sort(fresh));
      last = list[0].from_lane(task.k - 1);
      held -= count;
    };
    queue[lane] = queue[32 + lane] = ~uint64_t{0};
    __syncwarp();
    for (int row = 0; row < task.size; row += 32) {
      const int j = row + lane;
      const float* const p = points + 3 * (j < task.size ? j : 0);
      const Key key = Key::of(squared_distance(p[0], p[1], p[2], at_x, at_y, at_z), static_cast<uint32_t>(j));
      const bool is_near = j < task.size && key < last;
      const unsigned near = __ballot_sync(kFullWarp, is_near);
      if (is_near) queue[held + __popc(near & pointkernels::cuda::lanes_below())] = key.word;
      held += __popc(near);
      if (held >= 32) merge(32);
    }
    merge(held);
    if (lane < task.k) task.neighbors[(first + i) * task.k + lane] = static_cast<int>(list[0].index());
    __syncwarp();
  }
}

inline bool neighbors_are_right(const std::vector<float>& all, const std::vector<int>& found, int clouds, int size,
                                int k) {
  for (const int cloud : checked_clouds(clouds)) {
    const size_t first = static_cast<size_t>(cloud) * size;
    const float* const points = all.data() + first * 3;
    for (int i = 0; i < size; ++i) {
      const float* const at = points + 3 * i;
      std::vector<std::pair<float, int>> candidates;
      for (int j = 0; j < size; ++j) {
        const float* const p = points + 3 * j;
        candidates.emplace_back(squared_distance(p[0], p[1], p[2], at[0], at[1], at[2]), j);
      }
      std::partial_sort(candidates.begin(), candidates.begin() + k, candidates.end());
      for (int n = 0; n < k; ++n) {
        if (found[(first + i) * k + n] != candidates[n].second) return false;
      }
    }
  }
  return true;
}

// `grid`: coordinates are rounded to multiples of 1 / grid, which makes distances alike; 0: they are not.
inline Trial neighbor_trial(const char* name, void (*kernel)(NeighborTask), int clouds, int size, int k, int grid) {
  std::vector<float> points = Numbers(5).many(static_cast<size_t>(clouds) * size * 3);
  if (grid > 0) {
    for (float& number : points) number = std::floor(number * static_cast<float>(grid)) / static_cast<float>(grid);
  }
  const size_t results = static_cast<size_t>(clouds) * size * k;
  auto* const given = kept<DeviceArray<float>>(points);
  auto* const neighbors = kept<DeviceArray<int>>(std::vector<int>(results, -1));
  const NeighborTask task = {given->data(), size, k, 12, neighbors->data()};
  Trial trial;
  trial.group = "neighbours " + std::to_string(clouds) + " x " + std::to_string(size) + ", k = " + std::to_string(k);
  trial.name = name;
  trial.launch = [=](cudaStream_t stream) {
    return pointkernels::cuda::launch(kernel, clouds * task.splits, dim3(32 * kNeighborWarps), 0, stream, task);
  };
  trial.is_right = [=] { return neighbors_are_right(points, neighbors->values(), clouds, size, k); };
  return trial;
}

}  // namespace prototypes
