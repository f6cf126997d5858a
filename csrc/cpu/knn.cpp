// kNN on the CPU: exact brute force with group-threshold selection.
//
// Candidates are packed into blocks of 16 and every query computes all its distances, four queries at a time. While
// they are computed, the smallest distance of each of G groups of candidates is kept. The k-th smallest group minimum
// bounds the k-th distance from above, since k different groups hold a candidate no farther; with G >= 3 k only
// about 1.2 k candidates lie within that bound, and they are ranked by counting.
#include <algorithm>
#include <limits>
#include <vector>

#include "../common/order.h"
#include "isa.h"
#include "packed_clouds.h"
#include "parallel.h"

namespace pointkernels {

namespace {

constexpr int64_t kQueryRows = 64;    // queries in one unit of search work: keeps a cloud's blocks in cache meanwhile
constexpr int64_t kMaxGroups = 1024;  // beyond it, bisecting the minima costs more than admitting every candidate
constexpr int64_t kMaxRanked = 1024;  // ranking by counting is quadratic; a sort is faster from about here on

template <typename T>
class Search {
 public:
  Search(int64_t largest_cloud, int64_t dims, int64_t k, bool include_self)
      : isa_(isa_kernels<T>()),
        dims_(dims),
        k_(k),
        include_self_(include_self),
        // Without the query itself, the k nearest are the k + 1 nearest less the query, if it is among them.
        wanted_(std::min(include_self ? k : k + 1, largest_cloud)),
        groups_(kBlock),
        queries_(kQueryTile * dims),
        distances_(kQueryTile * blocks_of(largest_cloud) * kBlock),
        admitted_((blocks_of(largest_cloud) + 1) * kBlock),
        indices_((blocks_of(largest_cloud) + 1) * kBlock),
        sorted_(wanted_),
        order_(wanted_) {
    while (groups_ < 3 * wanted_ && groups_ < kMaxGroups) groups_ *= 2;
    minima_.resize(kQueryTile * groups_);
  }

  // Finds the neighbours of `count` <= kQueryTile consecutive queries, the first being number `first` of its cloud.
  void run(const T* queries, int64_t first, int64_t count, const T* blocks, int64_t points, T* distances,
           int64_t* indices) {
    for (int64_t q = 0; q < kQueryTile; ++q) {
      std::copy_n(queries + std::min(q, count - 1) * dims_, dims_, queries_.data() + q * dims_);
    }
    const int64_t row = blocks_of(points) * kBlock;
    isa_.distances(queries_.data(), blocks, row / kBlock, dims_, distances_.data(), minima_.data(), groups_);
    for (int64_t q = 0; q < count; ++q) {
      const int64_t found = nearest(distances_.data() + q * row, minima_.data() + q * groups_, points);
      write(found, include_self_ ? -1 : first + q, distances + q * k_, indices + q * k_);
    }
  }

 private:
  // Leaves the wanted_ nearest, or all there are, in sorted_ and order_ and returns their number.
  int64_t nearest(const T* distances, const T* minima, int64_t points) {
    const int64_t row = blocks_of(points) * kBlock;
    const int64_t wanted = std::min(wanted_, points);
    const bool selective = 3 * wanted <= groups_ && groups_ < row;
    const T bound = selective ? isa_.threshold(minima, groups_, wanted) : std::numeric_limits<T>::infinity();
    const int64_t admitted = isa_.admit(distances, row, bound, admitted_.data(), indices_.data());
    const int64_t numbers = std::min(admitted, wanted);
    if (admitted <= kMaxRanked) {
      std::fill_n(admitted_.data() + admitted, kBlock, std::numeric_limits<T>::quiet_NaN());
      isa_.rank(admitted_.data(), indices_.data(), admitted, numbers, sorted_.data(), order_.data());
    } else {
      sort(admitted, numbers);
    }
    return numbers < wanted ? append_nan(distances, points, numbers, wanted) : numbers;
  }

  void sort(int64_t admitted, int64_t numbers) {
    candidates_.resize(admitted);
    for (int64_t i = 0; i < admitted; ++i) candidates_[i] = {admitted_[i], indices_[i]};
    std::nth_element(candidates_.begin(), candidates_.begin() + numbers - 1, candidates_.end(), precedes<T>);
    std::sort(candidates_.begin(), candidates_.begin() + numbers, precedes<T>);
    for (int64_t i = 0; i < numbers; ++i) {
      sorted_[i] = candidates_[i].distance;
      order_[i] = candidates_[i].index;
    }
  }

  // Candidates whose distance is NaN follow all others, in index order.
  int64_t append_nan(const T* distances, int64_t points, int64_t found, int64_t wanted) {
    for (int64_t i = 0; i < points && found < wanted; ++i) {
      if (distances[i] == distances[i]) continue;
      sorted_[found] = distances[i];
      order_[found] = i;
      ++found;
    }
    return found;
  }

  void write(int64_t found, int64_t excluded, T* distances, int64_t* indices) const {
    int64_t written = 0;
    for (int64_t i = 0; i < found && written < k_; ++i) {
      if (order_[i] == excluded) continue;
      distances[written] = sorted_[i];
      indices[written] = order_[i];
      ++written;
    }
    std::fill(distances + written, distances + k_, std::numeric_limits<T>::infinity());
    std::fill(indices + written, indices + k_, int64_t{-1});
  }

  const IsaKernels<T>& isa_;
  int64_t dims_, k_;
  bool include_self_;
  int64_t wanted_, groups_;
  std::vector<T> queries_, distances_, minima_, admitted_;
  std::vector<int32_t> indices_;
  std::vector<T> sorted_;
  std::vector<int64_t> order_;
  std::vector<Candidate<T>> candidates_;
};

template <typename T>
void knn_of(const Tensor& points, const Clouds& clouds, const Tensor& query, const Clouds& query_clouds, int64_t k,
            bool include_self, const Tensor& indices, const Tensor& distances) {
  const int64_t dims = points.size(1);
  const T* queries = query.const_data_ptr<T>();
  T* all_distances = distances.mutable_data_ptr<T>();
  int64_t* all_indices = indices.mutable_data_ptr<int64_t>();
  if (query_clouds.extents != nullptr) {  // rows between the clouds are queries of nothing
    std::fill_n(all_distances, query.size(0) * k, std::numeric_limits<T>::infinity());
    std::fill_n(all_indices, query.size(0) * k, int64_t{-1});
  }
  int64_t largest = 0;
  for (int64_t cloud = 0; cloud < clouds.count; ++cloud) largest = std::max(largest, clouds.size(cloud));
  STD_TORCH_CHECK(largest <= std::numeric_limits<int32_t>::max(), "a cloud can have at most 2^31 - 1 points, got ",
                  largest);
  const PackedClouds<T> packed(points.const_data_ptr<T>(), clouds, dims);
  parallel_for(tile_bound(query_clouds, kQueryRows), [&](int64_t first, int64_t last) {
    Search<T> search(largest, dims, k, include_self);
    for (int64_t t = first; t < last; ++t) {
      const Tile tile = locate_tile(query_clouds, t, kQueryRows);
      const int64_t size = tile.begin < tile.end ? clouds.size(tile.cloud) : 0;
      for (int64_t begin = tile.begin; begin < tile.end; begin += kQueryTile) {
        const int64_t at = query_clouds.first(tile.cloud) + begin;
        search.run(queries + at * dims, begin, std::min(kQueryTile, tile.end - begin), packed.cloud_blocks(tile.cloud),
                   size, all_distances + at * k, all_indices + at * k);
      }
    }
  });
}

std::tuple<Tensor, Tensor> knn(const Tensor& points, std::optional<Tensor> extents, std::optional<Tensor> query,
                               std::optional<Tensor> query_extents, int64_t cloud_count, int64_t k, bool include_self) {
  check_floating(points, "points", 2);
  const Tensor& queries = query.has_value() ? *query : points;
  check_like(queries, "query", 2, points);
  STD_TORCH_CHECK(queries.size(1) == points.size(1), "query and points must have the same number of coordinates");
  STD_TORCH_CHECK(points.size(1) >= 1 && k >= 1, "k and the number of coordinates must be at least 1");
  STD_TORCH_CHECK(include_self || !query.has_value(), "include_self=False needs query=None");
  const Clouds clouds = clouds_of(points, extents, cloud_count);
  const Clouds query_clouds = query.has_value() ? clouds_of(queries, query_extents, cloud_count) : clouds;
  check_extents(clouds);
  check_extents(query_clouds);
  Tensor indices = empty_integers(points, queries.size(0), k);
  Tensor distances = torch::stable::new_empty(points, {queries.size(0), k});
  if (queries.size(0) > 0) {
    const auto search = points.scalar_type() == ScalarType::Float ? knn_of<float> : knn_of<double>;
    search(points, clouds, queries, query_clouds, k, include_self, indices, distances);
  }
  return {distances, indices};
}

}  // namespace

}  // namespace pointkernels

STABLE_TORCH_LIBRARY_IMPL(pointkernels, CPU, library) { library.impl("knn", TORCH_BOX(&pointkernels::knn)); }
