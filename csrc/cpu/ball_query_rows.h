// Inner loop of ball query, compiled once per instruction set (see isa.h for what it does).
#pragma once

#include <cstdint>

#include "isa.h"
#include "simd.h"

namespace {

// kDims > 0 fixes the number of coordinates at compile time, so that the query stays in registers.
template <typename T, int64_t kDims>
int64_t first_within_of(const T* query, const T* blocks, int64_t block_count, int64_t run_time_dims, T squared_radius,
                        int64_t excluded, int64_t limit, T* distances, int64_t* indices) {
  using V = Vector<T>;
  using pointkernels::kBlock;
  const int64_t dims = kDims > 0 ? kDims : run_time_dims;
  const V bound = V::broadcast(squared_radius);
  T lanes[V::width];
  int64_t found = 0;
  for (int64_t block = 0; block < block_count; ++block) {
    for (int64_t lane = 0; lane < kBlock; lane += V::width) {
      V sum = V::broadcast(0);
      for (int64_t d = 0; d < dims; ++d) {
        const V difference = V::load(blocks + (block * dims + d) * kBlock + lane) - V::broadcast(query[d]);
        sum = V::fma(difference, difference, sum);
      }
      uint32_t bits = V::bits(V::less(sum, bound));
      if (bits == 0) continue;
      sum.store(lanes);
      for (; bits != 0; bits &= bits - 1) {
        const int64_t place = __builtin_ctz(bits);
        const int64_t index = block * kBlock + lane + place;
        if (index == excluded) continue;
        distances[found] = lanes[place];
        indices[found] = index;
        if (++found == limit) return found;
      }
    }
  }
  return found;
}

template <typename T>
int64_t first_within(const T* query, const T* blocks, int64_t block_count, int64_t dims, T squared_radius,
                     int64_t excluded, int64_t limit, T* distances, int64_t* indices) {
  if (dims == 3) {
    return first_within_of<T, 3>(query, blocks, block_count, dims, squared_radius, excluded, limit, distances, indices);
  }
  return first_within_of<T, 0>(query, blocks, block_count, dims, squared_radius, excluded, limit, distances, indices);
}

}  // namespace
