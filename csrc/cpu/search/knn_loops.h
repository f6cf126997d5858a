// Distances from a tile of queries to blocks of candidates, compiled once per instruction set (see search_kernels.h).
#pragma once

#include <cstdint>

#include "../simd/simd.h"
#include "search_kernels.h"
#include "selection_loops.h"

namespace {

using pointkernels::Candidates;
using pointkernels::kBlock;
using pointkernels::kPointTile;

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

// Few coordinates: the queries and the minima of their groups stay in registers.
template <typename T, int64_t kDims>
void point_distances(const T* queries, const Candidates<T>& candidates, T* distances, int64_t row, T* minima,
                     int64_t groups) {
  using V = Vector<T>;
  V query[kDims][kPointTile];
  for (int64_t d = 0; d < kDims; ++d) {
    for (int64_t q = 0; q < kPointTile; ++q) query[d][q] = V::broadcast(queries[d * kPointTile + q]);
  }
  // Group by group; every block is still read once.
  for (int64_t group = 0; group < groups; group += V::width) {
    const int64_t lane = group % kBlock;
    V smallest[kPointTile];
    for (int64_t q = 0; q < kPointTile; ++q) smallest[q] = V::broadcast(static_cast<T>(__builtin_inf()));
    for (int64_t number = group / kBlock; number < candidates.block_count; number += groups / kBlock) {
      const T* block = candidates.coordinates + block_number(candidates, number) * candidates.block_stride + lane;
      V sums[kPointTile];
      for (int64_t d = 0; d < kDims; ++d) {
        const V coordinate = V::load(block + d * candidates.coordinate_stride);
        for (int64_t q = 0; q < kPointTile; ++q) {
          const V difference = coordinate - query[d][q];
          // fma(x, x, 0) rounds x * x once, as the product does.
          sums[q] = d == 0 ? difference * difference : V::fma(difference, difference, sums[q]);
        }
      }
      for (int64_t q = 0; q < kPointTile; ++q) {
        sums[q].store(distances + q * row + number * kBlock + lane);
        smallest[q] = V::min_or_second(sums[q], smallest[q]);
      }
    }
    if (minima == nullptr) continue;
    for (int64_t q = 0; q < kPointTile; ++q) smallest[q].store(minima + q * groups + group);
  }
}

// Queries that features are compared with at a time: with 32 registers eight, by two vectors of candidates. With
// sixteen, six by two: four by two wait for what they read (128 coordinates: 24 ms for eight clouds of 1,024 points,
// and 20).
constexpr int64_t kQueries = kVectorRegisters == 32 ? 8 : 6, kFeatureTile = kVectorRegisters == 32 ? 8 : 12;

// kQueries by kVectors accumulators over all coordinates. One accumulator a pair keeps the chain of roundings
// canonical, and needs a subtraction beside each fused multiply-add. Where cores add and multiply in different pipes
// (Zen 5) that subtraction is free, so a product form |p|^2 - 2 p.q + |q|^2, which would have to be certified and
// repaired, could not be faster there.
template <typename T, int64_t kVectors>
void feature_block(const T* queries, int64_t tile, const Candidates<T>& candidates, int64_t slot, T* distances,
                   int64_t row, T* minima, int64_t groups) {
  using V = Vector<T>;
  const T* block[kVectors];
  for (int64_t v = 0; v < kVectors; ++v) {
    const int64_t at = slot + v * V::width;
    block[v] = candidates.coordinates + block_number(candidates, at / kBlock) * candidates.block_stride + at % kBlock;
  }
  V sums[kQueries][kVectors];
  for (int64_t q = 0; q < kQueries; ++q) {
    for (int64_t v = 0; v < kVectors; ++v) sums[q][v] = V::broadcast(0);
  }
  const int64_t dims = candidates.dims, stride = candidates.coordinate_stride;
  for (int64_t d = 0; d < dims; ++d) {
    V coordinates[kVectors];
    for (int64_t v = 0; v < kVectors; ++v) coordinates[v] = V::load(block[v] + d * stride);
    for (int64_t q = 0; q < kQueries; ++q) {
      const V query = V::broadcast(queries[d * tile + q]);
      for (int64_t v = 0; v < kVectors; ++v) {
        const V difference = coordinates[v] - query;
        sums[q][v] = V::fma(difference, difference, sums[q][v]);
      }
    }
  }
  for (int64_t q = 0; q < kQueries; ++q) {
    for (int64_t v = 0; v < kVectors; ++v) {
      sums[q][v].store(distances + q * row + slot + v * V::width);
      if (minima == nullptr) continue;
      T* entry = minima + q * groups + ((slot + v * V::width) & (groups - 1));
      V::min_or_second(sums[q][v], V::load(entry)).store(entry);
    }
  }
}

template <typename T>
void feature_distances(const T* queries, const Candidates<T>& candidates, T* distances, int64_t row, T* minima,
                       int64_t groups) {
  using V = Vector<T>;
  constexpr int64_t kVectors = 2;
  if (minima != nullptr) {
    for (int64_t i = 0; i < kFeatureTile * groups; ++i) minima[i] = static_cast<T>(__builtin_inf());
  }
  const int64_t slots = candidates.block_count * kBlock;
  for (int64_t q = 0; q < kFeatureTile; q += kQueries) {
    T* rows = distances + q * row;
    T* smallest = minima == nullptr ? nullptr : minima + q * groups;
    int64_t slot = 0;
    for (; slot + kVectors * V::width <= slots; slot += kVectors * V::width) {
      feature_block<T, kVectors>(queries + q, kFeatureTile, candidates, slot, rows, row, smallest, groups);
    }
    for (; slot < slots; slot += V::width) {
      feature_block<T, 1>(queries + q, kFeatureTile, candidates, slot, rows, row, smallest, groups);
    }
  }
}

template <typename T>
void distances(const T* queries, int64_t tile, const Candidates<T>& candidates, T* distances, int64_t row, T* minima,
               int64_t groups) {
  if (tile != kPointTile) return feature_distances<T>(queries, candidates, distances, row, minima, groups);
  switch (candidates.dims) {
    case 1:
      return point_distances<T, 1>(queries, candidates, distances, row, minima, groups);
    case 2:
      return point_distances<T, 2>(queries, candidates, distances, row, minima, groups);
    case 3:
      return point_distances<T, 3>(queries, candidates, distances, row, minima, groups);
    default:
      return point_distances<T, 4>(queries, candidates, distances, row, minima, groups);
  }
}

}  // namespace
