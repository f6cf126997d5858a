// kNN of points of up to four coordinates by looking at near leaves only (point_leaves.h).
//
// Queries come in leaves of their own. For all queries of such a leaf together: the leaves nearest to its box are found
// in the tree, and each query's distances to their points give a bound on its k-th distance (see groups_for). Then the
// other leaves within the largest bound are listed, and each query looks at those within its own. Box distances are
// lower bounds bit for bit, so what is left out could not have been chosen; where a distance equals the bound, the leaf
// is looked at, and the ids decide. Leaves and boxes rank by (distance, lowest id), so that among many points that
// coincide those that win are found first and the others are left out.
//
// Only finite distances are searched for: the others need no search (knn_not_finite.h).
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "knn_not_finite.h"
#include "leaf_walk.h"
#include "point_leaves.h"
#include "ranking.h"
#include "search_kernels.h"

namespace pointkernels {

template <typename T>
class LeafSearch {
 public:
  LeafSearch(const PointLeaves<T>& points, const Clouds& clouds, const T* rows, int64_t given_dims, int64_t k,
             int64_t neighbor_count)
      : kernels_(search_kernels<T>()),
        points_(points),
        clouds_(clouds),
        neighbor_count_(neighbor_count),
        first_leaves_(first_leaves_for(neighbor_count)),
        row_(first_leaves_ * kLeaf),
        groups_(groups_for(neighbor_count, row_)),
        capacity_(2 * neighbor_count + kSlack + row_ + kLeaf + 2 * kBlock),
        ranking_(k, neighbor_count),
        not_finite_(rows, clouds, given_dims),
        walk_(points),
        distances_(kPointTile * row_),
        minima_(kPointTile * std::max(groups_, int64_t{1})),
        admitted_(kLeaf * capacity_),
        ids_(kLeaf * capacity_),
        near_(first_leaves_) {}

  // Neighbours of the queries in one of their leaves, written to the rows of their ids, counted from `row`. The leaf's
  // number counts within the cloud. With `excluding`, a query is point number id of the same cloud, and no neighbour of
  // itself.
  void run(const PointLeaves<T>& queries, int64_t cloud, int64_t leaf, bool excluding, const NeighborRows<T>& results,
           int64_t row) {
    const int64_t at = queries.first_box(cloud, 0) + leaf, size = queries.leaf_size(cloud, leaf);
    const int64_t neighbor_count = std::min(neighbor_count_, clouds_.size(cloud));
    walk_.start(cloud, queries, at);
    walk_.take_nearest(first_leaves_, &near_);
    walk_.list_within(refine_nearest(queries, at * kLeaf, size, neighbor_count));
    for (int64_t q = 0; q < size; ++q) {
      const int64_t id = queries.ids()[at * kLeaf + q];
      finish(cloud, query(queries, at * kLeaf + q), q, neighbor_count);
      ranking_.write(excluding ? id : -1, results, row + id);
    }
  }

  // The neighbours of a query that is in no leaf.
  void run_alone(const T* query, int64_t cloud, int64_t excluded, const NeighborRows<T>& results, int64_t row) {
    ranking_.clear();
    not_finite_.append(cloud, query, std::min(neighbor_count_, clouds_.size(cloud)), &ranking_);
    ranking_.write(excluded, results, row);
  }

 private:
  static constexpr int64_t kSlack = 64;  // survivors beyond 2 k before they are reduced to k

  struct Query {
    T coordinates[kPointDims];
  };

  // Measured at k = 1 to 64 on cubes and surfaces of 16k to 1M points: fewer leave loose bounds, more cost distances.
  static int64_t first_leaves_for(int64_t neighbor_count) {
    if (neighbor_count <= 32) return std::max<int64_t>(2, (neighbor_count + 3) / 4 + 3);
    return std::max(std::min(neighbor_count / 4, int64_t{32}), neighbor_count / 16);
  }

  static Query query(const PointLeaves<T>& queries, int64_t slot) {
    Query found;
    for (int64_t d = 0; d < queries.dims(); ++d) found.coordinates[d] = queries.column(d)[slot];
    return found;
  }

  // Admits what the nearest leaves have for each query. Returns the farthest that any of them still has to look.
  Reach<T> refine_nearest(const PointLeaves<T>& queries, int64_t slot, int64_t size, int64_t neighbor_count) {
    const int64_t leaves = static_cast<int64_t>(near_.size()), row = leaves * kLeaf;
    const int64_t groups = 2 * groups_ <= row ? groups_ : 0;
    const Candidates<T> candidates{points_.column(0), kBlock,       points_.slots(),      points_.dims(),
                                   points_.ids(),     near_.data(), leaves * kLeafBlocks, 0};
    Reach<T> reach{-1, -1};
    for (int64_t begin = 0; begin < size; begin += kPointTile) {
      T tile[kPointDims * kPointTile];
      for (int64_t d = 0; d < points_.dims(); ++d) {
        for (int64_t q = 0; q < kPointTile; ++q) {
          tile[d * kPointTile + q] = queries.column(d)[slot + std::min(begin + q, size - 1)];
        }
      }
      kernels_.distances(tile, kPointTile, candidates, distances_.data(), row, groups > 0 ? minima_.data() : nullptr,
                         groups > 0 ? groups : kLeaf);
      T* bounds = guesses_;
      if (groups > 0) {
        kernels_.thresholds(minima_.data(), groups, groups, neighbor_count, bounds);
      } else {
        kernels_.thresholds(distances_.data(), row, row, neighbor_count, bounds);
      }
      for (int64_t q = 0; q < std::min(kPointTile, size - begin); ++q) {
        T* admitted = admitted_.data() + (begin + q) * capacity_;
        int32_t* ids = ids_.data() + (begin + q) * capacity_;
        bounds[q] = std::min(bounds[q], std::numeric_limits<T>::max());
        int64_t found = kernels_.admit(distances_.data() + q * row, candidates, bounds[q], admitted, ids, 0);
        Reach<T> own{bounds[q], std::numeric_limits<int32_t>::max()};
        if (found > 2 * neighbor_count + kSlack) {
          const Candidate<T> last = ranking_.keep(admitted, ids, found, neighbor_count);
          own = {last.distance, last.index};
          found = neighbor_count;
        }
        bounds_[begin + q] = own.distance;
        found_[begin + q] = found;
        if (own.distance > reach.distance || (own.distance == reach.distance && own.id > reach.id)) reach = own;
      }
    }
    return reach;
  }

  // Admits what the listed leaves have for query number q of the leaf, and ranks.
  void finish(int64_t cloud, const Query& query, int64_t q, int64_t neighbor_count) {
    const LeafList<T> list = walk_.listed();
    T* admitted = admitted_.data() + q * capacity_;
    int32_t* ids = ids_.data() + q * capacity_;
    int64_t found = found_[q];
    for (int64_t next = 0; next < list.count;) {
      found = kernels_.admit_leaves(query.coordinates, list, bounds_[q], admitted, ids, found, capacity_, &next);
      if (next < list.count) {
        bounds_[q] = ranking_.keep(admitted, ids, found, neighbor_count).distance;
        found = neighbor_count;
      }
    }
    if (ranking_.rank(admitted, ids, found, neighbor_count) < neighbor_count) {
      not_finite_.append(cloud, query.coordinates, neighbor_count, &ranking_);
    }
  }

  const SearchKernels<T>& kernels_;
  const PointLeaves<T>& points_;
  Clouds clouds_;
  int64_t neighbor_count_, first_leaves_, row_, groups_, capacity_;
  Ranking<T> ranking_;
  NotFiniteNeighbors<T> not_finite_;
  LeafWalk<T> walk_;
  std::vector<T> distances_, minima_, admitted_;
  std::vector<int32_t> ids_, near_;
  T guesses_[kPointTile] = {}, bounds_[kLeaf];
  int64_t found_[kLeaf];
};

}  // namespace pointkernels
