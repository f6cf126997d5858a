// EdgeConv backward on the CPU, in closed form: the gradient reaches the winning edges only, except for BatchNorm's
// mean and variance, whose dense part collapses to in-degrees and sums over neighbours.
#include <cmath>
#include <vector>

#include "edge_conv.h"
#include "edge_conv_nodes.h"
#include "isa.h"
#include "parallel.h"

namespace pointkernels {

namespace {

// Sums over windows are taken over so many groups, then over these in order, whatever the number of threads.
constexpr int64_t kGroups = 32;

struct Arguments {
  const Tensor &grad, &neighbors;
  int64_t cloud_size;
  const Tensor &offsets, &edges, &bn_weight, &bn_bias, &mean, &var, &count, &extremum, &slot;
  const std::optional<Tensor>& gathered;
  double eps, negative_slope;

  int64_t rows() const { return neighbors.size(0); }
  int64_t k() const { return neighbors.size(1); }
  int64_t channels() const { return bn_weight.size(0); }
};

// What depends on channels only, and on the sums over all rows.
template <typename T>
struct Factors {
  std::vector<T> deviation, scale, dense_scale, dense_bias;
};

template <typename T>
EdgeConvWinners<T> winners_of(const Arguments& arguments, const Factors<T>& factors, int64_t begin, T* winner_grad) {
  const int64_t at = begin * arguments.channels(), slot_bytes = arguments.k() <= kMaxByteSlots ? 1 : 4;
  return {arguments.k(),
          arguments.channels(),
          arguments.grad.const_data_ptr<T>() + at,
          arguments.extremum.const_data_ptr<T>() + at,
          static_cast<const char*>(arguments.slot.const_data_ptr()) + at * slot_bytes,
          factors.scale.data(),
          factors.deviation.data(),
          arguments.mean.const_data_ptr<T>(),
          arguments.bn_bias.const_data_ptr<T>(),
          static_cast<T>(arguments.negative_slope),
          winner_grad};
}

// The gradients of BatchNorm's weight and bias, and all factors.
template <typename T>
Factors<T> reduce(const Arguments& arguments, T* grad_weight, T* grad_bias) {
  const int64_t rows = arguments.rows(), channels = arguments.channels(), units = pieces_of(rows, kEdgeConvRows);
  const double count = *arguments.count.const_data_ptr<double>();
  Factors<T> factors{std::vector<T>(channels), std::vector<T>(channels), std::vector<T>(channels),
                     std::vector<T>(channels)};
  for (int64_t c = 0; c < channels; ++c) {
    factors.deviation[c] = 1 / std::sqrt(arguments.var.const_data_ptr<T>()[c] + static_cast<T>(arguments.eps));
    factors.scale[c] = arguments.bn_weight.const_data_ptr<T>()[c] * factors.deviation[c];
  }
  const EdgeConvWinners<T> winners = winners_of<T>(arguments, factors, 0, nullptr);
  const IsaKernels<T>& isa = isa_kernels<T>();
  std::vector<double> sums(units * 2 * channels, 0.0);
  parallel_for(units, [&](int64_t first, int64_t last) {
    for (int64_t unit = first; unit < last; ++unit) {
      isa.edge_conv_winners(winners, unit * kEdgeConvRows, std::min((unit + 1) * kEdgeConvRows, rows),
                            sums.data() + unit * 2 * channels);
    }
  });
  for (int64_t c = 0; c < channels; ++c) {
    double bias_sum = 0, weight_sum = 0;
    for (int64_t unit = 0; unit < units; ++unit) {
      bias_sum += sums[unit * 2 * channels + c];
      weight_sum += sums[unit * 2 * channels + channels + c];
    }
    grad_bias[c] = static_cast<T>(bias_sum);
    grad_weight[c] = static_cast<T>(weight_sum);
    const T scale = factors.scale[c];
    factors.dense_scale[c] = count > 0 ? static_cast<T>(-scale * factors.deviation[c] * weight_sum / count) : T{0};
    factors.dense_bias[c] = count > 0 ? static_cast<T>(-scale * bias_sum / count) : T{0};
  }
  return factors;
}

// The gradients of the node products of all windows [first, last), one window after the other: place(begin, size) says
// where those of a window go, done(begin, size, grad_nodes) is told that they are there.
template <typename T, typename Place, typename Done>
void scatter_windows(const EdgeConvNodes<T>& nodes, const Arguments& arguments, const Factors<T>& factors,
                     int64_t first, int64_t last, const Place& place, const Done& done) {
  const int64_t rows = arguments.rows(), k = arguments.k(), channels = arguments.channels();
  const int64_t window = edge_conv_window(arguments.cloud_size), most = std::min(window, rows);
  const bool dense = arguments.gathered.has_value();
  const IsaKernels<T>& isa = isa_kernels<T>();
  const std::unique_ptr<T[]> scratch = uninitialized<T>(dense ? nodes.scratch(most) : 0);
  const std::unique_ptr<T[]> winner_grad = uninitialized<T>(most * channels);
  for (int64_t w = first; w < last; ++w) {
    const int64_t begin = w * window, size = std::min(window, rows - begin);
    const EdgeConvWinners<T> winners = winners_of(arguments, factors, begin, winner_grad.get());
    parallel_for(pieces_of(size, kEdgeConvRows), [&](int64_t first_unit, int64_t last_unit) {
      isa.edge_conv_winners(winners, first_unit * kEdgeConvRows, std::min(last_unit * kEdgeConvRows, size), nullptr);
    });
    T* const grad_nodes = place(begin, size);
    const EdgeConvScatter<T> task{dense ? nodes.of_rows(begin, size, scratch.get()) : nullptr,
                                  arguments.neighbors.const_data_ptr<int64_t>() + begin * k,
                                  arguments.offsets.const_data_ptr<int64_t>() + begin,
                                  arguments.edges.const_data_ptr<int64_t>(),
                                  begin * k,
                                  *arguments.count.const_data_ptr<double>() != static_cast<double>(rows * k),
                                  k,
                                  channels,
                                  winners.winner_grad,
                                  winners.slot,
                                  dense ? arguments.gathered->const_data_ptr<T>() + begin * channels : nullptr,
                                  factors.scale.data(),
                                  arguments.mean.const_data_ptr<T>(),
                                  factors.dense_scale.data(),
                                  factors.dense_bias.data(),
                                  grad_nodes};
    // Of every edge's row, the winner's gradient and place and, with statistics, v.
    const int64_t bytes = (dense ? 2 : 1) * sizeof(T) + (k <= kMaxByteSlots ? 1 : 4);
    const EdgeConvPieces pieces(size, arguments.cloud_size, channels, bytes);
    parallel_for(pieces.count(), [&](int64_t first_piece, int64_t last_piece) {
      for (int64_t index = first_piece; index < last_piece; ++index) isa.edge_conv_scatter(task, pieces[index]);
    });
    done(begin, size, grad_nodes);
  }
}

template <typename T>
void run(const EdgeConvNodes<T>& nodes, const Arguments& arguments, T* grad_nodes, T* grad_bn_weight, T* grad_bn_bias) {
  const Factors<T> factors = reduce<T>(arguments, grad_bn_weight, grad_bn_bias);
  const int64_t window = edge_conv_window(arguments.cloud_size);
  for_each_window(arguments.rows() > 0 ? pieces_of(arguments.rows(), window) : 0, [&](int64_t first, int64_t last) {
    scatter_windows(
        nodes, arguments, factors, first, last,
        [&](int64_t begin, int64_t) { return grad_nodes + begin * 2 * arguments.channels(); },
        [](int64_t, int64_t, const T*) {});
  });
}

template <typename T>
void run_of_rows(const Tensor& x, const Tensor& weight, const Arguments& arguments, T* grad_x, T* grad_weight,
                 T* grad_bn_weight, T* grad_bn_bias) {
  const Factors<T> factors = reduce<T>(arguments, grad_bn_weight, grad_bn_bias);
  const int64_t columns = weight.size(0), inputs = x.size(1), rows = arguments.rows();
  const int64_t window = edge_conv_window(arguments.cloud_size), windows = rows > 0 ? pieces_of(rows, window) : 0;
  const EdgeConvNodes<T> nodes(x, weight);
  const Panels<T> back(weight.const_data_ptr<T>(), columns, inputs, inputs, 1);
  const int64_t group = std::max<int64_t>(pieces_of(windows, kGroups), 1), groups = pieces_of(windows, group);
  std::vector<TransposedProduct<T>> products(std::max<int64_t>(groups, 1), TransposedProduct<T>(columns, inputs));
  for_each_window(groups, [&](int64_t first, int64_t last) {
    const std::unique_ptr<T[]> grad_nodes = uninitialized<T>(std::min(window, rows) * columns);
    for (int64_t g = first; g < last; ++g) {
      scatter_windows(
          nodes, arguments, factors, g * group, std::min((g + 1) * group, windows),
          [&](int64_t, int64_t) { return grad_nodes.get(); },
          [&](int64_t begin, int64_t size, const T* of_window) {
            const Rows<T> upstream{of_window, size, columns};
            if (grad_x != nullptr) multiply(upstream, back, grad_x + begin * inputs);
            products[g].add(upstream, Rows<T>{x.const_data_ptr<T>() + begin * inputs, size, inputs});
          });
    }
  });
  for (int64_t g = 1; g < groups; ++g) products[0].add(products[g]);
  products[0].store(grad_weight);
}

void check(const Arguments& arguments, const Tensor& like) {
  check_integers(arguments.neighbors, "neighbors", 2);
  check_integers(arguments.offsets, "offsets", 1);
  check_integers(arguments.edges, "edges", 1);
  const int64_t rows = like.size(0), channels = arguments.channels();
  for (const Tensor* matrix : {&arguments.grad, &arguments.extremum}) {
    check_like(*matrix, "grad and extremum", 2, like);
    STD_TORCH_CHECK(matrix->size(0) == rows && matrix->size(1) == channels,
                    "grad and extremum must have a row for each point and a column for each channel");
  }
  for (const Tensor* vector : {&arguments.bn_weight, &arguments.bn_bias, &arguments.mean, &arguments.var}) {
    check_like(*vector, "a channel vector", 1, like);
  }
  STD_TORCH_CHECK(rows == 0 || (arguments.cloud_size > 0 && rows % arguments.cloud_size == 0), rows,
                  " rows cannot be split into clouds of ", arguments.cloud_size);
  STD_TORCH_CHECK(arguments.rows() == rows, "neighbors must have as many rows as nodes");
  STD_TORCH_CHECK(arguments.offsets.size(0) == rows + 1, "offsets must have one entry more than nodes has rows");
}

std::tuple<Tensor, Tensor, Tensor> edge_conv_backward(const Tensor& grad, const Tensor& nodes, const Tensor& neighbors,
                                                      int64_t cloud_size, const Tensor& offsets, const Tensor& edges,
                                                      const Tensor& bn_weight, const Tensor& bn_bias,
                                                      const Tensor& mean, const Tensor& var, const Tensor& count,
                                                      const Tensor& extremum, const Tensor& slot,
                                                      std::optional<Tensor> gathered, double eps,
                                                      double negative_slope) {
  check_floating(nodes, "nodes", 2);
  const Arguments arguments{grad, neighbors, cloud_size, offsets, edges,    bn_weight, bn_bias,       mean,
                            var,  count,     extremum,   slot,    gathered, eps,       negative_slope};
  check(arguments, nodes);
  Tensor grad_nodes = torch::stable::empty_like(nodes);
  Tensor grad_weight = torch::stable::empty_like(bn_weight), grad_bias = torch::stable::empty_like(bn_bias);
  const auto run_as = [&](auto zero) {
    using T = decltype(zero);
    run(EdgeConvNodes<T>(nodes), arguments, grad_nodes.mutable_data_ptr<T>(), grad_weight.mutable_data_ptr<T>(),
        grad_bias.mutable_data_ptr<T>());
  };
  nodes.scalar_type() == ScalarType::Float ? run_as(0.0f) : run_as(0.0);
  return {grad_nodes, grad_weight, grad_bias};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> edge_conv_of_rows_backward(
    const Tensor& grad, const Tensor& x, const Tensor& weight, bool for_x, const Tensor& neighbors, int64_t cloud_size,
    const Tensor& offsets, const Tensor& edges, const Tensor& bn_weight, const Tensor& bn_bias, const Tensor& mean,
    const Tensor& var, const Tensor& count, const Tensor& extremum, const Tensor& slot, std::optional<Tensor> gathered,
    double eps, double negative_slope) {
  check_edge_conv_weight(x, weight, bn_weight);
  const Arguments arguments{grad, neighbors, cloud_size, offsets, edges,    bn_weight, bn_bias,       mean,
                            var,  count,     extremum,   slot,    gathered, eps,       negative_slope};
  check(arguments, x);
  Tensor grad_x = for_x ? torch::stable::empty_like(x) : torch::stable::new_empty(x, {0});
  Tensor grad_weight = torch::stable::empty_like(weight);
  Tensor grad_bn_weight = torch::stable::empty_like(bn_weight), grad_bn_bias = torch::stable::empty_like(bn_bias);
  const auto run_as = [&](auto zero) {
    using T = decltype(zero);
    run_of_rows<T>(x, weight, arguments, for_x ? grad_x.mutable_data_ptr<T>() : nullptr,
                   grad_weight.mutable_data_ptr<T>(), grad_bn_weight.mutable_data_ptr<T>(),
                   grad_bn_bias.mutable_data_ptr<T>());
  };
  x.scalar_type() == ScalarType::Float ? run_as(0.0f) : run_as(0.0);
  return {grad_x, grad_weight, grad_bn_weight, grad_bn_bias};
}

}  // namespace

}  // namespace pointkernels

STABLE_TORCH_LIBRARY_IMPL(pointkernels, CPU, library) {
  library.impl("_edge_conv_backward", TORCH_BOX(&pointkernels::edge_conv_backward));
  library.impl("_edge_conv_of_rows_backward", TORCH_BOX(&pointkernels::edge_conv_of_rows_backward));
}
