// Inner loop of farthest point sampling, compiled once per instruction set (see isa.h).
#pragma once

#include <cstdint>

#include "isa.h"
#include "simd.h"

namespace {

// A lane sees its points in ascending order and moves on only when strictly farther, so it holds the lowest index of
// its largest entry; the final reduction over lanes takes the lowest index among equals.
template <typename T, int64_t kDims>
int64_t lower_and_find_farthest_of(const T* blocks, int64_t block_count, int64_t run_time_dims, const T* sample,
                                   T* smallest) {
  using V = Vector<T>;
  using pointkernels::kBlock;
  constexpr int64_t kParts = kBlock / V::width;
  const int64_t dims = kDims > 0 ? kDims : run_time_dims;
  V farthest[kParts];
  V farthest_block[kParts];  // block numbers as floating numbers: exact up to 2^24 blocks of 16 points
  for (int64_t part = 0; part < kParts; ++part) {
    farthest[part] = V::broadcast(static_cast<T>(-__builtin_inf()));
    farthest_block[part] = V::broadcast(0);
  }
  for (int64_t block = 0; block < block_count; ++block, blocks += dims * kBlock) {
    for (int64_t part = 0; part < kParts; ++part) {
      const int64_t lane = part * V::width;
      V sum = V::broadcast(0);
      for (int64_t d = 0; d < dims; ++d) {
        const V difference = V::load(blocks + d * kBlock + lane) - V::broadcast(sample[d]);
        sum = V::fma(difference, difference, sum);
      }
      T* entry = smallest + block * kBlock + lane;
      const V lowered = V::min_or_second(sum, V::load(entry));
      lowered.store(entry);
      const typename V::Mask farther = V::less(farthest[part], lowered);
      farthest[part] = V::select(farther, lowered, farthest[part]);
      farthest_block[part] = V::select(farther, V::broadcast(static_cast<T>(block)), farthest_block[part]);
    }
  }
  T best = static_cast<T>(-__builtin_inf());
  int64_t best_index = 0;
  for (int64_t part = 0; part < kParts; ++part) {
    T values[V::width];
    T numbers[V::width];
    farthest[part].store(values);
    farthest_block[part].store(numbers);
    for (int64_t lane = 0; lane < V::width; ++lane) {
      const int64_t index = static_cast<int64_t>(numbers[lane]) * kBlock + part * V::width + lane;
      if (values[lane] > best || (values[lane] == best && index < best_index)) {
        best = values[lane];
        best_index = index;
      }
    }
  }
  return best_index;
}

template <typename T>
int64_t lower_and_find_farthest(const T* blocks, int64_t block_count, int64_t dims, const T* sample, T* smallest) {
  if (dims == 3) return lower_and_find_farthest_of<T, 3>(blocks, block_count, dims, sample, smallest);
  return lower_and_find_farthest_of<T, 0>(blocks, block_count, dims, sample, smallest);
}

}  // namespace
