// EdgeConv forward on the CPU: one gather over the edges, statistics from per-row sums, one pass over the rows.
#include "edge_conv.h"

#include <atomic>
#include <cmath>
#include <vector>

#include "isa.h"
#include "parallel.h"

namespace pointkernels {

namespace {

struct Shape {
  int64_t rows, k, channels, cloud_size;
};

Shape checked_shape(const Tensor& nodes, const Tensor& neighbors, int64_t cloud_size, const Tensor& bn_weight) {
  check_floating(nodes, "nodes", 2);
  check_integers(neighbors, "neighbors", 2);
  check_like(bn_weight, "bn_weight", 1, nodes);
  const Shape shape{nodes.size(0), neighbors.size(1), bn_weight.size(0), cloud_size};
  STD_TORCH_CHECK(nodes.size(1) == 2 * shape.channels, "nodes must have twice as many columns as bn_weight entries");
  STD_TORCH_CHECK(neighbors.size(0) == shape.rows, "neighbors must have as many rows as nodes");
  STD_TORCH_CHECK(shape.rows == 0 || (cloud_size > 0 && shape.rows % cloud_size == 0), shape.rows,
                  " rows cannot be split into clouds of ", cloud_size);
  STD_TORCH_CHECK(shape.k < int64_t{1} << 24, "k must be below 2^24, got ", shape.k);
  return shape;
}

// Number of edges; every neighbour is checked before any is followed.
int64_t count_edges(const int64_t* neighbors, const Shape& shape) {
  std::atomic<int64_t> edges{0};
  std::atomic<bool> in_range{true};
  parallel_for((shape.rows + kEdgeConvRows - 1) / kEdgeConvRows, [&](int64_t first, int64_t last) {
    const int64_t end = std::min(last * kEdgeConvRows, shape.rows) * shape.k;
    int64_t valid = 0, bad = 0;
    for (int64_t e = first * kEdgeConvRows * shape.k; e < end; ++e) {
      valid += neighbors[e] >= 0;
      bad += neighbors[e] < -1 || neighbors[e] >= shape.cloud_size;
    }
    edges += valid;
    if (bad != 0) in_range.store(false, std::memory_order_relaxed);
  });
  STD_TORCH_CHECK(in_range.load(), "neighbors must be -1 or lie in [0, ", shape.cloud_size, ")");
  return edges.load();
}

template <typename T>
void statistics(const std::vector<double>& moments, int64_t units, int64_t channels, double edges, T* mean, T* var) {
  for (int64_t c = 0; c < channels; ++c) {
    double sum = 0, squares = 0;
    for (int64_t unit = 0; unit < units; ++unit) {
      sum += moments[unit * 2 * channels + c];
      squares += moments[unit * 2 * channels + channels + c];
    }
    const double average = sum / edges;
    const double variance = squares / edges - average * average;
    mean[c] = static_cast<T>(average);
    var[c] = static_cast<T>(variance < 0 ? 0 : variance);  // written so that NaN stays NaN
  }
}

template <typename T>
void edge_conv_of(const Tensor& nodes, const Tensor& neighbors, const Shape& shape, const Tensor& bn_weight,
                  const Tensor& bn_bias, bool with_statistics, const Tensor& mean, const Tensor& var, double eps,
                  double negative_slope, int64_t edges, const Tensor& output, const Tensor& extremum,
                  const Tensor& slot, const Tensor& gathered) {
  const int64_t units = (shape.rows + kEdgeConvRows - 1) / kEdgeConvRows, channels = shape.channels;
  const IsaKernels<T>& isa = isa_kernels<T>();
  const EdgeConvGather<T> task{nodes.const_data_ptr<T>(),
                               neighbors.const_data_ptr<int64_t>(),
                               shape.k,
                               channels,
                               shape.cloud_size,
                               bn_weight.const_data_ptr<T>(),
                               extremum.mutable_data_ptr<T>(),
                               slot.mutable_data_ptr(),
                               with_statistics ? gathered.mutable_data_ptr<T>() : nullptr};
  std::vector<double> moments(with_statistics ? units * 2 * channels : 0, 0.0);
  parallel_for(units, [&](int64_t first, int64_t last) {
    for (int64_t unit = first; unit < last; ++unit) {
      const int64_t begin = unit * kEdgeConvRows, end = std::min(begin + kEdgeConvRows, shape.rows);
      isa.edge_conv_gather(task, begin, end, with_statistics ? moments.data() + unit * 2 * channels : nullptr);
    }
  });
  if (with_statistics) {
    statistics(moments, units, channels, static_cast<double>(edges), mean.mutable_data_ptr<T>(),
               var.mutable_data_ptr<T>());
  }

  const T* center = mean.const_data_ptr<T>();
  const T* variance = var.const_data_ptr<T>();
  const T* weight = bn_weight.const_data_ptr<T>();
  const T* bias = bn_bias.const_data_ptr<T>();
  T* out = output.mutable_data_ptr<T>();
  std::vector<T> scale(channels);
  for (int64_t c = 0; c < channels; ++c) scale[c] = weight[c] / std::sqrt(variance[c] + static_cast<T>(eps));
  const T slope = static_cast<T>(negative_slope);
  parallel_for(units, [&](int64_t first, int64_t last) {
    for (int64_t i = first * kEdgeConvRows; i < std::min(last * kEdgeConvRows, shape.rows); ++i) {
      const int64_t* list = task.neighbors + i * shape.k;
      const bool has_edge = std::any_of(list, list + shape.k, [](int64_t j) { return j >= 0; });
      for (int64_t c = 0; c < channels; ++c) {
        const T z = scale[c] * (task.extremum[i * channels + c] - center[c]) + bias[c];
        out[i * channels + c] = has_edge ? (z > 0 ? z : slope * z) : T{0};
      }
    }
  });
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> edge_conv(
    const Tensor& nodes, const Tensor& neighbors, int64_t cloud_size, const Tensor& bn_weight, const Tensor& bn_bias,
    std::optional<Tensor> mean, std::optional<Tensor> var, double eps, double negative_slope) {
  const Shape shape = checked_shape(nodes, neighbors, cloud_size, bn_weight);
  check_like(bn_bias, "bn_bias", 1, nodes);
  STD_TORCH_CHECK(mean.has_value() == var.has_value(), "mean and var must be given together");
  const bool with_statistics = !mean.has_value();
  if (!with_statistics) {
    check_like(*mean, "mean", 1, nodes);
    check_like(*var, "var", 1, nodes);
  }
  const int64_t edges = count_edges(neighbors.const_data_ptr<int64_t>(), shape);
  const auto matrix = [&] { return torch::stable::new_empty(nodes, {shape.rows, shape.channels}); };
  Tensor output = matrix(), extremum = matrix();
  Tensor gathered = with_statistics ? matrix() : torch::stable::new_empty(nodes, {0});
  Tensor slot = torch::stable::new_empty(nodes, {shape.rows, shape.channels},
                                         shape.k <= kMaxByteSlots ? ScalarType::Byte : ScalarType::Int);
  // An operator must not return its inputs, so given statistics are copied.
  Tensor out_mean = with_statistics ? torch::stable::empty_like(bn_weight) : torch::stable::clone(*mean);
  Tensor out_var = with_statistics ? torch::stable::empty_like(bn_weight) : torch::stable::clone(*var);
  Tensor count = torch::stable::new_empty(nodes, {}, ScalarType::Double);
  *count.mutable_data_ptr<double>() = static_cast<double>(edges);
  const auto run = nodes.scalar_type() == ScalarType::Float ? edge_conv_of<float> : edge_conv_of<double>;
  run(nodes, neighbors, shape, bn_weight, bn_bias, with_statistics, out_mean, out_var, eps, negative_slope, edges,
      output, extremum, slot, gathered);
  return {output, out_mean, out_var, count, extremum, slot, gathered};
}

}  // namespace

}  // namespace pointkernels

STABLE_TORCH_LIBRARY_IMPL(pointkernels, CPU, library) {
  library.impl("edge_conv", TORCH_BOX(&pointkernels::edge_conv));
}
