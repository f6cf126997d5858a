// EdgeConv with two layers, forward on the CPU: a gather for the first layer's statistics, then one sweep over tiles of
// edges that stay in the cache, in which the second layer's statistics and its winners are found together, because
// BatchNorm and LeakyReLU keep or reverse the order within a channel.
#include "two_layer.h"

#include "../linear/products.h"
#include "../memory/huge_pages.h"
#include "two_layer_work.h"

namespace pointkernels {

namespace {

// Mean and biased variance from sums and sums of squares, (units, 2, padded channels).
template <typename T>
void statistics(const std::vector<double>& moments, int64_t channels, double edges, const Tensor& mean,
                const Tensor& var) {
  const int64_t padded = padded_channels(channels);
  const int64_t units = static_cast<int64_t>(moments.size()) / std::max<int64_t>(2 * padded, 1);
  for (int64_t c = 0; c < channels; ++c) {
    double sum = 0, squares = 0;
    for (int64_t unit = 0; unit < units; ++unit) {
      sum += moments[unit * 2 * padded + c];
      squares += moments[(unit * 2 + 1) * padded + c];
    }
    const double average = edges > 0 ? sum / edges : 0;
    const double variance = edges > 0 ? squares / edges - average * average : 0;
    mean.mutable_data_ptr<T>()[c] = static_cast<T>(average);
    var.mutable_data_ptr<T>()[c] = static_cast<T>(variance < 0 ? 0 : variance);  // so written that NaN stays NaN
  }
}

struct Inputs {
  const Tensor &nodes, &neighbors, &bn_weight, &bn_bias, &weight, &center, &bn_weight2, &bn_bias2;
  double eps, negative_slope, eps2, negative_slope2;
  bool statistics, statistics2;  // of this batch
};

struct Results {
  Tensor output, mean, var, mean2, var2, count, deviation, slot;
};

template <typename T>
void edge_conv_two_layer_of(const TwoLayerShape& shape, const Inputs& in, double edges, const Results& out) {
  const TwoLayerKernels<T>& kernels = *isa_kernels<T>().two_layer;
  const int64_t hidden = shape.padded_hidden(), outputs = shape.padded_outputs(), unit_rows = shape.unit_rows();
  const PaddedRows<T> nodes(in.nodes.const_data_ptr<T>(), 2 * shape.rows, shape.hidden, hidden);
  const int64_t* neighbors = in.neighbors.const_data_ptr<int64_t>();
  const auto rows_of = [&](int64_t unit) { return std::min(unit * unit_rows, shape.rows); };

  if (in.statistics) {
    TwoLayerEdges<T> task{};
    task.nodes = nodes.data(), task.neighbors = neighbors, task.k = shape.k, task.cloud_size = shape.cloud_size;
    task.hidden = hidden;
    std::vector<double> moments(shape.units() * 2 * hidden, 0.0);
    parallel_for(shape.units(), [&](int64_t first, int64_t last) {
      for (int64_t unit = first; unit < last; ++unit) {
        kernels.moments(task, rows_of(unit), rows_of(unit + 1), moments.data() + unit * 2 * hidden);
      }
    });
    statistics<T>(moments, shape.hidden, edges, out.mean, out.var);
  }

  const FirstLayer<T> first(shape, out.mean.const_data_ptr<T>(), out.var.const_data_ptr<T>(),
                            in.bn_weight.const_data_ptr<T>(), in.bn_bias.const_data_ptr<T>(),
                            in.center.const_data_ptr<T>(), in.eps);
  std::vector<T> padded(outputs * hidden, T{0}), sign(outputs, T{0});
  const T* bn_weight2 = in.bn_weight2.const_data_ptr<T>();
  for (int64_t o = 0; o < shape.outputs; ++o) {
    std::copy_n(in.weight.const_data_ptr<T>() + o * shape.hidden, shape.hidden, padded.data() + o * hidden);
    sign[o] = bn_weight2[o] < 0 ? T{-1} : bn_weight2[o] > 0 ? T{1} : T{0};  // with 0, no number is above another
  }
  const Panels<T> weight(padded.data(), hidden, outputs, 1, hidden);
  const bool direct = outputs == shape.outputs;
  std::vector<T> best_space(direct ? 0 : shape.rows * outputs);
  std::vector<int32_t> slot_space(direct ? 0 : shape.rows * outputs);
  T* deviation = out.deviation.mutable_data_ptr<T>();
  int32_t* slot = out.slot.mutable_data_ptr<int32_t>();
  const TwoLayerForward<T> task{first.edges(shape, nodes.data(), neighbors, in.negative_slope), weight.data.data(),
                                sign.data(), direct ? deviation : best_space.data(), direct ? slot : slot_space.data()};
  std::vector<double> moments(in.statistics2 ? shape.units() * 2 * outputs : 0, 0.0);
  parallel_for(shape.units(), [&](int64_t begin, int64_t end) {
    const TileSpace<T> space(shape, false);
    for (int64_t unit = begin; unit < end; ++unit) {
      kernels.forward(task, rows_of(unit), rows_of(unit + 1), space.tile(),
                      in.statistics2 ? moments.data() + unit * 2 * outputs : nullptr);
    }
  });
  if (in.statistics2) statistics<T>(moments, shape.outputs, edges, out.mean2, out.var2);

  const T *mean2 = out.mean2.const_data_ptr<T>(), *var2 = out.var2.const_data_ptr<T>();
  const T *bias2 = in.bn_bias2.const_data_ptr<T>(), slope = static_cast<T>(in.negative_slope2);
  std::vector<T> scale2(shape.outputs);
  for (int64_t o = 0; o < shape.outputs; ++o) {
    scale2[o] = bn_weight2[o] / std::sqrt(var2[o] + static_cast<T>(in.eps2));
  }
  T* output = out.output.mutable_data_ptr<T>();
  parallel_for(shape.units(), [&](int64_t begin, int64_t end) {
    for (int64_t i = rows_of(begin); i < rows_of(end); ++i) {
      for (int64_t o = 0; o < shape.outputs; ++o) {
        const int64_t at = i * shape.outputs + o, from = i * outputs + o;
        const int32_t place = task.slot[from];
        const T offset = place >= 0 ? task.best[from] - mean2[o] : T{0};
        const T z = scale2[o] * offset + bias2[o];
        slot[at] = place;
        deviation[at] = offset;
        output[at] = place >= 0 ? (z > 0 ? z : slope * z) : T{0};
      }
    }
  });
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> edge_conv_two_layer(
    const Tensor& nodes, const Tensor& neighbors, int64_t cloud_size, const Tensor& bn_weight, const Tensor& bn_bias,
    std::optional<Tensor> mean, std::optional<Tensor> var, double eps, double negative_slope, const Tensor& weight,
    const Tensor& center, const Tensor& bn_weight2, const Tensor& bn_bias2, std::optional<Tensor> mean2,
    std::optional<Tensor> var2, double eps2, double negative_slope2) {
  const TwoLayerShape shape = two_layer_shape(nodes, neighbors, cloud_size, weight);
  check_vector(bn_weight, "bn_weight", shape.hidden, nodes);
  check_vector(bn_bias, "bn_bias", shape.hidden, nodes);
  check_vector(center, "center", shape.hidden, nodes);
  check_vector(bn_weight2, "bn_weight2", shape.outputs, nodes);
  check_vector(bn_bias2, "bn_bias2", shape.outputs, nodes);
  STD_TORCH_CHECK(mean.has_value() == var.has_value(), "mean and var must be given together");
  STD_TORCH_CHECK(mean2.has_value() == var2.has_value(), "mean2 and var2 must be given together");
  if (mean.has_value()) {
    check_vector(*mean, "mean", shape.hidden, nodes);
    check_vector(*var, "var", shape.hidden, nodes);
  }
  if (mean2.has_value()) {
    check_vector(*mean2, "mean2", shape.outputs, nodes);
    check_vector(*var2, "var2", shape.outputs, nodes);
  }
  const double edges = static_cast<double>(checked_edges(neighbors, cloud_size));
  const auto matrix = [&] { return on_huge_pages(torch::stable::new_empty(nodes, {shape.rows, shape.outputs})); };
  // An operator must not return its inputs, so given statistics are copied.
  const auto vector = [](const std::optional<Tensor>& given, const Tensor& like) {
    return given.has_value() ? torch::stable::clone(*given) : torch::stable::empty_like(like);
  };
  const Results out{matrix(),
                    vector(mean, bn_weight),
                    vector(var, bn_weight),
                    vector(mean2, bn_weight2),
                    vector(var2, bn_weight2),
                    torch::stable::new_empty(nodes, {}, ScalarType::Double),
                    matrix(),
                    on_huge_pages(torch::stable::new_empty(nodes, {shape.rows, shape.outputs}, ScalarType::Int))};
  *out.count.mutable_data_ptr<double>() = edges;
  const Inputs in{nodes,
                  neighbors,
                  bn_weight,
                  bn_bias,
                  weight,
                  center,
                  bn_weight2,
                  bn_bias2,
                  eps,
                  negative_slope,
                  eps2,
                  negative_slope2,
                  !mean.has_value(),
                  !mean2.has_value()};
  const auto run =
      nodes.scalar_type() == ScalarType::Float ? edge_conv_two_layer_of<float> : edge_conv_two_layer_of<double>;
  run(shape, in, edges, out);
  return {out.output, out.mean, out.var, out.mean2, out.var2, out.count, out.deviation, out.slot};
}

}  // namespace

}  // namespace pointkernels

STABLE_TORCH_LIBRARY_IMPL(pointkernels, CPU, library) {
  library.impl("edge_conv_two_layer", TORCH_BOX(&pointkernels::edge_conv_two_layer));
}
