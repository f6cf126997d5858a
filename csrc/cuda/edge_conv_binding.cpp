// The operator edge_conv on CUDA (see library.cpp).
#include <tuple>

#include "binding.h"
#include "edge_conv.h"

namespace pointkernels::cuda {

namespace {

struct Results {
  Tensor output, mean, var, count, extremum, slot, gathered;
};

template <typename T>
void run(const Tensor& nodes, const Tensor& neighbors, int64_t cloud_size, const Tensor& bn_weight,
         const Tensor& bn_bias, double eps, double negative_slope, bool training, const Results& results) {
  const int64_t channels = bn_weight.size(0);
  const Tensor workspace =
      torch::stable::new_empty(nodes, {edge_conv_workspace(nodes.size(0), channels)}, ScalarType::Byte);
  const EdgeConvArguments<T> arguments{nodes.const_data_ptr<T>(),
                                       neighbors.const_data_ptr<int64_t>(),
                                       nodes.size(0),
                                       neighbors.size(1),
                                       channels,
                                       cloud_size,
                                       bn_weight.const_data_ptr<T>(),
                                       bn_bias.const_data_ptr<T>(),
                                       static_cast<T>(eps),
                                       static_cast<T>(negative_slope),
                                       workspace.mutable_data_ptr(),
                                       results.output.mutable_data_ptr<T>(),
                                       results.mean.mutable_data_ptr<T>(),
                                       results.var.mutable_data_ptr<T>(),
                                       results.count.mutable_data_ptr<double>(),
                                       results.extremum.mutable_data_ptr<T>(),
                                       results.slot.mutable_data_ptr(),
                                       training ? results.gathered.mutable_data_ptr<T>() : nullptr};
  STD_CUDA_CHECK(launch_edge_conv(arguments, current_stream(nodes)));
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> edge_conv(
    const Tensor& nodes, const Tensor& neighbors, int64_t cloud_size, const Tensor& bn_weight, const Tensor& bn_bias,
    std::optional<Tensor> mean, std::optional<Tensor> var, double eps, double negative_slope) {
  const DeviceGuard guard(nodes.get_device_index());
  check_floating(nodes, "nodes", 2);
  check_integers(neighbors, "neighbors", 2);
  check_like(bn_weight, "bn_weight", 1, nodes);
  check_like(bn_bias, "bn_bias", 1, nodes);
  check_device(neighbors, "neighbors", nodes);
  check_device(bn_weight, "bn_weight", nodes);
  check_device(bn_bias, "bn_bias", nodes);
  const int64_t rows = nodes.size(0);
  const int64_t channels = bn_weight.size(0);
  STD_TORCH_CHECK(nodes.size(1) == 2 * channels && bn_bias.size(0) == channels,
                  "nodes must have two columns for each channel");
  STD_TORCH_CHECK(neighbors.size(0) == rows, "neighbors must have a row for each row of nodes");
  STD_TORCH_CHECK(rows == 0 || (cloud_size > 0 && rows % cloud_size == 0), rows,
                  " rows cannot be split into clouds of ", cloud_size);
  STD_TORCH_CHECK(mean.has_value() == var.has_value(), "mean and var must be given together");
  const bool training = !mean.has_value();
  if (!training) {
    check_like(*mean, "mean", 1, nodes);
    check_like(*var, "var", 1, nodes);
    check_device(mean, "mean", nodes);
    check_device(var, "var", nodes);
    STD_TORCH_CHECK(mean->size(0) == channels && var->size(0) == channels,
                    "mean and var must have an entry for each channel");
  }
  const bool empty = rows == 0 || channels == 0;
  const ScalarType slot_type = neighbors.size(1) <= kMaxByteSlots ? ScalarType::Byte : ScalarType::Int;
  // Operators may not return their arguments, so given statistics are copied.
  const Results results{
      torch::stable::new_empty(nodes, {rows, channels}),
      training ? torch::stable::new_zeros(nodes, {channels}) : torch::stable::clone(*mean),
      training ? torch::stable::new_zeros(nodes, {channels}) : torch::stable::clone(*var),
      torch::stable::new_zeros(nodes, {}, ScalarType::Double),
      torch::stable::new_empty(nodes, {rows, channels}),
      torch::stable::new_empty(nodes, {rows, channels}, slot_type),
      training ? torch::stable::new_empty(nodes, {rows, channels}) : torch::stable::new_empty(nodes, {0})};
  if (!empty) {
    const auto launch = is_float32(nodes) ? run<float> : run<double>;
    launch(nodes, neighbors, cloud_size, bn_weight, bn_bias, eps, negative_slope, training, results);
  }
  return {results.output, results.mean, results.var, results.count, results.extremum, results.slot, results.gathered};
}

}  // namespace

}  // namespace pointkernels::cuda

STABLE_TORCH_LIBRARY_IMPL(pointkernels, CUDA, library) {
  library.impl("edge_conv", TORCH_BOX(&pointkernels::cuda::edge_conv));
}
