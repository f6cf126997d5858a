// Inner loops of the searches, which each instruction set has its own of.
#pragma once

#include <cstdint>

#include "../simd/isa.h"
#include "candidates.h"

namespace pointkernels {

// Queries that the distance loops take at a time: four for the few coordinates of points, whose distances to all
// candidates then stay in the first cache; more of them for features, for which see knn_loops.h.
inline constexpr int64_t kPointTile = 4;
// Coordinates up to which points are points. Leaves hold them as three or four.
inline constexpr int64_t kPointDims = 4;

template <typename T>
struct SearchKernels {
  // Copies `count` rows of D coordinates into blocks; the last block is filled with NaN, which no threshold admits.
  void (*pack)(const T* rows, int64_t count, int64_t dims, T* blocks);

  // Canonical squared distances from `tile` queries (D x tile; tile is kPointTile or, for more than kPointDims
  // coordinates, feature_tile) to all candidates: `tile` rows of `row` numbers. minima (tile x groups), unless it is
  // nullptr, receives the smallest distance of each group, where slot c of the sequence belongs to group c % groups and
  // groups is kLeaf times a power of two. NaN counts as absent.
  void (*distances)(const T* queries, int64_t tile, const Candidates<T>& candidates, T* distances, int64_t row,
                    T* minima, int64_t groups);

  // A multiple of kPointTile.
  int64_t feature_tile;

  // For each of kPointTile rows of `count` values (not negative, NaN absent, count a multiple of kBlock): a value that
  // at least k of them do not exceed, close to the smallest such value; +inf when fewer than k are finite. bounds holds
  // guesses, which make it faster and change nothing else, and receives the values.
  void (*thresholds)(const T* values, int64_t row, int64_t count, int64_t k, T* bounds);

  // Appends the candidates with distance <= bound to the `found` that there are and returns their new number. Writes up
  // to kBlock entries more than it appends.
  int64_t (*admit)(const T* distances, const Candidates<T>& candidates, T bound, T* admitted, int32_t* ids,
                   int64_t found);

  // The same for the points of those leaves, from number `next` on, whose box is not beyond the bound. Stops before a
  // leaf for which fewer than kLeaf + kBlock of `capacity` entries are free, and sets `next` to its number.
  int64_t (*admit_leaves)(const T* query, const LeafList<T>& list, T bound, T* admitted, int32_t* ids, int64_t found,
                          int64_t capacity, int64_t* next);

  // Sorts `count` distinct candidates by (distance, id). No NaN; `distances` must have room for kBlock more, `places`
  // for count + kBlock.
  void (*rank)(T* distances, const int32_t* ids, int64_t count, int32_t* places, T* sorted, int64_t* order);

  // For kFan boxes from number `first` on: squared distance between them and the box from low to high, rounded such
  // that no canonical distance of points in them is smaller.
  void (*box_distances)(const T* low, const T* high, const Boxes<T>& boxes, int64_t first, T* distances);

  // Up to so many candidates are ranked faster by rank() than by a sort.
  int64_t most_ranked;

  // Smallest and largest of `count` values, NaN ignored.
  void (*extent)(const T* values, int64_t count, T* low, T* high);

  // How many of `count` values are below the pivot (or equal to it).
  int64_t (*count_below)(const T* values, int64_t count, T pivot, bool or_equal);

  // Moves those of `count` points first whose coordinate `axis` is below the pivot (or equal to it), and returns their
  // number. A point is columns[d][i], d < dims, with ids[i]; the scratch columns have room for count.
  int64_t (*partition)(T* const* columns, int32_t* ids, int64_t dims, int64_t count, int64_t axis, T pivot,
                       bool or_equal, T* const* scratch, int32_t* scratch_ids);

  // The first candidates, in index order, whose distance to the query (D) is below squared_radius, at most `limit` and
  // without candidate number `excluded`; returns how many there are.
  int64_t (*first_within)(const T* query, const T* blocks, int64_t block_count, int64_t dims, T squared_radius,
                          int64_t excluded, int64_t limit, T* distances, int64_t* indices);
};

template <typename T>
const SearchKernels<T>& search_kernels() {
  return *isa_kernels<T>().search;
}

}  // namespace pointkernels
