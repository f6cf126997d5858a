// Building blocks in which the 32 lanes of a warp work together. All lanes must take part in every call.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "arch.cuh"

namespace pointkernels::cuda {

__device__ inline int lane_index() { return static_cast<int>(threadIdx.x) % kWarpSize; }

// The lanes before this one, as a mask.
__device__ inline unsigned lanes_below() { return (1u << lane_index()) - 1; }

// The larger half decides; only lanes that hold it compete with their lower half.
__device__ inline uint64_t warp_max(uint64_t value) {
  const uint32_t high = static_cast<uint32_t>(value >> 32);
  const uint32_t largest_high = warp_max(high);
  const uint32_t low = high == largest_high ? static_cast<uint32_t>(value) : 0;
  return static_cast<uint64_t>(largest_high) << 32 | warp_max(low);
}

// The lowest index among the lanes with the largest rank; both results in every lane.
template <typename R>
__device__ inline void warp_arg_max(R& rank, uint32_t& index) {
  const R largest = warp_max(rank);
  index = warp_min(rank == largest ? index : ~uint32_t{0});
  rank = largest;
}

// Sums over the lanes whose numbers differ from this one's in a multiple of `stride` (a power of two), in a fixed tree.
template <typename T>
__device__ inline T sum_over_lanes(T value, int stride) {
  for (int step = kWarpSize / 2; step >= stride; step /= 2) value += __shfl_xor_sync(kFullWarp, value, step);
  return value;
}

// Sum of the values in this lane and the lanes below it.
template <typename T>
__device__ inline T sum_up_to_lane(T value) {
  for (int step = 1; step < kWarpSize; step *= 2) {
    const T below = __shfl_up_sync(kFullWarp, value, step);
    if (lane_index() >= step) value += below;
  }
  return value;
}

// One compare-exchange of a bitonic network: the lane pair that differs in `stride` is put in the order `ascending`.
template <typename K>
__device__ inline K exchange(const K& key, int stride, bool ascending) {
  const K other = key.from_lane_xor(stride);
  const bool keep_smaller = ((lane_index() & stride) == 0) == ascending;
  return (other < key) == keep_smaller ? other : key;
}

// Sorts one key per lane, ascending over the lanes. Keys must differ or be interchangeable.
template <typename K>
__device__ inline K warp_sort(K key) {
#pragma unroll
  for (int size = 2; size <= kWarpSize; size *= 2) {
#pragma unroll
    for (int stride = size / 2; stride > 0; stride /= 2) {
      key = exchange(key, stride, (lane_index() & size) == 0);
    }
  }
  return key;
}

// list: 32 kRows keys ascending, key number 32 row + lane in list[row]; fresh: 32 keys ascending over the lanes.
// Leaves in list the 32 kRows smallest of them all, ascending.
//
// Think of fresh as extended by infinite keys to the length of the list and reversed. The pairwise minimum of an
// ascending and a descending sequence holds the smallest half and is bitonic (Batcher), so one bitonic merge sorts it.
// Reversal puts the finite keys against the last row and leaves the others as they are.
template <typename K, int kRows>
__device__ inline void warp_merge(K (&list)[kRows], const K& fresh) {
  const K reversed = fresh.from_lane(kWarpSize - 1 - lane_index());
  if (reversed < list[kRows - 1]) list[kRows - 1] = reversed;
#pragma unroll
  for (int rows = kRows / 2; rows > 0; rows /= 2) {
#pragma unroll
    for (int row = 0; row < kRows; ++row) {
      if ((row & rows) == 0 && list[row + rows] < list[row]) {
        const K larger = list[row];
        list[row] = list[row + rows];
        list[row + rows] = larger;
      }
    }
  }
#pragma unroll
  for (int row = 0; row < kRows; ++row) {
#pragma unroll
    for (int stride = kWarpSize / 2; stride > 0; stride /= 2) list[row] = exchange(list[row], stride, true);
  }
}

}  // namespace pointkernels::cuda
