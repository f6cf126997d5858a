// The operator ball_query on CUDA (see library.cpp).
#include "ball_query.h"

#include <tuple>

#include "../common/search_arguments.h"
#include "binding.h"

namespace pointkernels::cuda {

namespace {

template <typename T>
void search(const Tensor& points, const Clouds& clouds, const Tensor& query, const Clouds& query_clouds,
            double squared_radius, int64_t k, bool include_self, const Tensor& indices, const Tensor& distances) {
  const BallQueryArguments<T> arguments{points.const_data_ptr<T>(),
                                        query.const_data_ptr<T>(),
                                        clouds,
                                        query_clouds,
                                        points.size(1),
                                        static_cast<T>(squared_radius),
                                        k,
                                        include_self,
                                        indices.mutable_data_ptr<int64_t>(),
                                        distances.mutable_data_ptr<T>()};
  STD_CUDA_CHECK(launch_ball_query(arguments, current_stream(points)));
}

std::tuple<Tensor, Tensor> ball_query(const Tensor& points, std::optional<Tensor> extents, std::optional<Tensor> query,
                                      std::optional<Tensor> query_extents, int64_t cloud_count, double squared_radius,
                                      int64_t k, bool include_self) {
  const DeviceGuard guard(points.get_device_index());
  const auto [queries, clouds, query_clouds] = search_arguments(points, extents, query, query_extents, cloud_count, k);
  check_device(queries, "query", points);
  check_device(extents, "extents", points);
  check_device(query_extents, "query_extents", points);
  Tensor indices = empty_integers(points, queries.size(0), k);
  Tensor distances = torch::stable::new_empty(points, {queries.size(0), k});
  if (queries.size(0) > 0) {
    STD_TORCH_CHECK(cloud_count > 0, "rows without a cloud need at least one cloud");
    const auto run = is_float32(points) ? search<float> : search<double>;
    run(points, clouds, queries, query_clouds, squared_radius, k, include_self, indices, distances);
  }
  return {distances, indices};
}

}  // namespace

}  // namespace pointkernels::cuda

STABLE_TORCH_LIBRARY_IMPL(pointkernels, CUDA, library) {
  library.impl("ball_query", TORCH_BOX(&pointkernels::cuda::ball_query));
}
