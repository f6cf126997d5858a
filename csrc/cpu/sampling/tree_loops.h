// Inner loops of farthest point sampling over a tree of boxes, compiled once per instruction set (see
// farthest_point_sampling.h for what each does), and the table of all of them.
#pragma once

#include <cstdint>

#include "../simd/simd.h"
#include "farthest_point_sampling.h"
#include "flat_loops.h"
#include "morton_loops.h"

namespace {

using pointkernels::kSampleBatch;
using pointkernels::kSampleFan;
using pointkernels::kSampleLeafBlocks;
using pointkernels::kSampleLeafPoints;
using pointkernels::SampleTree;

// The lowest row among the points of a leaf whose entry is `farthest`.
template <typename T>
inline int32_t lowest_row(const SampleTree<T>& tree, int64_t leaf, T farthest) {
  using V = Vector<T>;
  const V largest = V::broadcast(farthest);
  int32_t lowest = INT32_MAX;
  for (int64_t block = leaf * kSampleLeafBlocks; block < (leaf + 1) * kSampleLeafBlocks; ++block) {
    uint32_t bits =
        sixteen_bits(tree.smallest + block * kBlock, [&](V values, int64_t) { return V::equal(values, largest); });
    for (; bits != 0; bits &= bits - 1) {
      const int32_t row = tree.rows[block * kBlock + __builtin_ctz(bits)];
      lowest = row < lowest ? row : lowest;
    }
  }
  return lowest;
}

template <typename T>
inline void note_farthest_of_leaf(const SampleTree<T>& tree, int64_t leaf, T farthest) {
  tree.leaf_farthest[leaf] = farthest;
  if (tree.leaf_row != nullptr) tree.leaf_row[leaf] = lowest_row(tree, leaf, farthest);
}

template <typename T>
inline void note_farthest_of_branch(const SampleTree<T>& tree, int64_t branch) {
  using V = Vector<T>;
  V farthest = V::load(tree.leaf_farthest + branch * kSampleFan);
  for (int64_t lane = V::width; lane < kSampleFan; lane += V::width) {
    farthest = V::max_or_second(farthest, V::load(tree.leaf_farthest + branch * kSampleFan + lane));
  }
  tree.branch_farthest[branch] = Vector<T>::largest(farthest);
}

template <typename T>
void refresh_leaf(const SampleTree<T>& tree, int64_t leaf) {
  using V = Vector<T>;
  const T* entries = tree.smallest + leaf * kSampleLeafBlocks * kBlock;
  V farthest = V::load(entries);
  for (int64_t i = V::width; i < kSampleLeafBlocks * kBlock; i += V::width) {
    farthest = V::max_or_second(farthest, V::load(entries + i));
  }
  note_farthest_of_leaf(tree, leaf, Vector<T>::largest(farthest));
  note_farthest_of_branch(tree, leaf / kSampleFan);
}

template <typename T>
void fill_branch(const SampleTree<T>& tree, const T* points, int64_t branch, int64_t count) {
  using V = Vector<T>;
  constexpr T kInfinity = -kNegativeInfinity<T>;
  const int64_t dims = tree.dims, box_size = 2 * dims * kSampleFan;
  T* const boxes = tree.leaf_boxes + branch * box_size;
  T* const outer = tree.branch_boxes + branch / kSampleFan * box_size + branch % kSampleFan;
  for (int64_t d = 0; d < dims; ++d) {
    outer[d * kSampleFan] = kInfinity;
    outer[(dims + d) * kSampleFan] = -kInfinity;
  }
  const int64_t first = branch * kSampleFan;
  for (int64_t leaf = first; leaf < first + kSampleFan && leaf * kSampleLeafPoints < count; ++leaf) {
    // The rows lie anywhere; those of the leaf after next are on their way meanwhile.
    const int64_t ahead = (leaf + 2) * kSampleLeafPoints;
    for (int64_t i = ahead; i < ahead + kSampleLeafPoints && i < count; ++i) {
      __builtin_prefetch(points + tree.rows[i] * dims);
    }
    const int64_t begin = leaf * kSampleLeafPoints;
    const int64_t filled = count - begin < kSampleLeafPoints ? count - begin : kSampleLeafPoints;
    T* const blocks = tree.blocks + begin * dims;
    for (int64_t i = 0; i < filled; ++i) {
      const T* const point = points + tree.rows[begin + i] * dims;
      T* const place = blocks + i / kBlock * kBlock * dims + i % kBlock;
      for (int64_t d = 0; d < dims; ++d) place[d * kBlock] = point[d];
      tree.smallest[begin + i] = kInfinity;
    }
    for (int64_t i = filled; i < kSampleLeafPoints; ++i) {
      T* const place = blocks + i / kBlock * kBlock * dims + i % kBlock;
      for (int64_t d = 0; d < dims; ++d) place[d * kBlock] = static_cast<T>(__builtin_nan(""));
      tree.smallest[begin + i] = -kInfinity;
    }
    for (int64_t d = 0; d < dims; ++d) {
      V low = V::broadcast(kInfinity), high = V::broadcast(-kInfinity);
      for (int64_t i = 0; i < kSampleLeafPoints; i += V::width) {
        const V x = V::load(blocks + (i / kBlock * dims + d) * kBlock + i % kBlock);
        low = V::min_or_second(x, low);
        high = V::max_or_second(x, high);
      }
      const T lowest = -V::largest(V::broadcast(0) - low), highest = V::largest(high);
      boxes[d * kSampleFan + leaf - first] = lowest;
      boxes[(dims + d) * kSampleFan + leaf - first] = highest;
      T& outer_low = outer[d * kSampleFan];
      T& outer_high = outer[(dims + d) * kSampleFan];
      outer_low = lowest < outer_low ? lowest : outer_low;
      outer_high = larger(highest, outer_high);
    }
    tree.leaf_farthest[leaf] = kInfinity;
  }
  tree.branch_farthest[branch] = kInfinity;
}

// Which of the 16 boxes a sample can lower: those closer to it than their farthest point is to the samples before.
template <typename T, int64_t kDims>
inline uint32_t reached_boxes(const T* boxes, int64_t dims, const T* sample, const T* farthest) {
  using V = Vector<T>;
  uint32_t bits = 0;
  for (int64_t lane = 0; lane < kSampleFan; lane += V::width) {
    V sum = V::broadcast(0);
    for (int64_t d = 0; d < (kDims > 0 ? kDims : dims); ++d) {
      const V x = V::broadcast(sample[d]);
      const V below = V::load(boxes + d * kSampleFan + lane) - x;
      const V above = x - V::load(boxes + (dims + d) * kSampleFan + lane);
      const V outside = V::max_or_second(V::max_or_second(below, above), V::broadcast(0));
      sum = V::fma(outside, outside, sum);
    }
    bits |= V::bits(V::less(sum, V::load(farthest + lane))) << lane;
  }
  return bits;
}

template <typename T, int64_t kDims>
inline void lower_leaf(const SampleTree<T>& tree, int64_t leaf, const T* const* samples, uint64_t reaching) {
  using V = Vector<T>;
  constexpr int64_t kParts = kSampleLeafBlocks * kBlock / V::width;
  const int64_t dims = kDims > 0 ? kDims : tree.dims;
  const T* blocks = tree.blocks + leaf * kSampleLeafBlocks * kBlock * dims;
  T* entries = tree.smallest + leaf * kSampleLeafBlocks * kBlock;
  V lowered[kParts];
  for (int64_t part = 0; part < kParts; ++part) lowered[part] = V::load(entries + part * V::width);
  const auto lower_by = [&](const T* sample) __attribute__((always_inline)) {
    for (int64_t part = 0; part < kParts; ++part) {
      const int64_t i = part * V::width;
      const T* coordinates = blocks + i / kBlock * kBlock * dims + i % kBlock;
      lowered[part] = V::min_or_second(sample_distance<T, kDims>(coordinates, kBlock, dims, sample), lowered[part]);
    }
  };
  // Two at a time, the last one twice if need be, which changes nothing: fewer ends of the loop are left to guess.
  do {
    const uint64_t others = reaching & (reaching - 1);
    lower_by(samples[__builtin_ctzll(reaching)]);
    lower_by(samples[__builtin_ctzll(others != 0 ? others : reaching)]);
    reaching = others & (others - 1);
  } while (reaching != 0);
  V farthest = lowered[0];
  for (int64_t part = 0; part < kParts; ++part) {
    lowered[part].store(entries + part * V::width);
    farthest = V::max_or_second(farthest, lowered[part]);
  }
  note_farthest_of_leaf(tree, leaf, Vector<T>::largest(farthest));
}

template <typename T>
inline void prefetch_leaf(const SampleTree<T>& tree, int64_t leaf) {
  constexpr int64_t kPoints = kSampleLeafBlocks * kBlock, kLine = 64 / sizeof(T);
  const T* blocks = tree.blocks + leaf * kPoints * tree.dims;
  for (int64_t i = 0; i < kPoints * tree.dims; i += kLine) __builtin_prefetch(blocks + i);
  for (int64_t i = 0; i < kPoints; i += kLine) __builtin_prefetch(tree.smallest + leaf * kPoints + i, 1);
}

// From the samples that reach a branch follows which of them reach each of its leaves: words of 16 boxes a sample, read
// by columns. Branches of the processor that depend on single bits of them would be guessed wrong half of the time.
template <typename T, int64_t kDims>
void lower_tree_of(const SampleTree<T>& tree, int64_t begin, int64_t end, const T* samples, int64_t count) {
  const int64_t box_size = 2 * tree.dims * kSampleFan;
  uint16_t by_branch[kSampleBatch] = {}, by_leaf[kSampleBatch] = {};
  const T* reaching[kSampleBatch];
  for (int64_t vector = begin; vector < end; ++vector) {
    uint32_t branches = 0;
    for (int64_t s = 0; s < count; ++s) {
      const uint32_t reached =
          reached_boxes<T, kDims>(tree.branch_boxes + vector * box_size, tree.dims, samples + s * tree.dims,
                                  tree.branch_farthest + vector * kSampleFan);
      by_branch[s] = static_cast<uint16_t>(reached);
      branches |= reached;
    }
    for (; branches != 0; branches &= branches - 1) {
      const int64_t within = __builtin_ctz(branches), branch = vector * kSampleFan + within;
      int64_t found = 0;
      uint32_t leaves = 0;
      for (uint64_t bits = column_bits(by_branch, count, within); bits != 0; bits &= bits - 1) {
        const T* sample = samples + __builtin_ctzll(bits) * tree.dims;
        const uint32_t reached = reached_boxes<T, kDims>(tree.leaf_boxes + branch * box_size, tree.dims, sample,
                                                         tree.leaf_farthest + branch * kSampleFan);
        by_leaf[found] = static_cast<uint16_t>(reached);
        reaching[found++] = sample;
        leaves |= reached;
      }
      if (leaves == 0) continue;
      for (uint32_t coming = leaves; coming != 0; coming &= coming - 1) {
        prefetch_leaf(tree, branch * kSampleFan + __builtin_ctz(coming));
      }
      for (; leaves != 0; leaves &= leaves - 1) {
        const int64_t leaf = __builtin_ctz(leaves);
        lower_leaf<T, kDims>(tree, branch * kSampleFan + leaf, reaching, column_bits(by_leaf, found, leaf));
      }
      note_farthest_of_branch(tree, branch);
    }
  }
}

// Branches, leaves and points that reach the bound; each has at least one of what comes below it that does.
template <typename T>
int64_t collect_tree(const SampleTree<T>& tree, int64_t begin, int64_t end, T bound, int32_t* places) {
  const Vector<T> bounds = Vector<T>::broadcast(bound);
  int32_t branches[kSampleList + 3], leaves[kSampleList + 3];
  int64_t branch_count = 0, leaf_count = 0, found = 0;
  for (int64_t first = begin * kSampleFan; first < end * kSampleFan; first += 4 * kSampleFan) {
    const int64_t left = end * kSampleFan - first, count = left < 4 * kSampleFan ? left : 4 * kSampleFan;
    if (!append_reaching(tree.branch_farthest + first, count, first, bounds, branches, branch_count)) {
      return kSampleList + 1;
    }
  }
  for (int64_t b = 0; b < branch_count; ++b) {
    const int64_t first = int64_t{branches[b]} * kSampleFan;
    if (!append_reaching(tree.leaf_farthest + first, kSampleFan, first, bounds, leaves, leaf_count)) {
      return kSampleList + 1;
    }
  }
  for (int64_t l = 0; l < leaf_count; ++l) {
    const int64_t first = int64_t{leaves[l]} * kSampleLeafPoints;
    if (!append_reaching(tree.smallest + first, kSampleLeafPoints, first, bounds, places, found)) {
      return kSampleList + 1;
    }
  }
  return found;
}

template <typename T>
void lower_tree(const SampleTree<T>& tree, int64_t begin, int64_t end, const T* samples, int64_t count) {
  const auto run = tree.dims == 3 ? lower_tree_of<T, 3> : lower_tree_of<T, 0>;
  run(tree, begin, end, samples, count);
}

template <typename T>
constexpr pointkernels::SamplingKernels<T> sampling_table() {
  pointkernels::SamplingKernels<T> table{};
  table.lower_and_find_farthest = lower_and_find_farthest<T>;
  table.lower = lower<T>;
  table.bounds = bounds<T>;
  table.morton_codes = morton_codes<T>;
  table.fill_branch = fill_branch<T>;
  table.lower_tree = lower_tree<T>;
  table.refresh_leaf = refresh_leaf<T>;
  table.fold = fold<T>;
  table.bound = farthest_bound<T>;
  table.collect = collect<T>;
  table.collect_tree = collect_tree<T>;
  table.pick = pick<T>;
  return table;
}

template <typename T>
constexpr pointkernels::SamplingKernels<T> kSamplingKernels = sampling_table<T>();

}  // namespace
