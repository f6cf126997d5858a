// EdgeConv backward on the CPU, in closed form: the gradient reaches the winning edges only, except for BatchNorm's
// mean and variance, whose dense part collapses to in-degrees and sums over neighbours.
#include <cmath>
#include <vector>

#include "edge_conv.h"
#include "isa.h"
#include "parallel.h"

namespace pointkernels {

namespace {

template <typename T>
void edge_conv_backward_of(const Tensor& grad, const Tensor& nodes, const Tensor& neighbors, const Tensor& offsets,
                           const Tensor& edges, const Tensor& bn_weight, const Tensor& bn_bias, const Tensor& mean,
                           const Tensor& var, double count, const Tensor& extremum, const Tensor& slot,
                           const std::optional<Tensor>& gathered, double eps, double negative_slope,
                           const Tensor& grad_nodes, const Tensor& grad_weight, const Tensor& grad_bias) {
  const int64_t rows = nodes.size(0), k = neighbors.size(1), channels = bn_weight.size(0);
  const int64_t units = (rows + kEdgeConvRows - 1) / kEdgeConvRows;
  const T* weight = bn_weight.const_data_ptr<T>();
  const T* bias = bn_bias.const_data_ptr<T>();
  const T* center = mean.const_data_ptr<T>();
  const T* variance = var.const_data_ptr<T>();
  const T* best = extremum.const_data_ptr<T>();
  const T* upstream = grad.const_data_ptr<T>();
  const int64_t* lists = neighbors.const_data_ptr<int64_t>();
  const T slope = static_cast<T>(negative_slope);
  std::vector<T> deviation(channels), scale(channels), dense_scale(channels), dense_bias(channels);
  for (int64_t c = 0; c < channels; ++c) {
    deviation[c] = 1 / std::sqrt(variance[c] + static_cast<T>(eps));
    scale[c] = weight[c] * deviation[c];
  }

  // Gradient at the winners' normalised pre-activation, and its two sums.
  Tensor winner = torch::stable::empty_like(grad);
  T* winner_grad = winner.mutable_data_ptr<T>();
  std::vector<double> sums(units * 2 * channels, 0.0);
  parallel_for(units, [&](int64_t first, int64_t last) {
    for (int64_t unit = first; unit < last; ++unit) {
      double* bias_sum = sums.data() + unit * 2 * channels;
      double* weight_sum = bias_sum + channels;
      for (int64_t i = unit * kEdgeConvRows; i < std::min((unit + 1) * kEdgeConvRows, rows); ++i) {
        const bool has_edge = std::any_of(lists + i * k, lists + (i + 1) * k, [](int64_t j) { return j >= 0; });
        for (int64_t c = 0; c < channels; ++c) {
          const T offset = best[i * channels + c] - center[c];
          const T z = scale[c] * offset + bias[c];
          const T t = has_edge ? upstream[i * channels + c] * (z > 0 ? T{1} : slope) : T{0};
          winner_grad[i * channels + c] = t;
          bias_sum[c] += t;
          // Without an edge t is 0, but the unused extremum may be anything.
          weight_sum[c] += has_edge ? static_cast<double>(t * (deviation[c] * offset)) : 0.0;
        }
      }
    }
  });
  for (int64_t c = 0; c < channels; ++c) {
    double bias_sum = 0, weight_sum = 0;
    for (int64_t unit = 0; unit < units; ++unit) {
      bias_sum += sums[unit * 2 * channels + c];
      weight_sum += sums[unit * 2 * channels + channels + c];
    }
    grad_bias.mutable_data_ptr<T>()[c] = static_cast<T>(bias_sum);
    grad_weight.mutable_data_ptr<T>()[c] = static_cast<T>(weight_sum);
    dense_scale[c] = count > 0 ? static_cast<T>(-scale[c] * deviation[c] * weight_sum / count) : T{0};
    dense_bias[c] = count > 0 ? static_cast<T>(-scale[c] * bias_sum / count) : T{0};
  }

  const EdgeConvScatter<T> task{nodes.const_data_ptr<T>(),
                                lists,
                                offsets.const_data_ptr<int64_t>(),
                                edges.const_data_ptr<int64_t>(),
                                k,
                                channels,
                                winner_grad,
                                slot.const_data_ptr(),
                                gathered.has_value() ? gathered->const_data_ptr<T>() : nullptr,
                                scale.data(),
                                center,
                                dense_scale.data(),
                                dense_bias.data(),
                                grad_nodes.mutable_data_ptr<T>()};
  const IsaKernels<T>& isa = isa_kernels<T>();
  parallel_for(units, [&](int64_t first, int64_t last) {
    isa.edge_conv_scatter(task, first * kEdgeConvRows, std::min(last * kEdgeConvRows, rows));
  });
}

std::tuple<Tensor, Tensor, Tensor> edge_conv_backward(const Tensor& grad, const Tensor& nodes, const Tensor& neighbors,
                                                      int64_t cloud_size, const Tensor& offsets, const Tensor& edges,
                                                      const Tensor& bn_weight, const Tensor& bn_bias,
                                                      const Tensor& mean, const Tensor& var, const Tensor& count,
                                                      const Tensor& extremum, const Tensor& slot,
                                                      std::optional<Tensor> gathered, double eps,
                                                      double negative_slope) {
  check_floating(nodes, "nodes", 2);
  check_like(grad, "grad", 2, nodes);
  check_like(extremum, "extremum", 2, nodes);
  check_integers(neighbors, "neighbors", 2);
  check_integers(offsets, "offsets", 1);
  check_integers(edges, "edges", 1);
  for (const Tensor* vector : {&bn_weight, &bn_bias, &mean, &var}) check_like(*vector, "a channel vector", 1, nodes);
  STD_TORCH_CHECK(cloud_size >= 0 && offsets.size(0) == nodes.size(0) + 1,
                  "offsets must have one entry more than nodes has rows");
  Tensor grad_nodes = torch::stable::empty_like(nodes);
  Tensor grad_weight = torch::stable::empty_like(bn_weight);
  Tensor grad_bias = torch::stable::empty_like(bn_bias);
  const auto run =
      nodes.scalar_type() == ScalarType::Float ? edge_conv_backward_of<float> : edge_conv_backward_of<double>;
  run(grad, nodes, neighbors, offsets, edges, bn_weight, bn_bias, mean, var, *count.const_data_ptr<double>(), extremum,
      slot, gathered, eps, negative_slope, grad_nodes, grad_weight, grad_bias);
  return {grad_nodes, grad_weight, grad_bias};
}

}  // namespace

}  // namespace pointkernels

STABLE_TORCH_LIBRARY_IMPL(pointkernels, CPU, library) {
  library.impl("_edge_conv_backward", TORCH_BOX(&pointkernels::edge_conv_backward));
}
