// kNN by brute force, over every candidate: for small clouds and for features.
//
// A tile of queries computes its distances to a chunk of candidates; a bound that at least k of them do not exceed
// admits few of them (see groups_for); the survivors of all chunks are ranked. Nothing is stored but a tile of rows.
//
// Where a cloud has a projection (projection.h), the tile's distances are projected ones, which are no larger than the
// exact ones. Exact distances are computed first for the candidates that are nearest in the projection, which bounds
// the distance of the k-th neighbour, and then for all candidates that this bound does not rule out.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <numeric>
#include <vector>

#include "../../common/clouds.h"
#include "packed_clouds.h"
#include "projection.h"
#include "ranking.h"

namespace pointkernels {

// The points and queries of one cloud.
template <typename T>
struct SearchedCloud {
  const T* points;   // (size, dims)
  const T* queries;  // (queries, dims): the points or others
  int64_t size;
  const T* blocks;                  // of the points, unless there is a projection
  const Projection<T>* projection;  // in which distances are compared first, or nullptr
};

template <typename T>
class BruteSearch {
 public:
  // `projections`: some cloud may have one.
  BruteSearch(int64_t largest_cloud, int64_t dims, int64_t k, bool include_self, bool projections)
      : kernels_(search_kernels<T>()),
        dims_(dims),
        include_self_(include_self),
        // Without the query itself, the k nearest are the k + 1 nearest less the query, if it is among them.
        neighbor_count_(std::min(include_self ? k : k + 1, largest_cloud)),
        tile_(tile_of(dims, projections)),
        chunk_(chunk_of(largest_cloud, dims)),
        capacity_(2 * neighbor_count_ + kSlack + chunk_ + kBlock),
        batch_(chunk_ < largest_cloud
                   ? std::clamp(kMostAdmitted / capacity_ / tile_, int64_t{1}, kMostBatch / tile_) * tile_
                   : tile_),
        ranking_(k, neighbor_count_),
        queries_(tile_ * std::max(dims, projections ? kMostProjectionDims : 0)),
        distances_(tile_ * (chunk_ + kBlock)),
        minima_(tile_ * std::max(groups_for(neighbor_count_, chunk_), int64_t{1})),
        guesses_(tile_),
        numbers_(chunk_),
        admitted_(batch_ * capacity_),
        ids_(batch_ * capacity_),
        found_(batch_),
        bounds_(batch_),
        rest_(projections ? chunk_ + kBlock : 0),
        rest_ids_(rest_.size()) {
    std::iota(numbers_.begin(), numbers_.end(), 0);
  }

  // The number of queries whose distances are computed together.
  static int64_t tile_of(int64_t dims, bool projections) {
    return dims <= kPointDims && !projections ? kPointTile : search_kernels<T>().feature_tile;
  }

  // Finds the neighbours of queries [first, first + count) of a cloud and writes them to the rows of the results from
  // `row` on.
  void run(const SearchedCloud<T>& cloud, int64_t first, int64_t count, const NeighborRows<T>& results, int64_t row) {
    const int64_t size = cloud.size, neighbor_count = std::min(neighbor_count_, size);
    for (int64_t begin = first; begin < first + count; begin += batch_) {
      const int64_t end = std::min(begin + batch_, first + count);
      std::fill(found_.begin(), found_.end(), 0);
      std::fill(bounds_.begin(), bounds_.end(), std::numeric_limits<T>::infinity());
      for (int64_t chunk = 0; chunk < size; chunk += chunk_) {
        for (int64_t q = begin; q < end; q += tile_) {
          scan_tile(cloud, q, std::min(tile_, end - q), chunk, std::min(chunk_, size - chunk), neighbor_count,
                    q - begin);
        }
      }
      for (int64_t q = begin; q < end; ++q) {
        const int64_t at = q - begin;
        if (ranking_.rank(admitted(at), ids(at), found_[at], neighbor_count) < neighbor_count) {
          ranking_.append_nan(cloud.points, size, dims_, cloud.queries + q * dims_, neighbor_count);
        }
        ranking_.write(include_self_ ? -1 : q, results, row + q - first);
      }
    }
  }

 private:
  static constexpr int64_t kSlack = 64;            // survivors beyond 2 k before they are reduced to k
  static constexpr int64_t kMostBatch = 64;        // queries that share a chunk of candidates in cache
  static constexpr int64_t kMostAdmitted = 65536;  // entries of work space for them
  // Factors by which reach_ changes. They make about half of the queries need refine_rest(); with a quarter or a tenth
  // of them features near a surface took as long, and features farther from one, whose reach_ then grows, longer.
  static constexpr T kFarther = static_cast<T>(1.03), kNearer = static_cast<T>(0.97), kMostReach = 4;

  // A chunk's blocks fit half of a second-level cache of 1 MB, and the tile's distances to it the first level or little
  // more.
  static int64_t chunk_of(int64_t largest_cloud, int64_t dims) {
    const int64_t most = dims <= kPointDims ? 2048 : std::clamp<int64_t>(131072 / dims / kLeaf * kLeaf, 256, 1024);
    return std::min((largest_cloud + kBlock - 1) / kBlock * kBlock, most);
  }

  // One tile of queries, from number `query` on, against one chunk; `slot` is the tile's place in the batch.
  void scan_tile(const SearchedCloud<T>& cloud, int64_t query, int64_t count, int64_t chunk, int64_t size,
                 int64_t neighbor_count, int64_t slot) {
    const Projection<T>* const projection = cloud.projection;
    const int64_t dims = projection != nullptr ? projection->dims() : dims_;
    const T* const queries = projection != nullptr ? projection->queries() : cloud.queries;
    for (int64_t q = 0; q < tile_; ++q) {
      const T* from = queries + (query + std::min(q, count - 1)) * dims;
      for (int64_t d = 0; d < dims; ++d) queries_[d * tile_ + q] = from[d];
    }
    const T* const blocks = (projection != nullptr ? projection->blocks() : cloud.blocks) + chunk * dims;
    const int64_t slots = blocks_of(size) * kBlock, row = slots + kBlock;
    const Candidates<T> candidates{blocks,          kBlock * dims, kBlock,         dims,
                                   numbers_.data(), nullptr,       slots / kBlock, static_cast<int32_t>(chunk)};
    // The first chunk gives the bound, later ones lower it as they are admitted.
    const int64_t groups = chunk == 0 ? groups_for(neighbor_count, slots) : 0;
    kernels_.distances(queries_.data(), tile_, candidates, distances_.data(), row,
                       groups > 0 ? minima_.data() : nullptr, groups > 0 ? groups : kLeaf);
    const bool bounded = chunk == 0 && (groups > 0 || neighbor_count + neighbor_count / 4 < size);
    if (bounded) {
      for (int64_t q = 0; q < tile_; q += kPointTile) {
        const T* values = groups > 0 ? minima_.data() + q * groups : distances_.data() + q * row;
        kernels_.thresholds(values, groups > 0 ? groups : row, groups > 0 ? groups : slots, neighbor_count,
                            guesses_.data() + q);
      }
      if (projection == nullptr) std::copy_n(guesses_.data(), count, bounds_.data() + slot);
    }
    if (projection != nullptr && bounded) {
      for (int64_t q = 0; q < count; q += kPointTile) {
        refine_nearest(cloud, query + q, std::min(kPointTile, count - q), distances_.data() + q * row, row, candidates,
                       guesses_.data() + q, neighbor_count, slot + q);
      }
    }
    for (int64_t q = 0; q < count; ++q) {
      int64_t& found = found_[slot + q];
      T& bound = bounds_[slot + q];
      const T* distances = distances_.data() + q * row;
      if (projection == nullptr) {
        found = kernels_.admit(distances, candidates, bound, admitted(slot + q), ids(slot + q), found);
      } else if (!bounded) {
        refine_rest(cloud, query + q, distances, candidates, -1, projection->bound(bound), slot + q);
      }
      if (found > 2 * neighbor_count + kSlack) {
        bound = std::min(bound, ranking_.keep(admitted(slot + q), ids(slot + q), found, neighbor_count).distance);
        found = neighbor_count;
      }
    }
  }

  // Computes exact distances from queries [query, query + count), at most kPointTile, to the candidates within reach_
  // times `nearest` in the projection, where `nearest` (kPointTile) bounds the projected distances of at least
  // neighbor_count candidates; those beyond neighbor_count often spare refine_rest(). Then to the rest where needed.
  void refine_nearest(const SearchedCloud<T>& cloud, int64_t query, int64_t count, const T* distances, int64_t row,
                      const Candidates<T>& candidates, const T* nearest, int64_t neighbor_count, int64_t slot) {
    T seen[kPointTile], kth[kPointTile];
    int64_t most = 0;
    for (int64_t q = 0; q < count; ++q) {
      seen[q] = nearest[q] * reach_;
      int64_t& found = found_[slot + q];
      found = kernels_.admit(distances + q * row, candidates, seen[q], admitted(slot + q), ids(slot + q), 0);
      isa_kernels<T>().projection->distances_to(cloud.points, dims_, cloud.queries + (query + q) * dims_, ids(slot + q),
                                                found, admitted(slot + q));
      most = std::max(most, found);
    }
    most = blocks_of(most) * kBlock;
    for (int64_t q = 0; q < kPointTile; ++q) {
      const int64_t found = q < count ? found_[slot + q] : 0;
      std::fill(admitted(slot + q) + found, admitted(slot + q) + most, std::numeric_limits<T>::quiet_NaN());
      kth[q] = kth_;
    }
    kernels_.thresholds(admitted(slot), capacity_, most, neighbor_count, kth);
    kth_ = kth[0];
    for (int64_t q = 0; q < count; ++q) {
      bounds_[slot + q] = kth[q];
      const T bound = cloud.projection->bound(kth[q]);
      if (bound > seen[q]) {
        refine_rest(cloud, query + q, distances + q * row, candidates, seen[q], bound, slot + q);
        reach_ = std::min(reach_ * kFarther, kMostReach);
      } else {
        reach_ = std::max(reach_ * kNearer, T{1});
      }
    }
  }

  // Computes exact distances for candidates whose projected distance lies in (seen, bound].
  void refine_rest(const SearchedCloud<T>& cloud, int64_t query, const T* distances, const Candidates<T>& candidates,
                   T seen, T bound, int64_t slot) {
    T* const distances_within = rest_.data();
    int32_t* const rest_ids = rest_ids_.data();
    const int64_t within = kernels_.admit(distances, candidates, bound, distances_within, rest_ids, 0);
    int64_t count = 0;
    for (int64_t i = 0; i < within; ++i) {
      rest_ids[count] = rest_ids[i];
      count += distances_within[i] > seen;
    }
    isa_kernels<T>().projection->distances_to(cloud.points, dims_, cloud.queries + query * dims_, rest_ids, count,
                                              distances_within);
    int64_t found = found_[slot];
    for (int64_t i = 0; i < count; ++i) {
      admitted(slot)[found] = distances_within[i];
      ids(slot)[found] = rest_ids[i];
      found += distances_within[i] <= bounds_[slot];
    }
    found_[slot] = found;
  }

  T* admitted(int64_t slot) { return admitted_.data() + slot * capacity_; }
  int32_t* ids(int64_t slot) { return ids_.data() + slot * capacity_; }

  const SearchKernels<T>& kernels_;
  int64_t dims_;
  bool include_self_;
  int64_t neighbor_count_, tile_, chunk_, capacity_, batch_;
  Ranking<T> ranking_;
  std::vector<T> queries_, distances_, minima_, guesses_;
  std::vector<int32_t> numbers_;
  std::vector<T> admitted_;
  std::vector<int32_t> ids_;
  std::vector<int64_t> found_;
  std::vector<T> bounds_, rest_;
  std::vector<int32_t> rest_ids_;
  // Guesses from earlier queries, which change nothing but the time: how far beyond the nearest neighbor_count
  // candidates of the projection exact distances are computed at once, as a ratio of squared distances, and the k-th
  // distance.
  T reach_ = static_cast<T>(1.2), kth_ = 1;
};

}  // namespace pointkernels
