// The operator _knn_backward on CUDA (see library.cpp).
#include <tuple>

#include "binding.h"
#include "knn_backward.h"

namespace pointkernels::cuda {

namespace {

template <typename T>
void run(const Tensor& grad, const Tensor& points, const Tensor& query, const Tensor& neighbors, int64_t query_size,
         int64_t cloud_size, const Tensor& offsets, const Tensor& edges, const Tensor& grad_points,
         const Tensor& grad_query) {
  const KnnBackwardArguments<T> arguments{grad.const_data_ptr<T>(),
                                          points.const_data_ptr<T>(),
                                          query.const_data_ptr<T>(),
                                          neighbors.const_data_ptr<int64_t>(),
                                          offsets.const_data_ptr<int64_t>(),
                                          edges.const_data_ptr<int64_t>(),
                                          points.size(0),
                                          query.size(0),
                                          neighbors.size(1),
                                          points.size(1),
                                          query_size,
                                          cloud_size,
                                          grad_points.mutable_data_ptr<T>(),
                                          grad_query.mutable_data_ptr<T>()};
  STD_CUDA_CHECK(launch_knn_backward(arguments, current_stream(points)));
}

std::tuple<Tensor, Tensor> knn_backward(const Tensor& grad, const Tensor& points, const Tensor& query,
                                        const Tensor& neighbors, int64_t query_size, int64_t cloud_size,
                                        const Tensor& offsets, const Tensor& edges) {
  const DeviceGuard guard(points.get_device_index());
  check_floating(points, "points", 2);
  check_like(grad, "grad", 2, points);
  check_like(query, "query", 2, points);
  check_integers(neighbors, "neighbors", 2);
  check_integers(offsets, "offsets", 1);
  check_integers(edges, "edges", 1);
  check_device(grad, "grad", points);
  check_device(query, "query", points);
  check_device(neighbors, "neighbors", points);
  check_device(offsets, "offsets", points);
  check_device(edges, "edges", points);
  const int64_t queries = query.size(0);
  STD_TORCH_CHECK(query.size(1) == points.size(1), "query and points must have the same number of coordinates");
  STD_TORCH_CHECK(neighbors.size(0) == queries && grad.size(0) == queries && grad.size(1) == neighbors.size(1),
                  "grad and neighbors must have a row for each query");
  STD_TORCH_CHECK(offsets.size(0) == points.size(0) + 1 && edges.size(0) == queries * neighbors.size(1),
                  "offsets and edges must be the reverse graph of neighbors");
  STD_TORCH_CHECK(queries == 0 || (query_size > 0 && queries % query_size == 0 && cloud_size >= 0 &&
                                   queries / query_size * cloud_size <= points.size(0)),
                  "query_size and cloud_size must fit the numbers of rows");
  Tensor grad_points = torch::stable::empty_like(points);
  Tensor grad_query = torch::stable::empty_like(query);
  if (points.size(1) > 0) {
    const auto launch = is_float32(points) ? run<float> : run<double>;
    launch(grad, points, query, neighbors, query_size, cloud_size, offsets, edges, grad_points, grad_query);
  }
  return {grad_points, grad_query};
}

}  // namespace

}  // namespace pointkernels::cuda

STABLE_TORCH_LIBRARY_IMPL(pointkernels, CUDA, library) {
  library.impl("_knn_backward", TORCH_BOX(&pointkernels::cuda::knn_backward));
}
