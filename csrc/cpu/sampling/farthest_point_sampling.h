// What the driver of farthest point sampling shares with its inner loops (flat_loops.h, tree_loops.h).
#pragma once

#include <cstdint>

#include "../search/candidates.h"

namespace pointkernels {

// Farthest distances are compared in groups; the k-th largest maximum of disjoint groups bounds from below what k
// points reach. 64 groups are four AVX-512 registers.
inline constexpr int64_t kSampleGroups = 64;
// Points among which one round picks its samples: as many as stay in registers with their coordinates.
inline constexpr int64_t kSampleList = 64;
// Samples that are applied together, at most: those that one list can give.
inline constexpr int64_t kSampleBatch = 64;

// A cloud in spatial order, as a tree of three levels: 32 points are a leaf, 16 leaves a branch, and branches come in
// vectors of 16. A level is skipped when the box around it is no closer to a sample than its farthest point already is
// to the samples before. No epsilon is needed: rounding is monotone, so the distance of a box, computed as that of a
// point, is never above the computed distance of a point within.
inline constexpr int64_t kSampleLeafBlocks = 2;
inline constexpr int64_t kSampleLeafPoints = kSampleLeafBlocks * kBlock;
inline constexpr int64_t kSampleFan = 16;
inline constexpr int64_t kSampleBranchPoints = kSampleFan * kSampleLeafPoints;

template <typename T>
struct SampleTree {
  int64_t dims;
  int64_t branch_vectors;  // vectors of kSampleFan branches
  T* blocks;               // points, packed; NaN fills the last leaf
  const int32_t* rows;     // the row of each point in the cloud
  T* smallest;             // squared distance of each point to the samples, -inf once it is one
  T* leaf_boxes;           // (branches, 2 D, kSampleFan): lower bounds of the coordinates, then upper bounds
  T* leaf_farthest;        // (branches, kSampleFan): the largest entry of `smallest` in each leaf
  int32_t* leaf_row;       // (branches, kSampleFan): the lowest row with that entry; nullptr: not kept
  T* branch_boxes;         // (branch_vectors, 2 D, kSampleFan)
  T* branch_farthest;      // (branch_vectors, kSampleFan)
};

template <typename T>
struct SamplingKernels {
  // One sample without a tree: lowers `smallest` by the distances to `sample` (D) and returns the index of the largest
  // entry, the lowest of equals.
  int64_t (*lower_and_find_farthest)(const T* blocks, int64_t block_count, int64_t dims, const T* sample, T* smallest);

  // Several samples (count x D, count >= 1) without a tree; maxima (kSampleGroups) receives the largest entry of each
  // group of points.
  void (*lower)(const T* blocks, int64_t block_count, int64_t dims, const T* samples, int64_t count, T* smallest,
                T* maxima);

  // Lower and upper bounds of each coordinate of `count` rows (low and high: D, D <= 4), NaN ignored.
  void (*bounds)(const T* points, int64_t count, int64_t dims, T* low, T* high);

  // The place of each of `count` rows on a Morton curve: `bits` bits of each coordinate, from low (D) on in cells of
  // which there are per_unit in a unit of length. Anything for rows with NaN.
  void (*morton_codes)(const T* points, int64_t count, int64_t dims, const T* low, T per_unit, int bits,
                       uint32_t* codes);

  // Packs the points of a branch, of which the tree has `count`, finds its boxes, and sets all its distances to +inf.
  void (*fill_branch)(const SampleTree<T>& tree, const T* points, int64_t branch, int64_t count);

  // Several samples, at most kSampleBatch, for the branch vectors [begin, end) of a tree.
  void (*lower_tree)(const SampleTree<T>& tree, int64_t begin, int64_t end, const T* samples, int64_t count);

  // Brings a leaf and its branch up to date after its entries of `smallest` have changed.
  void (*refresh_leaf)(const SampleTree<T>& tree, int64_t leaf);

  // Folds `count` numbers (a multiple of kBlock) into the largest of each of kSampleGroups groups.
  void (*fold)(const T* values, int64_t count, T* maxima);

  // A number >= 0 that at least k of `count` values (a multiple of kBlock) reach, close to the largest such number; 0
  // if fewer than k reach it.
  T (*bound)(const T* values, int64_t count, int64_t k);

  // Places of the entries of `smallest` that reach the bound, in ascending order; more than kSampleList: an overflow,
  // of which only the fact is told. Writes up to three entries more than there are places.
  int64_t (*collect)(const T* smallest, int64_t block_count, T bound, int32_t* places);
  int64_t (*collect_tree)(const SampleTree<T>& tree, int64_t begin, int64_t end, T bound, int32_t* places);

  // Farthest point sampling within a list (coordinates: D x kSampleList; unused places have distance -inf) while the
  // farthest reaches the bound, at most `most` samples: places in the list, ties to the lower row.
  int64_t (*pick)(const T* coordinates, const T* distances, const int32_t* rows, int64_t dims, T bound, int64_t most,
                  int32_t* picked);
};

}  // namespace pointkernels
