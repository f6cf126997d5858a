// EdgeConv forward on the CPU: window by window the node products and one gather over the edges, statistics from
// per-row sums, one pass over the rows.
#include "edge_conv.h"

#include <atomic>
#include <cmath>
#include <vector>

#include "edge_conv_nodes.h"
#include "isa.h"
#include "parallel.h"

namespace pointkernels {

namespace {

using Results = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

struct Arguments {
  const Tensor& neighbors;
  int64_t cloud_size;
  const Tensor &bn_weight, &bn_bias;
  const std::optional<Tensor>&mean, &var;
  double eps, negative_slope;
};

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

// Fills all results but the count, and returns the number of edges.
template <typename T>
int64_t run(const EdgeConvNodes<T>& nodes, const Arguments& arguments, const Results& results) {
  const Tensor &output = std::get<0>(results), &mean = std::get<1>(results), &var = std::get<2>(results);
  const Tensor &extremum = std::get<4>(results), &slot = std::get<5>(results), &gathered = std::get<6>(results);
  const int64_t rows = arguments.neighbors.size(0), k = arguments.neighbors.size(1);
  const int64_t channels = arguments.bn_weight.size(0), cloud_size = arguments.cloud_size;
  const bool with_statistics = !arguments.mean.has_value();
  const IsaKernels<T>& isa = isa_kernels<T>();
  const int64_t window = edge_conv_window(cloud_size), windows = rows > 0 ? pieces_of(rows, window) : 0;
  const int64_t units = pieces_of(window, kEdgeConvRows), slot_bytes = k <= kMaxByteSlots ? 1 : 4;
  std::vector<double> moments(with_statistics ? windows * units * 2 * channels : 0, 0.0);
  std::atomic<int64_t> edges{0};
  std::atomic<bool> in_range{true};
  for_each_window(windows, [&](int64_t first, int64_t last) {
    const std::unique_ptr<T[]> scratch = uninitialized<T>(nodes.scratch(std::min(window, rows)));
    for (int64_t w = first; w < last; ++w) {
      const int64_t begin = w * window, size = std::min(window, rows - begin);
      const EdgeConvGather<T> task{nodes.of_rows(begin, size, scratch.get()),
                                   arguments.neighbors.const_data_ptr<int64_t>() + begin * k,
                                   k,
                                   channels,
                                   cloud_size,
                                   arguments.bn_weight.const_data_ptr<T>(),
                                   extremum.mutable_data_ptr<T>() + begin * channels,
                                   static_cast<char*>(slot.mutable_data_ptr()) + begin * channels * slot_bytes,
                                   with_statistics ? gathered.mutable_data_ptr<T>() + begin * channels : nullptr};
      const EdgeConvPieces pieces(size, cloud_size, channels, sizeof(T));
      parallel_for(pieces.count(), [&](int64_t first_piece, int64_t last_piece) {
        for (int64_t index = first_piece; index < last_piece; ++index) {
          const EdgeConvPiece piece = pieces[index];
          double* const sums = moments.data() + (w * units + pieces.unit(index)) * 2 * channels;
          const int64_t found = isa.edge_conv_gather(task, piece, with_statistics ? sums : nullptr);
          if (piece.channel_begin == 0) edges += found;
          if (found < 0) in_range.store(false, std::memory_order_relaxed);
        }
      });
    }
  });
  STD_TORCH_CHECK(in_range.load(), "neighbors must be -1 or lie in [0, ", cloud_size, ")");
  if (with_statistics) {
    statistics(moments, windows * units, channels, static_cast<double>(edges.load()), mean.mutable_data_ptr<T>(),
               var.mutable_data_ptr<T>());
  }

  const T* variance = var.const_data_ptr<T>();
  const T* weight = arguments.bn_weight.const_data_ptr<T>();
  std::vector<T> scale(channels);
  for (int64_t c = 0; c < channels; ++c) scale[c] = weight[c] / std::sqrt(variance[c] + static_cast<T>(arguments.eps));
  const EdgeConvNormalize<T> normalize{k,
                                       channels,
                                       extremum.const_data_ptr<T>(),
                                       slot.const_data_ptr(),
                                       scale.data(),
                                       mean.const_data_ptr<T>(),
                                       arguments.bn_bias.const_data_ptr<T>(),
                                       static_cast<T>(arguments.negative_slope),
                                       output.mutable_data_ptr<T>()};
  parallel_for(pieces_of(rows, kEdgeConvRows), [&](int64_t first, int64_t last) {
    isa.edge_conv_normalize(normalize, first * kEdgeConvRows, std::min(last * kEdgeConvRows, rows));
  });
  return edges.load();
}

// `like` has the rows, dtype and device of the results.
template <typename Run>
Results edge_conv_like(const Tensor& like, const Arguments& arguments, const Run& run) {
  check_integers(arguments.neighbors, "neighbors", 2);
  check_like(arguments.bn_weight, "bn_weight", 1, like);
  check_like(arguments.bn_bias, "bn_bias", 1, like);
  const int64_t rows = like.size(0), k = arguments.neighbors.size(1), channels = arguments.bn_weight.size(0);
  STD_TORCH_CHECK(arguments.neighbors.size(0) == rows, "neighbors must have as many rows as nodes");
  STD_TORCH_CHECK(rows == 0 || (arguments.cloud_size > 0 && rows % arguments.cloud_size == 0), rows,
                  " rows cannot be split into clouds of ", arguments.cloud_size);
  STD_TORCH_CHECK(k < int64_t{1} << 24, "k must be below 2^24, got ", k);
  STD_TORCH_CHECK(arguments.mean.has_value() == arguments.var.has_value(), "mean and var must be given together");
  const bool with_statistics = !arguments.mean.has_value();
  if (!with_statistics) {
    check_like(*arguments.mean, "mean", 1, like);
    check_like(*arguments.var, "var", 1, like);
  }
  const auto matrix = [&] { return torch::stable::new_empty(like, {rows, channels}); };
  // An operator must not return its inputs, so given statistics are copied.
  const auto vector = [&](const std::optional<Tensor>& given) {
    return given.has_value() ? torch::stable::clone(*given) : torch::stable::empty_like(arguments.bn_weight);
  };
  const Results results{
      matrix(),
      vector(arguments.mean),
      vector(arguments.var),
      torch::stable::new_empty(like, {}, ScalarType::Double),
      matrix(),
      torch::stable::new_empty(like, {rows, channels}, k <= kMaxByteSlots ? ScalarType::Byte : ScalarType::Int),
      with_statistics ? matrix() : torch::stable::new_empty(like, {0})};
  *std::get<3>(results).mutable_data_ptr<double>() = static_cast<double>(run(results));
  return results;
}

Results edge_conv(const Tensor& nodes, const Tensor& neighbors, int64_t cloud_size, const Tensor& bn_weight,
                  const Tensor& bn_bias, std::optional<Tensor> mean, std::optional<Tensor> var, double eps,
                  double negative_slope) {
  check_floating(nodes, "nodes", 2);
  STD_TORCH_CHECK(nodes.size(1) == 2 * bn_weight.size(0), "nodes must have twice as many columns as bn_weight entries");
  const Arguments arguments{neighbors, cloud_size, bn_weight, bn_bias, mean, var, eps, negative_slope};
  return edge_conv_like(nodes, arguments, [&](const Results& results) {
    return nodes.scalar_type() == ScalarType::Float ? run(EdgeConvNodes<float>(nodes), arguments, results)
                                                    : run(EdgeConvNodes<double>(nodes), arguments, results);
  });
}

Results edge_conv_of_rows(const Tensor& x, const Tensor& weight, const Tensor& neighbors, int64_t cloud_size,
                          const Tensor& bn_weight, const Tensor& bn_bias, std::optional<Tensor> mean,
                          std::optional<Tensor> var, double eps, double negative_slope) {
  check_edge_conv_weight(x, weight, bn_weight);
  const Arguments arguments{neighbors, cloud_size, bn_weight, bn_bias, mean, var, eps, negative_slope};
  return edge_conv_like(x, arguments, [&](const Results& results) {
    return x.scalar_type() == ScalarType::Float ? run(EdgeConvNodes<float>(x, weight), arguments, results)
                                                : run(EdgeConvNodes<double>(x, weight), arguments, results);
  });
}

}  // namespace

}  // namespace pointkernels

STABLE_TORCH_LIBRARY_IMPL(pointkernels, CPU, library) {
  library.impl("edge_conv", TORCH_BOX(&pointkernels::edge_conv));
  library.impl("_edge_conv_of_rows", TORCH_BOX(&pointkernels::edge_conv_of_rows));
}
