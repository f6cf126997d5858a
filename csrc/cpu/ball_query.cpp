// Ball query on the CPU: every query walks the blocks of its cloud until it has enough neighbours.
#include <algorithm>
#include <limits>

#include "isa.h"
#include "packed_clouds.h"
#include "parallel.h"

namespace pointkernels {

namespace {

constexpr int64_t kQueryRows = 64;  // queries in one unit of work: keeps a cloud's blocks in cache meanwhile

template <typename T>
void ball_query_of(const Tensor& points, const Clouds& clouds, const Tensor& query, const Clouds& query_clouds,
                   double squared_radius, int64_t k, bool include_self, const Tensor& indices,
                   const Tensor& distances) {
  const int64_t dims = points.size(1);
  const T* queries = query.const_data_ptr<T>();
  T* all_distances = distances.mutable_data_ptr<T>();
  int64_t* all_indices = indices.mutable_data_ptr<int64_t>();
  if (query_clouds.extents != nullptr) {  // rows between the clouds are queries of nothing
    std::fill_n(all_distances, query.size(0) * k, std::numeric_limits<T>::infinity());
    std::fill_n(all_indices, query.size(0) * k, int64_t{-1});
  }
  const IsaKernels<T>& isa = isa_kernels<T>();
  const PackedClouds<T> packed(points.const_data_ptr<T>(), clouds, dims);
  parallel_for(tile_bound(query_clouds, kQueryRows), [&](int64_t first, int64_t last) {
    for (int64_t t = first; t < last; ++t) {
      const Tile tile = locate_tile(query_clouds, t, kQueryRows);
      for (int64_t i = tile.begin; i < tile.end; ++i) {
        const int64_t row = query_clouds.first(tile.cloud) + i;
        T* found_distances = all_distances + row * k;
        int64_t* found_indices = all_indices + row * k;
        const int64_t found = isa.first_within(queries + row * dims, packed.cloud_blocks(tile.cloud),
                                               blocks_of(clouds.size(tile.cloud)), dims, static_cast<T>(squared_radius),
                                               include_self ? -1 : i, k, found_distances, found_indices);
        std::fill(found_distances + found, found_distances + k, std::numeric_limits<T>::infinity());
        std::fill(found_indices + found, found_indices + k, int64_t{-1});
      }
    }
  });
}

std::tuple<Tensor, Tensor> ball_query(const Tensor& points, std::optional<Tensor> extents, std::optional<Tensor> query,
                                      std::optional<Tensor> query_extents, int64_t cloud_count, double squared_radius,
                                      int64_t k, bool include_self) {
  check_floating(points, "points", 2);
  const Tensor& queries = query.has_value() ? *query : points;
  check_like(queries, "query", 2, points);
  STD_TORCH_CHECK(queries.size(1) == points.size(1), "query and points must have the same number of coordinates");
  STD_TORCH_CHECK(points.size(1) >= 1 && k >= 1, "k and the number of coordinates must be at least 1");
  const Clouds clouds = clouds_of(points, extents, cloud_count);
  const Clouds query_clouds = query.has_value() ? clouds_of(queries, query_extents, cloud_count) : clouds;
  check_extents(clouds);
  check_extents(query_clouds);
  Tensor indices = empty_integers(points, queries.size(0), k);
  Tensor distances = torch::stable::new_empty(points, {queries.size(0), k});
  if (queries.size(0) > 0) {
    const auto search = points.scalar_type() == ScalarType::Float ? ball_query_of<float> : ball_query_of<double>;
    search(points, clouds, queries, query_clouds, squared_radius, k, include_self, indices, distances);
  }
  return {distances, indices};
}

}  // namespace

}  // namespace pointkernels

STABLE_TORCH_LIBRARY_IMPL(pointkernels, CPU, library) {
  library.impl("ball_query", TORCH_BOX(&pointkernels::ball_query));
}
