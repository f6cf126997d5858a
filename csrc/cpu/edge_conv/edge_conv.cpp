// EdgeConv forward on the CPU: window by window the node products and one gather over the edges, statistics from
// per-row sums, one pass over the rows.
#include "edge_conv.h"
#include "edge_conv_kernels.h"

#include <cmath>
#include <vector>

#include "../graph/used_rows.h"
#include "../memory/huge_pages.h"
#include "../memory/work_space.h"
#include "../simd/isa.h"
#include "../threads/parallel.h"
#include "nodes.h"
#include "row_mean.h"

namespace pointkernels {

namespace {

using Results = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

struct Arguments {
  const Tensor& neighbors;
  int64_t cloud_size;
  const Tensor &bn_weight, &bn_bias;
  const std::optional<Tensor>&given_mean, &given_var;
  double eps, negative_slope;
};

template <typename T>
void statistics(const double* moments, int64_t units, int64_t channels, double edges, T* mean, T* var) {
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

// Fills all results but the count; given statistics are there already. The last may be empty.
template <typename T>
void run(const EdgeConvNodes<T>& nodes, const CheckedLists& lists, const Arguments& arguments, const Results& results) {
  const Tensor &output = std::get<0>(results), &mean = std::get<1>(results), &var = std::get<2>(results);
  const Tensor &extremum = std::get<4>(results), &slot = std::get<5>(results), &gathered = std::get<6>(results);
  const int64_t rows = lists.rows, k = lists.k, channels = arguments.bn_weight.size(0), cloud_size = lists.cloud_size;
  const bool with_statistics = !arguments.given_mean.has_value();
  const EdgeConvKernels<T>& kernels = *isa_kernels<T>().edge_conv;
  const int64_t window = edge_conv_window(cloud_size), windows = rows > 0 ? pieces_of(rows, window) : 0;
  const int64_t stride = edge_conv_stride<T>(2 * channels);
  const int64_t units = pieces_of(window, kEdgeConvRows), slot_bytes = k <= kMaxByteSlots ? 1 : 4;
  const int64_t moment_count = with_statistics ? windows * units * 2 * channels : 0;
  const AlignedArray<double> moments(moment_count);
  std::fill_n(moments.data(), moment_count, 0.0);
  for_each_window(windows, [&](int64_t first, int64_t last) {
    const WorkSpace<T> products(std::min(window, rows) * stride);
    for (int64_t w = first; w < last; ++w) {
      const int64_t begin = w * window, size = std::min(window, rows - begin);
      nodes.write(begin, size, products.get(), stride);
      const EdgeConvGather<T> task{products.get(),
                                   stride,
                                   lists.neighbors + begin * k,
                                   lists.degrees.data() + begin,
                                   k,
                                   channels,
                                   cloud_size,
                                   arguments.bn_weight.const_data_ptr<T>(),
                                   extremum.mutable_data_ptr<T>() + begin * channels,
                                   static_cast<char*>(slot.mutable_data_ptr()) + begin * channels * slot_bytes,
                                   gathered.numel() > 0 ? gathered.mutable_data_ptr<T>() + begin * channels : nullptr};
      const EdgeConvPieces pieces(size, channels, edge_conv_channels(cloud_size, channels, sizeof(T)));
      parallel_for(pieces.count(), [&](int64_t first_piece, int64_t last_piece) {
        for (int64_t index = first_piece; index < last_piece; ++index) {
          double* const sums = moments.data() + (w * units + pieces.unit(index)) * 2 * channels;
          kernels.gather(task, pieces[index], with_statistics ? sums : nullptr);
        }
      });
    }
  });
  if (with_statistics) {
    statistics(moments.data(), windows * units, channels, static_cast<double>(lists.edges), mean.mutable_data_ptr<T>(),
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
    kernels.normalize(normalize, first * kEdgeConvRows, std::min(last * kEdgeConvRows, rows));
  });
}

// `like` has the rows, dtype and device of the results.
void check(const Tensor& like, const Arguments& arguments) {
  check_integers(arguments.neighbors, "neighbors", like.dim());
  check_like(arguments.bn_weight, "bn_weight", 1, like);
  check_like(arguments.bn_bias, "bn_bias", 1, like);
  const int64_t rows = rows_of(like), k = columns_of(arguments.neighbors);
  STD_TORCH_CHECK(rows_of(arguments.neighbors) == rows, "neighbors must have as many rows as nodes");
  STD_TORCH_CHECK(rows == 0 || (arguments.cloud_size > 0 && rows % arguments.cloud_size == 0), rows,
                  " rows cannot be split into clouds of ", arguments.cloud_size);
  STD_TORCH_CHECK(k < int64_t{1} << 24, "k must be below 2^24, got ", k);
  STD_TORCH_CHECK(arguments.given_mean.has_value() == arguments.given_var.has_value(),
                  "mean and var must be given together");
  if (arguments.given_mean.has_value()) {
    check_like(*arguments.given_mean, "mean", 1, like);
    check_like(*arguments.given_var, "var", 1, like);
  }
}

Results new_results(const Tensor& like, const CheckedLists& lists, const Arguments& arguments, bool gathered) {
  const int64_t channels = arguments.bn_weight.size(0);
  const auto matrix = [&] { return on_huge_pages(empty_with_columns(like, channels)); };
  // An operator must not return its inputs, so given statistics are copied.
  const auto vector = [&](const std::optional<Tensor>& given) {
    return given.has_value() ? torch::stable::clone(*given) : torch::stable::empty_like(arguments.bn_weight);
  };
  const ScalarType slots = lists.k <= kMaxByteSlots ? ScalarType::Byte : ScalarType::Int;
  const Results results{matrix(),
                        vector(arguments.given_mean),
                        vector(arguments.given_var),
                        torch::stable::new_empty(like, {}, ScalarType::Double),
                        matrix(),
                        on_huge_pages(empty_with_columns(like, channels, slots)),
                        gathered ? matrix() : torch::stable::new_empty(like, {0})};
  *std::get<3>(results).mutable_data_ptr<double>() = static_cast<double>(lists.edges);
  return results;
}

Results edge_conv(const Tensor& nodes, const Tensor& neighbors, int64_t cloud_size, const Tensor& bn_weight,
                  const Tensor& bn_bias, std::optional<Tensor> mean, std::optional<Tensor> var, double eps,
                  double negative_slope) {
  check_floating(nodes, "nodes", 2);
  const int64_t channels = bn_weight.size(0);
  STD_TORCH_CHECK(nodes.size(1) == 2 * channels, "nodes must have twice as many columns as bn_weight entries");
  const Arguments arguments{neighbors, cloud_size, bn_weight, bn_bias, mean, var, eps, negative_slope};
  check(nodes, arguments);
  const CheckedLists lists(neighbors, cloud_size);
  const Results results = new_results(nodes, lists, arguments, !mean.has_value());
  const auto run_as = [&](auto zero) {
    using T = decltype(zero);
    run(EdgeConvNodes<T>(nodes.const_data_ptr<T>(), channels, bn_weight.const_data_ptr<T>()), lists, arguments,
        results);
  };
  nodes.scalar_type() == ScalarType::Float ? run_as(0.0f) : run_as(0.0);
  return results;
}

// What the shift takes off every pre-activation: it meets the second half of the weight alone.
template <typename T>
void write_moved(const T* weight, const T* shift, int64_t channels, int64_t inputs, T* moved) {
  for (int64_t o = 0; o < channels; ++o) {
    double sum = 0;
    for (int64_t c = 0; c < inputs; ++c) sum += static_cast<double>(weight[(2 * o + 1) * inputs + c]) * shift[c];
    moved[o] = static_cast<T>(sum);
  }
}

using RowResults = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

RowResults edge_conv_of_clouds(const Tensor& x, const Tensor& weight, const Tensor& neighbors, const Tensor& bn_weight,
                               const Tensor& bn_bias, std::optional<Tensor> mean, std::optional<Tensor> var, double eps,
                               double negative_slope) {
  check_edge_conv_weight(x, weight, bn_weight);
  const int64_t cloud_size = x.size(1);
  const Arguments arguments{neighbors, cloud_size, bn_weight, bn_bias, mean, var, eps, negative_slope};
  check(x, arguments);
  const CheckedLists lists(neighbors, cloud_size);
  const Results results = new_results(x, lists, arguments, false);
  const int64_t rows = lists.rows, inputs = x.size(2), channels = bn_weight.size(0);
  const Tensor shift = torch::stable::new_empty(x, {inputs}), moved = torch::stable::empty_like(bn_weight);
  const Tensor used = torch::stable::new_empty(x, {rows}, ScalarType::Bool);
  const bool all_used = lists.mark_used(used.mutable_data_ptr<bool>());
  const auto run_as = [&](auto zero) {
    using T = decltype(zero);
    const T *values = x.const_data_ptr<T>(), *weights = weight.const_data_ptr<T>();
    const bool* some = all_used ? nullptr : used.const_data_ptr<bool>();
    mean_of_rows(values, rows, inputs, some, shift.mutable_data_ptr<T>());
    write_moved(weights, shift.const_data_ptr<T>(), channels, inputs, moved.mutable_data_ptr<T>());
    if (mean.has_value()) {
      T* const means = std::get<1>(results).mutable_data_ptr<T>();
      for (int64_t o = 0; o < channels; ++o) means[o] -= moved.const_data_ptr<T>()[o];
    }
    const CenteredRows<T> centered{values, rows, inputs, shift.const_data_ptr<T>(), some};
    run(EdgeConvNodes<T>(centered, edge_conv_node_weight(weights, channels, inputs), channels,
                         bn_weight.const_data_ptr<T>()),
        lists, arguments, results);
  };
  x.scalar_type() == ScalarType::Float ? run_as(0.0f) : run_as(0.0);
  const auto& [output, means, vars, count, extremum, slot, gathered] = results;
  return {output, means, vars, count, extremum, slot, shift, moved, used};
}

}  // namespace

}  // namespace pointkernels

STABLE_TORCH_LIBRARY_IMPL(pointkernels, CPU, library) {
  library.impl("edge_conv", TORCH_BOX(&pointkernels::edge_conv));
  library.impl("_edge_conv_of_clouds", TORCH_BOX(&pointkernels::edge_conv_of_clouds));
}
