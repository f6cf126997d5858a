// Inner loops of the tree over leaves: its construction and its boxes. Compiled once per instruction set (see
// search_kernels.h).
#pragma once

#include <cstdint>

#include "../simd/simd.h"
#include "search_kernels.h"
#include "selection_loops.h"

namespace {

using pointkernels::Boxes;
using pointkernels::kFan;
using pointkernels::kLeaf;
using pointkernels::kLeafBlocks;
using pointkernels::LeafList;

// Rounding is monotone. For any q in [low, high] and p in the box, |p - q| is at least this gap before rounding and so
// after it; the square and the chain of fused multiply-adds grow with their operands. Taken in the order of the
// canonical distance the result is therefore never above it, and pruning by it needs no margin.
template <typename V>
V box_distance(const typename V::value* low, const typename V::value* high, const Boxes<typename V::value>& boxes,
               int64_t first) {
  V sum = V::broadcast(0);
  for (int64_t d = 0; d < boxes.dims; ++d) {
    const V below = V::load(boxes.ends + 2 * d * boxes.stride + first) - V::broadcast(high[d]);
    const V above = V::broadcast(low[d]) - V::load(boxes.ends + (2 * d + 1) * boxes.stride + first);
    const V gap = V::max_or_second(V::max_or_second(below, above), V::broadcast(0));
    sum = V::fma(gap, gap, sum);
  }
  return sum;
}

template <typename T>
void box_distances(const T* low, const T* high, const Boxes<T>& boxes, int64_t first, T* distances) {
  using V = Vector<T>;
  for (int64_t lane = 0; lane < kFan; lane += V::width) {
    box_distance<V>(low, high, boxes, first + lane).store(distances + lane);
  }
}

template <typename T, int64_t kDims>
int64_t admit_leaf(const T* query, const Candidates<T>& candidates, int64_t leaf, T bound, T* admitted, int32_t* ids,
                   int64_t found) {
  using V = Vector<T>;
  const int64_t first = leaf * kLeaf;
  T distances[kLeaf];
  uint64_t word = 0;
  for (int64_t slot = 0; slot < kLeaf; slot += V::width) {
    V sum;
    for (int64_t d = 0; d < kDims; ++d) {
      const T* column = candidates.coordinates + d * candidates.coordinate_stride;
      const V difference = V::load(column + first + slot) - V::broadcast(query[d]);
      sum = d == 0 ? difference * difference : V::fma(difference, difference, sum);
    }
    sum.store(distances + slot);
    word |= uint64_t{V::bits(V::less_equal(sum, V::broadcast(bound)))} << slot;
  }
  return append(word, kLeaf, distances, candidates.ids + first, admitted, ids, found);
}

template <typename T>
int64_t admit_leaves(const T* query, const LeafList<T>& list, T bound, T* admitted, int32_t* ids, int64_t found,
                     int64_t capacity, int64_t* next) {
  using V = Vector<T>;
  for (int64_t begin = *next - *next % V::width; begin < list.count; begin += V::width) {
    uint32_t near = V::bits(V::less_equal(box_distance<V>(query, query, list.boxes, begin), V::broadcast(bound)));
    if (begin < *next) near &= ~uint32_t{0} << (*next - begin);
    for (; near != 0; near &= near - 1) {
      const int64_t number = begin + __builtin_ctz(near);
      if (number >= list.count) break;
      if (found + kLeaf + kBlock > capacity) {
        *next = number;
        return found;
      }
      const int64_t leaf = list.candidates.leaves[number];
      found = list.candidates.dims == 3 ? admit_leaf<T, 3>(query, list.candidates, leaf, bound, admitted, ids, found)
                                        : admit_leaf<T, 4>(query, list.candidates, leaf, bound, admitted, ids, found);
    }
  }
  *next = list.count;
  return found;
}

template <typename T>
void extent(const T* values, int64_t count, T* low, T* high) {
  using V = Vector<T>;
  V lowest = V::broadcast(static_cast<T>(__builtin_inf())), highest = V::broadcast(static_cast<T>(-__builtin_inf()));
  int64_t i = 0;
  for (; i + V::width <= count; i += V::width) {
    const V value = V::load(values + i);
    lowest = V::min_or_second(value, lowest);
    highest = V::max_or_second(value, highest);
  }
  T lows[V::width], highs[V::width];
  lowest.store(lows);
  highest.store(highs);
  T smallest = lows[0], largest = highs[0];
  for (int64_t lane = 1; lane < V::width; ++lane) {
    smallest = lows[lane] < smallest ? lows[lane] : smallest;
    largest = highs[lane] > largest ? highs[lane] : largest;
  }
  for (; i < count; ++i) {
    smallest = values[i] < smallest ? values[i] : smallest;
    largest = values[i] > largest ? values[i] : largest;
  }
  *low = smallest;
  *high = largest;
}

template <typename T>
int64_t count_below(const T* values, int64_t count, T pivot, bool or_equal) {
  using V = Vector<T>;
  const V pivots = V::broadcast(pivot);
  int64_t below = 0, i = 0;
  if (or_equal) {
    for (; i + V::width <= count; i += V::width) {
      below += __builtin_popcount(V::bits(V::less_equal(V::load(values + i), pivots)));
    }
  } else {
    for (; i + V::width <= count; i += V::width) {
      below += __builtin_popcount(V::bits(V::less(V::load(values + i), pivots)));
    }
  }
  for (; i < count; ++i) below += values[i] < pivot || (or_equal && values[i] == pivot);
  return below;
}

// What is below is written back in place, behind what has been read: never past the vector in hand. The rest goes to
// the scratch columns and then behind it.
template <typename T, int64_t kDims>
int64_t partition_points(T* const* columns, int32_t* ids, int64_t count, int64_t axis, T pivot, bool or_equal,
                         T* const* scratch, int32_t* scratch_ids) {
  using V = Vector<T>;
  const V pivots = V::broadcast(pivot);
  int64_t below = 0, rest = 0, i = 0;
  for (; i + V::width <= count; i += V::width) {
    const V values = V::load(columns[axis] + i);
    const typename V::Mask first = or_equal ? V::less_equal(values, pivots) : V::less(values, pivots);
    // No NaN is among them, so what is not below is above.
    const typename V::Mask second = or_equal ? V::less(pivots, values) : V::less_equal(pivots, values);
    int64_t moved = 0;
    for (int64_t d = 0; d < kDims; ++d) {
      const V column = V::load(columns[d] + i);
      V::compress(second, column, scratch[d] + rest);
      moved = V::compress(first, column, columns[d] + below);
    }
    V::compress_integers(second, ids + i, scratch_ids + rest);
    V::compress_integers(first, ids + i, ids + below);
    below += moved;
    rest += V::width - moved;
  }
  for (; i < count; ++i) {
    const T value = columns[axis][i];
    const bool first = value < pivot || (or_equal && value == pivot);
    const int64_t to = first ? below : rest;
    for (int64_t d = 0; d < kDims; ++d) (first ? columns[d] : scratch[d])[to] = columns[d][i];
    (first ? ids : scratch_ids)[to] = ids[i];
    below += first;
    rest += !first;
  }
  for (int64_t d = 0; d < kDims; ++d) __builtin_memcpy(columns[d] + below, scratch[d], rest * sizeof(T));
  __builtin_memcpy(ids + below, scratch_ids, rest * sizeof(int32_t));
  return below;
}

template <typename T>
int64_t partition(T* const* columns, int32_t* ids, int64_t dims, int64_t count, int64_t axis, T pivot, bool or_equal,
                  T* const* scratch, int32_t* scratch_ids) {
  return dims == 3 ? partition_points<T, 3>(columns, ids, count, axis, pivot, or_equal, scratch, scratch_ids)
                   : partition_points<T, 4>(columns, ids, count, axis, pivot, or_equal, scratch, scratch_ids);
}

}  // namespace
