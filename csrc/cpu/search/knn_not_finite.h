// Neighbours at infinite or NaN distances, of which the lowest ids win, so that nothing has to be searched for them.
//
// Whether a distance is NaN depends only on where the query and the point have infinities and NaN: queries that are
// alike in this share one look at the cloud. For points of four coordinates there are 82 kinds of queries.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "../../common/clouds.h"
#include "../../common/distance.h"
#include "ranking.h"

namespace pointkernels {

template <typename T>
class NotFiniteNeighbors {
 public:
  NotFiniteNeighbors(const T* rows, const Clouds& clouds, int64_t dims) : rows_(rows), clouds_(clouds), dims_(dims) {}

  // Appends the neighbours that a query has behind those at finite distances, which are ranked already, until there are
  // `neighbor_count`, the same number for every query of a cloud.
  void append(int64_t cloud, const T* query, int64_t neighbor_count, Ranking<T>* ranking) {
    const T* const points = rows_ + clouds_.first(cloud) * dims_;
    const Ids& ids = ids_for(cloud, query, neighbor_count);
    for (const int32_t id : ids.of_numbers) {
      if (ranking->found() == neighbor_count) return;
      const T distance = squared_distance(points + id * dims_, query, dims_);
      if (std::isinf(distance)) ranking->append(distance, id);
    }
    for (const int32_t id : ids.of_nan) {
      if (ranking->found() == neighbor_count) return;
      ranking->append(squared_distance(points + id * dims_, query, dims_), id);
    }
  }

 private:
  // The lowest ids at distances that are numbers, and at NaN, from queries of one kind. Fewer than `neighbor_count` of
  // the numbers are finite, so 2 * neighbor_count are enough.
  struct Ids {
    int64_t kind;
    std::vector<int32_t> of_numbers, of_nan;
  };

  int64_t kind_of(const T* query) const {
    int64_t kind = 0;
    for (int64_t d = 0; d < dims_; ++d) {
      if (std::isnan(query[d])) return -1;  // all distances are NaN
      kind = 3 * kind + (std::isinf(query[d]) ? (query[d] > 0 ? 1 : 2) : 0);
    }
    return kind;
  }

  const Ids& ids_for(int64_t cloud, const T* query, int64_t neighbor_count) {
    if (cloud != cloud_) kinds_.clear();
    cloud_ = cloud;
    const int64_t kind = kind_of(query);
    const auto known = std::find_if(kinds_.begin(), kinds_.end(), [&](const Ids& ids) { return ids.kind == kind; });
    if (known != kinds_.end()) return *known;
    kinds_.push_back({kind, {}, {}});
    Ids& ids = kinds_.back();
    const T* const points = rows_ + clouds_.first(cloud) * dims_;
    const size_t most_numbers = 2 * neighbor_count, most_nan = neighbor_count;
    for (int64_t i = 0; i < clouds_.size(cloud); ++i) {
      if (ids.of_numbers.size() == most_numbers && ids.of_nan.size() == most_nan) break;
      const bool is_nan = std::isnan(squared_distance(points + i * dims_, query, dims_));
      std::vector<int32_t>& list = is_nan ? ids.of_nan : ids.of_numbers;
      if (list.size() < (is_nan ? most_nan : most_numbers)) list.push_back(static_cast<int32_t>(i));
    }
    return ids;
  }

  const T* rows_;
  Clouds clouds_;
  int64_t dims_, cloud_ = -1;
  std::vector<Ids> kinds_;  // of queries of cloud number `cloud_`
};

}  // namespace pointkernels
