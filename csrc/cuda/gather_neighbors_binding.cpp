// The operators gather_neighbors, gather_weighted and their gradients on CUDA (see library.cpp).
#include "binding.h"
#include "gather_neighbors.h"

namespace pointkernels::cuda {

namespace {

void check_lists(const Tensor& features, const Tensor& neighbors, int64_t query_size, int64_t cloud_size) {
  check_floating(features, "features", 2);
  check_integers(neighbors, "neighbors", 2);
  check_device(neighbors, "neighbors", features);
  const int64_t queries = neighbors.size(0);
  STD_TORCH_CHECK(queries == 0 || (query_size > 0 && queries % query_size == 0 && cloud_size >= 0 &&
                                   queries / query_size * cloud_size <= features.size(0)),
                  "query_size and cloud_size must fit the numbers of rows");
}

template <typename T>
GatherArguments<T> arguments_of(const Tensor& features, const Tensor& neighbors, int64_t query_size, int64_t cloud_size,
                                const Tensor& result) {
  return {features.const_data_ptr<T>(),
          neighbors.const_data_ptr<int64_t>(),
          nullptr,
          nullptr,
          neighbors.size(0),
          neighbors.size(1),
          features.size(1),
          query_size,
          cloud_size,
          result.mutable_data_ptr<T>()};
}

template <typename T>
void run_gather(const Tensor& features, const Tensor& neighbors, int64_t query_size, int64_t cloud_size,
                const Tensor& result) {
  const auto arguments = arguments_of<T>(features, neighbors, query_size, cloud_size, result);
  STD_CUDA_CHECK(launch_gather_neighbors(arguments, current_stream(features)));
}

Tensor gather_neighbors(const Tensor& features, const Tensor& neighbors, int64_t query_size, int64_t cloud_size) {
  const DeviceGuard guard(features.get_device_index());
  check_lists(features, neighbors, query_size, cloud_size);
  Tensor gathered = torch::stable::new_empty(features, {neighbors.size(0), neighbors.size(1), features.size(1)});
  const auto run = is_float32(features) ? run_gather<float> : run_gather<double>;
  run(features, neighbors, query_size, cloud_size, gathered);
  return gathered;
}

template <typename T>
void run_weighted(const Tensor& features, const Tensor& neighbors, const Tensor& weights, int64_t query_size,
                  int64_t cloud_size, const Tensor& result) {
  auto arguments = arguments_of<T>(features, neighbors, query_size, cloud_size, result);
  arguments.weights = weights.const_data_ptr<T>();
  STD_CUDA_CHECK(launch_gather_weighted(arguments, current_stream(features)));
}

Tensor gather_weighted(const Tensor& features, const Tensor& neighbors, const Tensor& weights, int64_t query_size,
                       int64_t cloud_size) {
  const DeviceGuard guard(features.get_device_index());
  check_lists(features, neighbors, query_size, cloud_size);
  check_like(weights, "weights", 2, features);
  check_device(weights, "weights", features);
  STD_TORCH_CHECK(weights.size(0) == neighbors.size(0) && weights.size(1) == neighbors.size(1),
                  "weights must have the shape of neighbors");
  Tensor sums = torch::stable::new_empty(features, {neighbors.size(0), features.size(1)});
  const auto run = is_float32(features) ? run_weighted<float> : run_weighted<double>;
  run(features, neighbors, weights, query_size, cloud_size, sums);
  return sums;
}

template <typename T>
void run_products(const Tensor& grad, const Tensor& features, const Tensor& neighbors, int64_t query_size,
                  int64_t cloud_size, const Tensor& result) {
  auto arguments = arguments_of<T>(features, neighbors, query_size, cloud_size, result);
  arguments.grad = grad.const_data_ptr<T>();
  STD_CUDA_CHECK(launch_edge_products(arguments, current_stream(features)));
}

Tensor edge_products(const Tensor& grad, const Tensor& features, const Tensor& neighbors, int64_t query_size,
                     int64_t cloud_size) {
  const DeviceGuard guard(features.get_device_index());
  check_lists(features, neighbors, query_size, cloud_size);
  check_like(grad, "grad", 2, features);
  check_device(grad, "grad", features);
  STD_TORCH_CHECK(grad.size(0) == neighbors.size(0) && grad.size(1) == features.size(1),
                  "grad must have a row for each query and the channels of features");
  Tensor products = torch::stable::new_empty(features, {neighbors.size(0), neighbors.size(1)});
  const auto run = is_float32(features) ? run_products<float> : run_products<double>;
  run(grad, features, neighbors, query_size, cloud_size, products);
  return products;
}

template <typename T>
void run_sum(const Tensor& grad, const std::optional<Tensor>& weights, const Tensor& offsets, const Tensor& edges,
             int64_t edges_per_row, const Tensor& sums) {
  const SumOverEdgesArguments<T> arguments{grad.const_data_ptr<T>(),
                                           weights.has_value() ? weights->const_data_ptr<T>() : nullptr,
                                           offsets.const_data_ptr<int64_t>(),
                                           edges.const_data_ptr<int64_t>(),
                                           sums.size(0),
                                           sums.size(1),
                                           edges_per_row,
                                           sums.mutable_data_ptr<T>()};
  STD_CUDA_CHECK(launch_sum_over_edges(arguments, current_stream(grad)));
}

Tensor sum_over_edges(const Tensor& grad, std::optional<Tensor> weights, const Tensor& offsets, const Tensor& edges,
                      int64_t edges_per_row) {
  const DeviceGuard guard(grad.get_device_index());
  check_floating(grad, "grad", 2);
  if (weights.has_value()) check_like(*weights, "weights", 2, grad);
  check_integers(offsets, "offsets", 1);
  check_integers(edges, "edges", 1);
  check_device(weights, "weights", grad);
  check_device(offsets, "offsets", grad);
  check_device(edges, "edges", grad);
  STD_TORCH_CHECK(edges_per_row >= 1 && grad.size(0) * edges_per_row == edges.size(0),
                  "grad must have a row for every edges_per_row edges");
  STD_TORCH_CHECK(!weights.has_value() || weights->size(0) * weights->size(1) == edges.size(0),
                  "weights must be as many as edges");
  Tensor sums = torch::stable::new_empty(grad, {offsets.size(0) - 1, grad.size(1)});
  const auto run = is_float32(grad) ? run_sum<float> : run_sum<double>;
  run(grad, weights, offsets, edges, edges_per_row, sums);
  return sums;
}

}  // namespace

}  // namespace pointkernels::cuda

STABLE_TORCH_LIBRARY_IMPL(pointkernels, CUDA, library) {
  library.impl("gather_neighbors", TORCH_BOX(&pointkernels::cuda::gather_neighbors));
  library.impl("gather_weighted", TORCH_BOX(&pointkernels::cuda::gather_weighted));
  library.impl("_sum_over_edges", TORCH_BOX(&pointkernels::cuda::sum_over_edges));
  library.impl("_edge_products", TORCH_BOX(&pointkernels::cuda::edge_products));
}
