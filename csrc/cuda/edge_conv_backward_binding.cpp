// The operator _edge_conv_backward on CUDA (see library.cpp).
#include <tuple>

#include "binding.h"
#include "edge_conv.h"
#include "edge_conv_backward.h"

namespace pointkernels::cuda {

namespace {

struct Inputs {
  const Tensor &grad, &nodes, &neighbors, &offsets, &edges, &bn_weight, &bn_bias, &mean, &var, &count, &extremum, &slot;
  const std::optional<Tensor>& gathered;
  double eps, negative_slope;
};

template <typename T>
void run(const Inputs& inputs, const Tensor& grad_nodes, const Tensor& grad_bn_weight, const Tensor& grad_bn_bias) {
  const int64_t rows = inputs.nodes.size(0);
  const int64_t channels = inputs.bn_weight.size(0);
  const Tensor workspace =
      torch::stable::new_empty(inputs.nodes, {edge_conv_backward_workspace(rows, channels)}, ScalarType::Byte);
  const EdgeConvBackwardArguments<T> arguments{
      inputs.grad.const_data_ptr<T>(),
      inputs.nodes.const_data_ptr<T>(),
      inputs.neighbors.const_data_ptr<int64_t>(),
      inputs.offsets.const_data_ptr<int64_t>(),
      inputs.edges.const_data_ptr<int64_t>(),
      rows,
      inputs.neighbors.size(1),
      channels,
      inputs.bn_weight.const_data_ptr<T>(),
      inputs.bn_bias.const_data_ptr<T>(),
      static_cast<T>(inputs.eps),
      static_cast<T>(inputs.negative_slope),
      inputs.mean.const_data_ptr<T>(),
      inputs.var.const_data_ptr<T>(),
      inputs.count.const_data_ptr<double>(),
      inputs.extremum.const_data_ptr<T>(),
      inputs.slot.const_data_ptr(),
      inputs.gathered.has_value() ? inputs.gathered->const_data_ptr<T>() : nullptr,
      workspace.mutable_data_ptr(),
      grad_nodes.mutable_data_ptr<T>(),
      grad_bn_weight.mutable_data_ptr<T>(),
      grad_bn_bias.mutable_data_ptr<T>()};
  STD_CUDA_CHECK(launch_edge_conv_backward(arguments, current_stream(inputs.nodes)));
}

void check_matrix(const Tensor& tensor, const char* name, int64_t rows, int64_t columns, const Tensor& like) {
  check_like(tensor, name, 2, like);
  check_device(tensor, name, like);
  STD_TORCH_CHECK(tensor.size(0) == rows && tensor.size(1) == columns, name, " must have shape (", rows, ", ", columns,
                  ")");
}

void check_channels(const Tensor& tensor, const char* name, int64_t channels, const Tensor& like) {
  check_like(tensor, name, 1, like);
  check_device(tensor, name, like);
  STD_TORCH_CHECK(tensor.size(0) == channels, name, " must have ", channels, " entries");
}

std::tuple<Tensor, Tensor, Tensor> edge_conv_backward(const Tensor& grad, const Tensor& nodes, const Tensor& neighbors,
                                                      int64_t cloud_size, const Tensor& offsets, const Tensor& edges,
                                                      const Tensor& bn_weight, const Tensor& bn_bias,
                                                      const Tensor& mean, const Tensor& var, const Tensor& count,
                                                      const Tensor& extremum, const Tensor& slot,
                                                      std::optional<Tensor> gathered, double eps,
                                                      double negative_slope) {
  const DeviceGuard guard(nodes.get_device_index());
  check_floating(nodes, "nodes", 2);
  const int64_t rows = nodes.size(0);
  const int64_t channels = bn_weight.size(0);
  check_matrix(nodes, "nodes", rows, 2 * channels, nodes);
  check_matrix(grad, "grad", rows, channels, nodes);
  check_matrix(extremum, "extremum", rows, channels, nodes);
  if (gathered.has_value()) check_matrix(*gathered, "gathered", rows, channels, nodes);
  check_channels(bn_weight, "bn_weight", channels, nodes);
  check_channels(bn_bias, "bn_bias", channels, nodes);
  check_channels(mean, "mean", channels, nodes);
  check_channels(var, "var", channels, nodes);
  check_integers(neighbors, "neighbors", 2);
  check_integers(offsets, "offsets", 1);
  check_integers(edges, "edges", 1);
  check_device(neighbors, "neighbors", nodes);
  check_device(offsets, "offsets", nodes);
  check_device(edges, "edges", nodes);
  check_device(count, "count", nodes);
  check_device(slot, "slot", nodes);
  STD_TORCH_CHECK(rows == 0 || (cloud_size > 0 && rows % cloud_size == 0), rows,
                  " rows cannot be split into clouds of ", cloud_size);
  STD_TORCH_CHECK(neighbors.size(0) == rows, "neighbors must have a row for each row of nodes");
  STD_TORCH_CHECK(offsets.size(0) == rows + 1 && edges.size(0) == neighbors.numel(),
                  "offsets and edges must be the reverse graph of neighbors");
  STD_TORCH_CHECK(count.scalar_type() == ScalarType::Double && count.numel() == 1, "count must be one float64");
  const ScalarType slot_type = neighbors.size(1) <= kMaxByteSlots ? ScalarType::Byte : ScalarType::Int;
  STD_TORCH_CHECK(slot.scalar_type() == slot_type && slot.is_contiguous() && slot.numel() == rows * channels,
                  "slot must be what edge_conv returned");
  Tensor grad_nodes = torch::stable::empty_like(nodes);
  Tensor grad_bn_weight = torch::stable::new_zeros(nodes, {channels});
  Tensor grad_bn_bias = torch::stable::new_zeros(nodes, {channels});
  if (rows > 0 && channels > 0) {
    const Inputs inputs{grad, nodes, neighbors, offsets, edges,    bn_weight, bn_bias,       mean,
                        var,  count, extremum,  slot,    gathered, eps,       negative_slope};
    const auto launch = is_float32(nodes) ? run<float> : run<double>;
    launch(inputs, grad_nodes, grad_bn_weight, grad_bn_bias);
  }
  return {grad_nodes, grad_bn_weight, grad_bn_bias};
}

}  // namespace

}  // namespace pointkernels::cuda

STABLE_TORCH_LIBRARY_IMPL(pointkernels, CUDA, library) {
  library.impl("_edge_conv_backward", TORCH_BOX(&pointkernels::cuda::edge_conv_backward));
}
