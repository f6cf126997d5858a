// Ball query of points of up to four coordinates by looking at near leaves only (point_leaves.h).
//
// Queries come in leaves of their own, and the leaves within the radius of such a leaf's box are listed once for all of
// them. A query's neighbours in these are found leaf by leaf, and the k lowest ids are kept; leaves come in the order
// of their lowest ids, so that in a cloud whose neighbours are near in memory, too, most are never looked at. Where
// many points lie within the radius that is more work than to scan the cloud from its beginning until k are found, so
// the first queries of a leaf try that for as many points as the list has, and the others go on with what was
// successful. Both ways admit the same points, so the choice changes no result.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "leaf_walk.h"
#include "packed_clouds.h"
#include "point_leaves.h"
#include "search_kernels.h"

namespace pointkernels {

template <typename T>
class BallSearch {
 public:
  // A squared radius of 0 admits nothing and is left to the caller.
  BallSearch(const PointLeaves<T>& points, const PackedClouds<T>& packed, const Clouds& clouds, int64_t given_dims,
             T squared_radius, int64_t k, bool excluding)
      : kernels_(search_kernels<T>()),
        packed_(packed),
        clouds_(clouds),
        given_dims_(given_dims),
        squared_radius_(squared_radius),
        // Below the squared radius is up to the number before it.
        bound_(std::nextafter(squared_radius, T{0})),
        k_(k),
        neighbor_count_(excluding ? k + 1 : k),
        capacity_(2 * neighbor_count_ + kSlack + kLeaf + kBlock),
        excluding_(excluding),
        walk_(points),
        admitted_(capacity_),
        ids_(capacity_),
        keys_(kernels_.most_ranked + kBlock),
        sorted_(kernels_.most_ranked),
        places_(kernels_.most_ranked + kBlock),
        slots_(kernels_.most_ranked),
        order_(kernels_.most_ranked) {
    for (int64_t i = 0; i < kernels_.most_ranked; ++i) slots_[i] = static_cast<int32_t>(i);
  }

  // Neighbours of the queries in one of their leaves, written to the rows of their ids. The leaf's number counts within
  // the cloud. `rows` are the queries of the cloud.
  void run(const PointLeaves<T>& queries, const T* rows, int64_t cloud, int64_t leaf, T* distances, int64_t* indices) {
    const int64_t at = queries.first_box(cloud, 0) + leaf, size = queries.leaf_size(cloud, leaf);
    walk_.start(cloud, queries, at);
    walk_.list_within({bound_, std::numeric_limits<int32_t>::max()}, true);
    const LeafList<T> list = walk_.listed();
    const int64_t blocks = blocks_of(clouds_.size(cloud)), tried = std::min(list.count * kLeafBlocks, blocks);
    bool scanning = true;
    for (int64_t q = 0; q < size; ++q) {
      const int64_t id = queries.ids()[at * kLeaf + q];
      T* to_distances = distances + id * k_;
      int64_t* to_indices = indices + id * k_;
      int64_t written = 0;
      if (scanning) {
        written = kernels_.first_within(rows + id * given_dims_, packed_.cloud_blocks(cloud), tried, given_dims_,
                                        squared_radius_, excluding_ ? id : -1, k_, to_distances, to_indices);
        scanning = written == k_ || tried == blocks;
      }
      if (!scanning) {
        T query[kPointDims];
        for (int64_t d = 0; d < queries.dims(); ++d) query[d] = queries.column(d)[at * kLeaf + q];
        written = write(collect(query, list), excluding_ ? id : -1, to_distances, to_indices);
      }
      std::fill(to_distances + written, to_distances + k_, std::numeric_limits<T>::infinity());
      std::fill(to_indices + written, to_indices + k_, int64_t{-1});
    }
  }

 private:
  static constexpr int64_t kSlack = 192;  // neighbours beyond 2 k before they are reduced to k

  struct Neighbor {
    int32_t id;
    T distance;
  };

  // All neighbours in the listed leaves or, of many, those with the lowest ids; returns how many.
  int64_t collect(const T* query, LeafList<T> list) {
    int64_t found = 0;
    for (int64_t next = 0; next < list.count;) {
      found = kernels_.admit_leaves(query, list, bound_, admitted_.data(), ids_.data(), found, capacity_, &next);
      if (next == list.count) break;
      found = keep(found, false);
      if (found == neighbor_count_)
        list.count = walk_.listed_up_to(*std::max_element(ids_.data(), ids_.data() + found));
    }
    return found;
  }

  // Reduces the neighbours to the `neighbor_count_` with the lowest ids, sorted or not.
  int64_t keep(int64_t found, bool sorted) {
    const int64_t kept = std::min(found, neighbor_count_);
    neighbors_.resize(found);
    for (int64_t i = 0; i < found; ++i) neighbors_[i] = {ids_[i], admitted_[i]};
    const auto lower = [](const Neighbor& a, const Neighbor& b) { return a.id < b.id; };
    if (kept < found) std::nth_element(neighbors_.begin(), neighbors_.begin() + kept, neighbors_.end(), lower);
    if (sorted) std::sort(neighbors_.begin(), neighbors_.begin() + kept, lower);
    for (int64_t i = 0; i < kept; ++i) {
      ids_[i] = neighbors_[i].id;
      admitted_[i] = neighbors_[i].distance;
    }
    return kept;
  }

  // Writes the first k of the neighbours in the order of ids, and returns how many.
  int64_t write(int64_t found, int64_t excluded, T* distances, int64_t* indices) {
    // Ids are ranked as numbers of T, which holds so many of them exactly.
    constexpr int64_t kMostIds = int64_t{1} << std::min(std::numeric_limits<T>::digits, 31);
    const bool ranked = found <= kernels_.most_ranked && clouds_.rows <= kMostIds;
    if (ranked) {
      for (int64_t i = 0; i < found; ++i) keys_[i] = static_cast<T>(ids_[i]);
      kernels_.rank(keys_.data(), slots_.data(), found, places_.data(), sorted_.data(), order_.data());
    } else {
      found = keep(found, true);
    }
    int64_t written = 0;
    for (int64_t i = 0; i < found && written < k_; ++i) {
      const int64_t from = ranked ? order_[i] : i;
      if (ids_[from] == excluded) continue;
      distances[written] = admitted_[from];
      indices[written] = ids_[from];
      ++written;
    }
    return written;
  }

  const SearchKernels<T>& kernels_;
  const PackedClouds<T>& packed_;
  Clouds clouds_;
  int64_t given_dims_;
  T squared_radius_, bound_;
  int64_t k_, neighbor_count_, capacity_;
  bool excluding_;
  LeafWalk<T> walk_;
  std::vector<T> admitted_;
  std::vector<int32_t> ids_;
  std::vector<T> keys_, sorted_;
  std::vector<int32_t> places_, slots_;
  std::vector<int64_t> order_;
  std::vector<Neighbor> neighbors_;
};

}  // namespace pointkernels
