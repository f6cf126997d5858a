// The operator _reverse_graph on CUDA (see library.cpp).
#include <tuple>

#include "binding.h"
#include "reverse_graph.h"

namespace pointkernels::cuda {

namespace {

std::tuple<Tensor, Tensor> reverse_graph(const Tensor& neighbors, int64_t query_size, int64_t cloud_size,
                                         int64_t rows) {
  const DeviceGuard guard(neighbors.get_device_index());
  check_integers(neighbors, "neighbors", 2);
  const int64_t queries = neighbors.size(0);
  STD_TORCH_CHECK(rows >= 0 && cloud_size >= 0, "rows and cloud_size must not be negative");
  STD_TORCH_CHECK(queries == 0 || (query_size > 0 && queries % query_size == 0), queries,
                  " query rows cannot be split into clouds of ", query_size);
  STD_TORCH_CHECK(queries == 0 || queries / query_size * cloud_size <= rows,
                  "rows must be at least the points of all clouds, got ", rows);
  const ReverseGraphArguments sizes{nullptr, queries, neighbors.size(1), query_size, cloud_size,
                                    rows,    nullptr, nullptr,           nullptr};
  Tensor offsets = empty_integers(neighbors, rows + 1);
  Tensor edges = empty_integers(neighbors, sizes.queries * sizes.k);
  const Tensor workspace =
      torch::stable::new_empty(neighbors, {reverse_graph_workspace(sizes.queries, sizes.k)}, ScalarType::Byte);
  ReverseGraphArguments arguments = sizes;
  arguments.neighbors = neighbors.const_data_ptr<int64_t>();
  arguments.workspace = workspace.mutable_data_ptr();
  arguments.offsets = offsets.mutable_data_ptr<int64_t>();
  arguments.edges = edges.mutable_data_ptr<int64_t>();
  STD_CUDA_CHECK(launch_reverse_graph(arguments, current_stream(neighbors)));
  return {offsets, edges};
}

}  // namespace

}  // namespace pointkernels::cuda

STABLE_TORCH_LIBRARY_IMPL(pointkernels, CUDA, library) {
  library.impl("_reverse_graph", TORCH_BOX(&pointkernels::cuda::reverse_graph));
}
