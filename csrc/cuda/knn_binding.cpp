// The operator knn on CUDA (see library.cpp).
#include <limits>
#include <tuple>

#include "../common/search_arguments.h"
#include "binding.h"
#include "knn.h"

namespace pointkernels::cuda {

namespace {

template <typename T>
void search(const Tensor& points, const Clouds& clouds, const Tensor& query, const Clouds& query_clouds, int64_t k,
            bool include_self, const Tensor& indices, const Tensor& distances) {
  const KnnArguments<T> arguments{points.const_data_ptr<T>(),
                                  query.const_data_ptr<T>(),
                                  clouds,
                                  query_clouds,
                                  points.size(1),
                                  k,
                                  include_self,
                                  indices.mutable_data_ptr<int64_t>(),
                                  distances.mutable_data_ptr<T>()};
  STD_CUDA_CHECK(launch_knn(arguments, current_stream(points)));
}

std::tuple<Tensor, Tensor> knn(const Tensor& points, std::optional<Tensor> extents, std::optional<Tensor> query,
                               std::optional<Tensor> query_extents, int64_t cloud_count, int64_t k, bool include_self,
                               bool with_distances) {
  const DeviceGuard guard(points.get_device_index());
  const auto [queries, clouds, query_clouds] = search_arguments(points, extents, query, query_extents, cloud_count, k);
  check_device(queries, "query", points);
  check_device(extents, "extents", points);
  check_device(query_extents, "query_extents", points);
  STD_TORCH_CHECK(include_self || !query.has_value(), "include_self=False needs query=None");
  const int64_t largest = cloud_count == 0 ? 0 : extents.has_value() ? points.size(0) : points.size(0) / cloud_count;
  STD_TORCH_CHECK(largest <= std::numeric_limits<int32_t>::max(), "a cloud can have at most 2^31 - 1 points, got ",
                  largest);
  Tensor indices = empty_integers(points, queries.size(0), k);
  Tensor distances = torch::stable::new_empty(points, {queries.size(0), k});
  if (queries.size(0) > 0) {
    STD_TORCH_CHECK(cloud_count > 0, "rows without a cloud need at least one cloud");
    const auto run = is_float32(points) ? search<float> : search<double>;
    run(points, clouds, queries, query_clouds, k, include_self, indices, distances);
  }
  // The kernels write them in any case.
  return {with_distances ? distances : torch::stable::new_empty(points, {0, k}), indices};
}

}  // namespace

}  // namespace pointkernels::cuda

STABLE_TORCH_LIBRARY_IMPL(pointkernels, CUDA, library) { library.impl("knn", TORCH_BOX(&pointkernels::cuda::knn)); }
