// Inner loop of ball query, compiled once per instruction set (see search_kernels.h for what it does).
#pragma once

#include <cstdint>

#include "../simd/isa.h"
#include "../simd/simd.h"

namespace {

// Distances from a query to kBlocks blocks, and a word that has a bit for each of them below the squared radius.
// kDims > 0 fixes the number of coordinates at compile time, so that the query stays in registers. One accumulator for
// each vector of the blocks keeps the multipliers busy while each waits for its own chain of roundings.
template <typename T, int64_t kDims, int64_t kBlocks>
uint64_t blocks_within(const T* query, const T* blocks, int64_t run_time_dims, T squared_radius, T* distances) {
  using V = Vector<T>;
  using pointkernels::kBlock;
  constexpr int64_t kVectors = kBlocks * kBlock / V::width;
  const int64_t dims = kDims > 0 ? kDims : run_time_dims;
  V sums[kVectors];
  for (int64_t v = 0; v < kVectors; ++v) sums[v] = V::broadcast(0);
  for (int64_t d = 0; d < dims; ++d) {
    const V coordinate = V::broadcast(query[d]);
    for (int64_t v = 0; v < kVectors; ++v) {
      const int64_t slot = v * V::width;
      const V difference = V::load(blocks + (slot / kBlock * dims + d) * kBlock + slot % kBlock) - coordinate;
      sums[v] = V::fma(difference, difference, sums[v]);
    }
  }
  uint64_t word = 0;
  for (int64_t v = 0; v < kVectors; ++v) {
    sums[v].store(distances + v * V::width);
    word |= uint64_t{V::bits(V::less(sums[v], V::broadcast(squared_radius)))} << (v * V::width);
  }
  return word;
}

template <typename T, int64_t kDims>
int64_t first_within_of(const T* query, const T* blocks, int64_t block_count, int64_t dims, T squared_radius,
                        int64_t excluded, int64_t limit, T* distances, int64_t* indices) {
  using pointkernels::kBlock;
  using pointkernels::kLeafBlocks;
  T sums[kLeafBlocks * kBlock];
  int64_t found = 0;
  for (int64_t block = 0; block < block_count;) {
    const bool several = block + kLeafBlocks <= block_count;
    const T* from = blocks + block * dims * kBlock;
    uint64_t word = several ? blocks_within<T, kDims, kLeafBlocks>(query, from, dims, squared_radius, sums)
                            : blocks_within<T, kDims, 1>(query, from, dims, squared_radius, sums);
    const int64_t first = block * kBlock;
    block += several ? kLeafBlocks : 1;
    if (excluded >= first && excluded < block * kBlock) word &= ~(uint64_t{1} << (excluded - first));
    if (word == 0) continue;
    // Four at a time, of which the last bit stands in for those that are missing: branches that depend on how many
    // there are would mostly be mispredicted.
    const uint64_t last = uint64_t{1} << 63 >> __builtin_clzll(word);
    const int64_t end = found + __builtin_popcountll(word);
    for (; found < end && found + 4 <= limit; found += 4) {
      for (int64_t i = 0; i < 4; ++i) {
        const int64_t slot = __builtin_ctzll(word | last);
        distances[found + i] = sums[slot];
        indices[found + i] = first + slot;
        word &= word - 1;
      }
    }
    if (found >= end) {
      found = end;
      continue;
    }
    for (; word != 0 && found < limit; word &= word - 1) {
      const int64_t slot = __builtin_ctzll(word);
      distances[found] = sums[slot];
      indices[found++] = first + slot;
    }
    if (found == limit) return found;
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
