// Inner loops of kNN, compiled once per instruction set (see isa.h for what each does).
#pragma once

#include <cstdint>

#include "isa.h"
#include "simd.h"

namespace {

using pointkernels::kBlock;
using pointkernels::kQueryTile;

template <typename T>
struct BitsOf;
template <>
struct BitsOf<float> {
  using type = int32_t;
};
template <>
struct BitsOf<double> {
  using type = int64_t;
};

template <typename T>
void pack(const T* rows, int64_t count, int64_t dims, T* blocks) {
  const T nan = static_cast<T>(__builtin_nan(""));
  for (int64_t begin = 0; begin < count; begin += kBlock, blocks += dims * kBlock) {
    const int64_t filled = count - begin < kBlock ? count - begin : kBlock;
    for (int64_t d = 0; d < dims; ++d) {
      for (int64_t lane = 0; lane < filled; ++lane) blocks[d * kBlock + lane] = rows[(begin + lane) * dims + d];
      for (int64_t lane = filled; lane < kBlock; ++lane) blocks[d * kBlock + lane] = nan;
    }
  }
}

// kDims > 0 fixes the number of coordinates at compile time, so that the query stays in registers.
template <typename T, int64_t kDims>
void distances_of(const T* queries, const T* blocks, int64_t block_count, int64_t run_time_dims, T* distances,
                  T* group_minima, int64_t groups) {
  using V = Vector<T>;
  const int64_t dims = kDims > 0 ? kDims : run_time_dims;
  const int64_t row = block_count * kBlock;
  // Group by group, so that its minima stay in registers; every block is still read once.
  for (int64_t group = 0; group < groups; group += V::width) {
    const int64_t lane = group % kBlock;
    V minima[kQueryTile];
    for (int64_t q = 0; q < kQueryTile; ++q) minima[q] = V::broadcast(static_cast<T>(__builtin_inf()));
    for (int64_t block = group / kBlock; block < block_count; block += groups / kBlock) {
      V sums[kQueryTile];
      for (int64_t q = 0; q < kQueryTile; ++q) sums[q] = V::broadcast(0);
      for (int64_t d = 0; d < dims; ++d) {
        const V coordinate = V::load(blocks + (block * dims + d) * kBlock + lane);
        for (int64_t q = 0; q < kQueryTile; ++q) {
          const V difference = coordinate - V::broadcast(queries[q * dims + d]);
          sums[q] = V::fma(difference, difference, sums[q]);
        }
      }
      for (int64_t q = 0; q < kQueryTile; ++q) {
        sums[q].store(distances + q * row + block * kBlock + lane);
        minima[q] = V::min_or_second(sums[q], minima[q]);
      }
    }
    for (int64_t q = 0; q < kQueryTile; ++q) minima[q].store(group_minima + q * groups + group);
  }
}

template <typename T>
void distances(const T* queries, const T* blocks, int64_t block_count, int64_t dims, T* distances, T* group_minima,
               int64_t groups) {
  if (dims == 3) {
    distances_of<T, 3>(queries, blocks, block_count, dims, distances, group_minima, groups);
  } else {
    distances_of<T, 0>(queries, blocks, block_count, dims, distances, group_minima, groups);
  }
}

// Bisects on the bit patterns: for numbers that are not negative, they order as the numbers do.
template <typename T>
T threshold(const T* values, int64_t count, int64_t k) {
  using V = Vector<T>;
  using Bits = typename BitsOf<T>::type;
  const T infinity = static_cast<T>(__builtin_inf());
  Bits low = 0, high;
  __builtin_memcpy(&high, &infinity, sizeof(T));
  T bound = infinity;
  // A bound that admits up to an eighth more is as good as the smallest one and takes half the steps.
  const int64_t enough = k + k / 8;
  while (low < high) {
    const Bits middle = low + (high - low) / 2;
    T candidate;
    __builtin_memcpy(&candidate, &middle, sizeof(T));
    int64_t below = 0;
    const V candidates = V::broadcast(candidate);
    for (int64_t i = 0; i < count; i += V::width) {
      below += __builtin_popcount(V::bits(V::less_equal(V::load(values + i), candidates)));
    }
    if (below >= k) {
      bound = candidate;
      high = middle;
      if (below <= enough) break;
    } else {
      low = middle + 1;
    }
  }
  return bound;
}

template <typename T>
int64_t admit(const T* distances, int64_t count, T bound, T* admitted, int32_t* indices) {
  using V = Vector<T>;
  const V bounds = V::broadcast(bound);
  int64_t found = 0;
  for (int64_t begin = 0; begin < count; begin += V::width) {
    uint32_t bits = V::bits(V::less_equal(V::load(distances + begin), bounds));
    for (; bits != 0; bits &= bits - 1) {
      const int64_t index = begin + __builtin_ctz(bits);
      admitted[found] = distances[index];
      indices[found] = static_cast<int32_t>(index);
      ++found;
    }
  }
  return found;
}

// A candidate's place is the number of candidates that precede it; in index order, equals precede when they stand
// before.
template <typename T>
void rank(const T* distances, const int32_t* indices, int64_t count, int64_t k, T* sorted, int64_t* order) {
  using V = Vector<T>;
  for (int64_t i = 0; i < count; ++i) {
    const V own = V::broadcast(distances[i]);
    const int64_t own_begin = i - i % V::width;
    int64_t place = 0;
    for (int64_t begin = 0; begin < own_begin; begin += V::width) {
      place += __builtin_popcount(V::bits(V::less_equal(V::load(distances + begin), own)));
    }
    const V around = V::load(distances + own_begin);
    const uint32_t before = (uint32_t{1} << (i - own_begin)) - 1;
    place += __builtin_popcount(V::bits(V::less(around, own)) | (V::bits(V::equal(around, own)) & before));
    for (int64_t begin = own_begin + V::width; begin < count; begin += V::width) {
      place += __builtin_popcount(V::bits(V::less(V::load(distances + begin), own)));
    }
    if (place < k) {
      sorted[place] = distances[i];
      order[place] = indices[i];
    }
  }
}

}  // namespace
