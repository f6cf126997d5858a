// Selection of the nearest among many distances, compiled once per instruction set (see search_kernels.h).
#pragma once

#include <cstdint>

#include "../simd/simd.h"
#include "search_kernels.h"

namespace {

using pointkernels::Candidates;
using pointkernels::kBlock;
using pointkernels::kLeaf;
using pointkernels::kLeafBlocks;
using pointkernels::kPointTile;

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

// How many values do not exceed the bound.
template <typename T>
int64_t count_within(const T* values, int64_t count, T bound) {
  using V = Vector<T>;
  const V bounds = V::broadcast(bound);
  int64_t within = 0;
  for (int64_t i = 0; i < count; i += V::width) {
    within += __builtin_popcount(V::bits(V::less_equal(V::load(values + i), bounds)));
  }
  return within;
}

// Bisects on the bit patterns: for numbers that are not negative, they order as the numbers do.
template <typename T>
T bisected_threshold(const T* values, int64_t count, int64_t k, int64_t enough) {
  using Bits = typename BitsOf<T>::type;
  const T infinity = static_cast<T>(__builtin_inf());
  Bits low = 0, high;
  __builtin_memcpy(&high, &infinity, sizeof(T));
  T bound = infinity;
  while (low < high) {
    const Bits middle = low + (high - low) / 2;
    T candidate;
    __builtin_memcpy(&candidate, &middle, sizeof(T));
    const int64_t within = count_within(values, count, candidate);
    if (within >= k) {
      bound = candidate;
      high = middle;
      if (within <= enough) break;
    } else {
      low = middle + 1;
    }
  }
  return bound;
}

// From a good guess a few steps suffice: the number of values within a bound grows about in proportion to it (points on
// a surface and squared distances). The rows are stepped together, because each step waits for its own count.
template <typename T>
void thresholds(const T* values, int64_t row, int64_t count, int64_t k, T* bounds) {
  constexpr int64_t kProportional = 4, kSteps = 10;
  // A bound that admits up to an eighth more is as good as the smallest one and takes half the steps.
  const int64_t enough = k + (k + 7) / 8;
  const T infinity = static_cast<T>(__builtin_inf());
  T low[kPointTile], high[kPointTile], next[kPointTile];
  bool done[kPointTile];
  for (int64_t q = 0; q < kPointTile; ++q) {
    low[q] = 0;
    high[q] = infinity;
    next[q] = bounds[q];
    done[q] = !(next[q] > 0 && next[q] < infinity);
    if (done[q]) bounds[q] = bisected_threshold(values + q * row, count, k, enough);
  }
  for (int64_t step = 0; step < kSteps; ++step) {
    int64_t within[kPointTile];
    for (int64_t q = 0; q < kPointTile; ++q) within[q] = count_within(values + q * row, count, next[q]);
    bool all_done = true;
    for (int64_t q = 0; q < kPointTile; ++q) {
      if (done[q]) continue;
      if (within[q] >= k) {
        high[q] = next[q];
        done[q] = within[q] <= enough;
      } else {
        low[q] = next[q];
      }
      all_done = all_done && done[q];
      if (done[q]) bounds[q] = next[q];
      const T proportional = next[q] * (static_cast<T>(k + enough) / 2) / static_cast<T>(within[q] > 0 ? within[q] : 1);
      const T middle = high[q] < infinity ? low[q] + (high[q] - low[q]) / 2 : 2 * low[q];
      next[q] = step < kProportional && proportional > low[q] && proportional < high[q] ? proportional : middle;
    }
    if (all_done) return;
  }
  for (int64_t q = 0; q < kPointTile; ++q) {
    if (!done[q]) bounds[q] = bisected_threshold(values + q * row, count, k, enough);
  }
}

// Free functions of no linkage rather than members, whose copies the linker might share with other instruction sets.
template <typename T>
int64_t block_number(const Candidates<T>& candidates, int64_t number) {
  if (candidates.leaves == nullptr) return number;
  return int64_t{candidates.leaves[number / kLeafBlocks]} * kLeafBlocks + number % kLeafBlocks;
}

// Which of kLeaf distances (one word, a bit each) are within the bound.
template <typename T>
uint64_t bits_within(const T* distances, T bound) {
  using V = Vector<T>;
  const V bounds = V::broadcast(bound);
  uint64_t word = 0;
  for (int64_t lane = 0; lane < kLeaf; lane += V::width) {
    word |= uint64_t{V::bits(V::less_equal(V::load(distances + lane), bounds))} << lane;
  }
  return word;
}

// Appends those of `slots` slots whose bits are set, four at a time: mostly there are no more, and then nothing is
// mispredicted. Where there are fewer, the last slot stands in and is not counted.
// Storing whole compressed vectors instead took three times as long, as nearly all of those stores cross cache lines.
template <typename T>
int64_t append(uint64_t word, int64_t slots, const T* distances, const int32_t* ids, T* admitted, int32_t* admitted_ids,
               int64_t found) {
  const uint64_t last = uint64_t{1} << (slots - 1);
  const int64_t end = found + __builtin_popcountll(word);
  do {
    for (int64_t i = 0; i < 4; ++i) {
      const int64_t slot = __builtin_ctzll(word | last);
      admitted[found + i] = distances[slot];
      admitted_ids[found + i] = ids[slot];
      word &= word - 1;
    }
    found += 4;
  } while (found < end);
  return end;
}

template <typename T>
int64_t admit(const T* distances, const Candidates<T>& candidates, T bound, T* admitted, int32_t* ids, int64_t found) {
  using V = Vector<T>;
  const int64_t before = found;
  int64_t number = 0;
  for (; number + kLeafBlocks <= candidates.block_count; number += kLeafBlocks) {
    const uint64_t word = bits_within(distances + number * kBlock, bound);
    found = append(word, kLeaf, distances + number * kBlock, candidates.ids + block_number(candidates, number) * kBlock,
                   admitted, ids, found);
  }
  const int64_t left = (candidates.block_count - number) * kBlock;
  uint64_t word = 0;
  for (int64_t slot = 0; slot < left; slot += V::width) {
    const V values = V::load(distances + number * kBlock + slot);
    word |= uint64_t{V::bits(V::less_equal(values, V::broadcast(bound)))} << slot;
  }
  if (word != 0) {
    found = append(word, left, distances + number * kBlock, candidates.ids + block_number(candidates, number) * kBlock,
                   admitted, ids, found);
  }
  if (candidates.first_id != 0) {
    for (int64_t i = before; i < found; ++i) ids[i] += candidates.first_id;
  }
  return found;
}

// Places of kVectors vectors of candidates from number `begin` on: how many of all candidates are nearer.
template <typename T, int64_t kVectors>
void count_nearer(const T* distances, int64_t count, int64_t begin, int32_t* places) {
  using V = Vector<T>;
  const V one = V::broadcast(1);
  // Two sums each, or every addition would wait for the one before.
  V own[kVectors], even[kVectors], odd[kVectors];
  for (int64_t v = 0; v < kVectors; ++v) {
    own[v] = V::load(distances + begin + v * V::width);
    even[v] = odd[v] = V::broadcast(0);
  }
  // With an odd number the last one read is the NaN behind them, which is not less.
  for (int64_t j = 0; j < count; j += 2) {
    const V first = V::broadcast(distances[j]), second = V::broadcast(distances[j + 1]);
    for (int64_t v = 0; v < kVectors; ++v) {
      even[v] = V::add_where(V::less(first, own[v]), even[v], one);
      odd[v] = V::add_where(V::less(second, own[v]), odd[v], one);
    }
  }
  for (int64_t v = 0; v < kVectors; ++v) (even[v] + odd[v]).store_integers(places + begin + v * V::width);
}

// Counting is quadratic, but without branches: with sixteen lanes (AVX-512, Zen 5) 2,048 candidates take 60 us, and a
// sort takes 100 us.
template <typename T>
constexpr int64_t kMostRanked = 128 * Vector<T>::width;

// A candidate's place is the number of candidates that precede it. Every pair adds one to the sum of all places unless
// its distances are equal, so the sum tells whether ties are left to be settled by id.
template <typename T>
void rank(T* distances, const int32_t* ids, int64_t count, int32_t* places, T* sorted, int64_t* order) {
  using V = Vector<T>;
  for (int64_t i = 0; i < kBlock; ++i) distances[count + i] = static_cast<T>(__builtin_nan(""));
  int64_t begin = 0;
  for (; begin + 2 * V::width < count; begin += 3 * V::width) count_nearer<T, 3>(distances, count, begin, places);
  if (begin + V::width < count) {
    count_nearer<T, 2>(distances, count, begin, places);
  } else if (begin < count) {
    count_nearer<T, 1>(distances, count, begin, places);
  }
  int64_t sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += places[i];
  if (sum != count * (count - 1) / 2) {
    for (int64_t i = 0; i < count; ++i) {
      const T own = distances[i];
      const int32_t id = ids[i];
      int32_t before = 0;
      for (int64_t j = 0; j < count; ++j) before += (distances[j] == own) & (ids[j] < id);
      places[i] += before;
    }
  }
  for (int64_t i = 0; i < count; ++i) {
    sorted[places[i]] = distances[i];
    order[places[i]] = ids[i];
  }
}

}  // namespace
