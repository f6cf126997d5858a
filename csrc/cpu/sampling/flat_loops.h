// Inner loops of farthest point sampling over a whole cloud and within a list (see farthest_point_sampling.h), compiled
// once per instruction set.
#pragma once

#include <cstdint>

#include "../search/selection_loops.h"  // BitsOf
#include "../simd/simd.h"
#include "farthest_point_sampling.h"

namespace {

using pointkernels::kBlock;
using pointkernels::kSampleGroups;
using pointkernels::kSampleList;

template <typename T>
inline constexpr T kNegativeInfinity = -static_cast<T>(__builtin_inf());

// The canonical squared distances of the points of a vector to one sample; kDims > 0 fixes the number of coordinates.
template <typename T, int64_t kDims>
inline Vector<T> sample_distance(const T* coordinates, int64_t stride, int64_t run_time_dims, const T* sample) {
  using V = Vector<T>;
  const int64_t dims = kDims > 0 ? kDims : run_time_dims;
  V difference = V::load(coordinates) - V::broadcast(sample[0]);
  V sum = difference * difference;  // what fma with 0 rounds to
  for (int64_t d = 1; d < dims; ++d) {
    difference = V::load(coordinates + d * stride) - V::broadcast(sample[d]);
    sum = V::fma(difference, difference, sum);
  }
  return sum;
}

template <typename T>
inline T larger(T a, T b) {
  return a < b ? b : a;
}

// Which of 16 consecutive numbers satisfy a comparison of vectors, as bits.
template <typename T, typename Compare>
inline uint32_t sixteen_bits(const T* values, const Compare& compare) {
  using V = Vector<T>;
  uint32_t bits = 0;
  for (int64_t lane = 0; lane < kBlock; lane += V::width) {
    bits |= V::bits(compare(V::load(values + lane), lane)) << lane;
  }
  return bits;
}

// A lane sees its points in ascending order and moves on only when strictly farther, so it holds the lowest index of
// its largest entry; the final reduction over lanes takes the lowest index among equals.
template <typename T, int64_t kDims>
int64_t lower_and_find_farthest_of(const T* blocks, int64_t block_count, int64_t run_time_dims, const T* sample,
                                   T* smallest) {
  using V = Vector<T>;
  constexpr int64_t kParts = kBlock / V::width;
  const int64_t dims = kDims > 0 ? kDims : run_time_dims;
  V farthest[kParts];
  V farthest_block[kParts];  // block numbers as floating numbers: exact up to 2^24 blocks of 16 points
  for (int64_t part = 0; part < kParts; ++part) {
    farthest[part] = V::broadcast(kNegativeInfinity<T>);
    farthest_block[part] = V::broadcast(0);
  }
  for (int64_t block = 0; block < block_count; ++block, blocks += dims * kBlock) {
    for (int64_t part = 0; part < kParts; ++part) {
      const int64_t lane = part * V::width;
      const V distance = sample_distance<T, kDims>(blocks + lane, kBlock, dims, sample);
      T* entry = smallest + block * kBlock + lane;
      const V lowered = V::min_or_second(distance, V::load(entry));
      lowered.store(entry);
      const typename V::Mask farther = V::less(farthest[part], lowered);
      farthest[part] = V::select(farther, lowered, farthest[part]);
      farthest_block[part] = V::select(farther, V::broadcast(static_cast<T>(block)), farthest_block[part]);
    }
  }
  T best = kNegativeInfinity<T>;
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

// Four blocks at a time, one of each quarter of the groups: a loop over the samples, whose end no processor foresees,
// is left once for all of them, and their coordinates stay in registers meanwhile.
template <typename T, int64_t kDims>
void lower_of(const T* blocks, int64_t block_count, int64_t run_time_dims, const T* samples, int64_t count, T* smallest,
              T* maxima) {
  using V = Vector<T>;
  constexpr int64_t kTile = kSampleGroups / kBlock;
  const int64_t dims = kDims > 0 ? kDims : run_time_dims;
  for (int64_t lane = 0; lane < kBlock; lane += V::width) {
    V farthest[kTile];
    for (V& group : farthest) group = V::broadcast(kNegativeInfinity<T>);
    const auto lower_tile = [&](int64_t first, int64_t tile) __attribute__((always_inline)) {
      const T* coordinates = blocks + first * dims * kBlock + lane;
      T* entries = smallest + first * kBlock + lane;
      V lowered[kTile];
      for (int64_t i = 0; i < tile; ++i) lowered[i] = V::load(entries + i * kBlock);
      for (int64_t s = 0; s < count; ++s) {
        for (int64_t i = 0; i < tile; ++i) {
          const T* block = coordinates + i * dims * kBlock;
          lowered[i] = V::min_or_second(sample_distance<T, kDims>(block, kBlock, dims, samples + s * dims), lowered[i]);
        }
      }
      for (int64_t i = 0; i < tile; ++i) {
        lowered[i].store(entries + i * kBlock);
        farthest[i] = V::max_or_second(farthest[i], lowered[i]);
      }
    };
    int64_t block = 0;
    for (; block + kTile <= block_count; block += kTile) lower_tile(block, kTile);
    for (; block < block_count; ++block) lower_tile(block, 1);
    for (int64_t i = 0; i < kTile; ++i) farthest[i].store(maxima + i * kBlock + lane);
  }
}

template <typename T>
void fold(const T* values, int64_t count, T* maxima) {
  using V = Vector<T>;
  for (int64_t group = 0; group < kSampleGroups; group += V::width) {
    V farthest = V::broadcast(kNegativeInfinity<T>);
    for (int64_t i = group; i < count; i += kSampleGroups) farthest = V::max_or_second(farthest, V::load(values + i));
    farthest.store(maxima + group);
  }
}

// Bisects between the smallest and the largest on the bit patterns: for numbers that are not negative, they order as
// the numbers do. Without branches but for the end, since which half is the right one cannot be foreseen.
template <typename T>
T farthest_bound(const T* values, int64_t count, int64_t k) {
  using V = Vector<T>;
  using Bits = typename BitsOf<T>::type;
  V least = V::load(values), most = least;
  for (int64_t i = V::width; i < count; i += V::width) {
    const V next = V::load(values + i);
    least = V::min_or_second(next, least);
    most = V::max_or_second(next, most);
  }
  const T smallest = -V::largest(V::broadcast(0) - least), largest = V::largest(most);
  if (!(largest > 0)) return 0;
  Bits low = 0, high;  // `low` serves, patterns above `high` do not
  if (smallest > 0) __builtin_memcpy(&low, &smallest, sizeof(T));
  __builtin_memcpy(&high, &largest, sizeof(T));
  T bound = smallest > 0 ? smallest : 0;
  const int64_t enough = k + k / 8;
  while (low < high) {
    const Bits middle = high - (high - low) / 2;
    T candidate;
    __builtin_memcpy(&candidate, &middle, sizeof(T));
    int64_t reaching = 0;
    const V candidates = V::broadcast(candidate);
    for (int64_t i = 0; i < count; i += V::width) {
      reaching += __builtin_popcount(V::bits(V::less_equal(candidates, V::load(values + i))));
    }
    const bool serves = reaching >= k;
    bound = serves ? candidate : bound;
    low = serves ? middle : low;
    high = serves ? high : middle - 1;
    if (serves && reaching <= enough) break;
  }
  return bound;
}

// Appends first + i for every bit i that is set. Writes a number or more that do not count behind those that do: room
// for three is needed. Four bits at a time, so that few ends of loops are left to guess.
inline int64_t append_bits(uint64_t bits, int64_t first, int32_t* numbers, int64_t found) {
  const int64_t end = found + __builtin_popcountll(bits);
  constexpr uint64_t kLast = uint64_t{1} << 63;
  while (found < end) {
    for (int64_t i = 0; i < 4; ++i) {
      numbers[found++] = static_cast<int32_t>(first + __builtin_ctzll(bits | kLast));
      bits &= bits - 1;
    }
  }
  return end;
}

// Which of `count` numbers, a multiple of kBlock and at most 64, reach the bound, as bits.
template <typename T>
inline uint64_t reaching_bits(const T* values, int64_t count, Vector<T> bounds) {
  using V = Vector<T>;
  uint64_t bits = 0;
  for (int64_t i = 0; i < count; i += kBlock) {
    const auto reaches = [&](V numbers, int64_t) { return V::less_equal(bounds, numbers); };
    bits |= static_cast<uint64_t>(sixteen_bits(values + i, reaches)) << i;
  }
  return bits;
}

// Appends the places among `count` numbers, at most 64, that reach the bound; false: there is no room for all.
template <typename T>
inline bool append_reaching(const T* values, int64_t count, int64_t first, Vector<T> bounds, int32_t* places,
                            int64_t& found) {
  const uint64_t bits = reaching_bits(values, count, bounds);
  if (found + __builtin_popcountll(bits) > kSampleList) return false;
  found = append_bits(bits, first, places, found);
  return true;
}

template <typename T>
int64_t collect(const T* smallest, int64_t block_count, T bound, int32_t* places) {
  const Vector<T> bounds = Vector<T>::broadcast(bound);
  int64_t found = 0, block = 0;
  for (; block + 4 <= block_count; block += 4) {
    const int64_t first = block * kBlock;
    if (!append_reaching(smallest + first, 4 * kBlock, first, bounds, places, found)) return kSampleList + 1;
  }
  const int64_t first = block * kBlock;
  if (!append_reaching(smallest + first, block_count * kBlock - first, first, bounds, places, found)) {
    return kSampleList + 1;
  }
  return found;
}

// Distances stay in registers, four of them with AVX-512 and float.
template <typename T, int64_t kDims>
int64_t pick_of(const T* coordinates, const T* distances, const int32_t* rows, int64_t run_time_dims, T bound,
                int64_t most, int32_t* picked) {
  using V = Vector<T>;
  constexpr int64_t kParts = kSampleList / V::width;
  const int64_t dims = kDims > 0 ? kDims : run_time_dims;
  T numbers[V::width];
  for (int64_t lane = 0; lane < V::width; ++lane) numbers[lane] = static_cast<T>(lane);
  const V lane_numbers = V::load(numbers);
  V smallest[kParts];
  for (int64_t part = 0; part < kParts; ++part) smallest[part] = V::load(distances + part * V::width);
  int64_t found = 0;
  for (; found < most; ++found) {
    V best = smallest[0];
    for (int64_t part = 1; part < kParts; ++part) best = V::max_or_second(best, smallest[part]);
    const T farthest = V::largest(best);
    if (!(farthest >= bound)) break;
    best = V::broadcast(farthest);
    uint64_t equal = 0;
    for (int64_t part = 0; part < kParts; ++part) {
      equal |= static_cast<uint64_t>(V::bits(V::equal(smallest[part], best))) << (part * V::width);
    }
    int64_t place = __builtin_ctzll(equal);
    for (uint64_t rest = equal & (equal - 1); rest != 0; rest &= rest - 1) {
      const int64_t other = __builtin_ctzll(rest);
      if (rows[other] < rows[place]) place = other;
    }
    picked[found] = static_cast<int32_t>(place);
    T sample[kDims > 0 ? kDims : 1];
    const T* sample_coordinates = sample;
    int64_t sample_stride = 1;
    if constexpr (kDims > 0) {
      for (int64_t d = 0; d < kDims; ++d) sample[d] = coordinates[d * kSampleList + place];
    } else {
      sample_coordinates = coordinates + place;
      sample_stride = kSampleList;
    }
    for (int64_t part = 0; part < kParts; ++part) {
      V sum = V::broadcast(0);
      for (int64_t d = 0; d < dims; ++d) {
        const V difference = V::load(coordinates + d * kSampleList + part * V::width) -
                             V::broadcast(sample_coordinates[d * sample_stride]);
        sum = V::fma(difference, difference, sum);
      }
      const V lowered = V::min_or_second(sum, smallest[part]);
      const V own = V::broadcast(static_cast<T>(place - part * V::width));
      smallest[part] = V::select(V::equal(lane_numbers, own), V::broadcast(kNegativeInfinity<T>), lowered);
    }
  }
  return found;
}

// Three coordinates are the common case.
template <typename T>
int64_t lower_and_find_farthest(const T* blocks, int64_t block_count, int64_t dims, const T* sample, T* smallest) {
  const auto run = dims == 3 ? lower_and_find_farthest_of<T, 3> : lower_and_find_farthest_of<T, 0>;
  return run(blocks, block_count, dims, sample, smallest);
}

template <typename T>
void lower(const T* blocks, int64_t block_count, int64_t dims, const T* samples, int64_t count, T* smallest,
           T* maxima) {
  const auto run = dims == 3 ? lower_of<T, 3> : lower_of<T, 0>;
  run(blocks, block_count, dims, samples, count, smallest, maxima);
}

template <typename T>
int64_t pick(const T* coordinates, const T* distances, const int32_t* rows, int64_t dims, T bound, int64_t most,
             int32_t* picked) {
  const auto run = dims == 3 ? pick_of<T, 3> : pick_of<T, 0>;
  return run(coordinates, distances, rows, dims, bound, most, picked);
}

}  // namespace
