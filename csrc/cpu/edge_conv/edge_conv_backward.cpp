// EdgeConv backward on the CPU, in closed form: the gradient reaches the winning edges only, except for BatchNorm's
// mean and variance, whose dense part collapses to in-degrees and sums over neighbours.
#include <cmath>
#include <vector>

#include "../graph/used_rows.h"
#include "../memory/huge_pages.h"
#include "../memory/work_space.h"
#include "../simd/isa.h"
#include "../threads/parallel.h"
#include "edge_conv.h"
#include "edge_conv_kernels.h"
#include "nodes.h"

namespace pointkernels {

namespace {

// Sums over windows are taken over so many groups, then over these in order, whatever the number of threads.
constexpr int64_t kGroups = 32;

struct Arguments {
  const Tensor &grad, &neighbors;
  int64_t cloud_size;
  const Tensor &bn_weight, &bn_bias, &mean, &var, &count, &extremum, &slot;
  bool dense;  // whether the gradient goes through the statistics
  double eps, negative_slope;

  int64_t rows() const { return rows_of(neighbors); }
  int64_t k() const { return columns_of(neighbors); }
  int64_t channels() const { return bn_weight.size(0); }
};

// What depends on channels only, and on the sums over all rows.
template <typename T>
struct Factors {
  std::vector<T> deviation, scale, dense_scale, dense_bias;
};

template <typename T>
EdgeConvWinners<T> winners_of(const Arguments& arguments, const Factors<T>& factors, int64_t begin) {
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
          static_cast<T>(arguments.negative_slope)};
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
  const EdgeConvWinners<T> winners = winners_of<T>(arguments, factors, 0);
  const EdgeConvKernels<T>& kernels = *isa_kernels<T>().edge_conv;
  const AlignedArray<double> sums(units * 2 * channels);
  std::fill_n(sums.data(), units * 2 * channels, 0.0);
  parallel_for(units, [&](int64_t first, int64_t last) {
    for (int64_t unit = first; unit < last; ++unit) {
      kernels.winners(winners, unit * kEdgeConvRows, std::min((unit + 1) * kEdgeConvRows, rows),
                      sums.data() + unit * 2 * channels);
    }
  });
  for (int64_t c = 0; c < channels; ++c) {
    double bias_sum = 0, weight_sum = 0;
    for (int64_t unit = 0; unit < units; ++unit) {
      bias_sum += sums.data()[unit * 2 * channels + c];
      weight_sum += sums.data()[unit * 2 * channels + channels + c];
    }
    grad_bias[c] = static_cast<T>(bias_sum);
    grad_weight[c] = static_cast<T>(weight_sum);
    const T scale = factors.scale[c];
    factors.dense_scale[c] = count > 0 ? static_cast<T>(-scale * factors.deviation[c] * weight_sum / count) : T{0};
    factors.dense_bias[c] = count > 0 ? static_cast<T>(-scale * bias_sum / count) : T{0};
  }
  return factors;
}

// The gradients of the node products of all windows [first, last), one window after the other: done(begin, size, grads)
// is told where those of a window are, first that of v, then that of u, as far apart as scatter_stride() says.
template <typename T>
int64_t scatter_stride(int64_t channels) {
  return edge_conv_stride<T>(3 * channels);
}

template <typename T, typename Done>
void scatter_windows(const EdgeConvNodes<T>& nodes, const CheckedLists& lists, const Arguments& arguments,
                     const Factors<T>& factors, int64_t first, int64_t last, const Done& done) {
  const int64_t rows = lists.rows, k = lists.k, channels = arguments.channels(), cloud_size = lists.cloud_size;
  const int64_t window = edge_conv_window(cloud_size), most = std::min(window, rows);
  const int64_t stride = scatter_stride<T>(channels);
  const EdgeConvKernels<T>& kernels = *isa_kernels<T>().edge_conv;
  const WorkSpace<T> space(most * stride);
  std::vector<int32_t> in_degrees(most);
  for (int64_t w = first; w < last; ++w) {
    const int64_t begin = w * window, size = std::min(window, rows - begin);
    if (arguments.dense) nodes.write(begin, size, space.get(), stride);
    const int64_t* const neighbors = lists.neighbors + begin * k;
    std::fill(in_degrees.begin(), in_degrees.end(), 0);
    for (int64_t i = 0; i < size; ++i) {
      int32_t* const cloud = in_degrees.data() + i / cloud_size * cloud_size;
      for (int64_t s = 0; s < k; ++s) {
        if (neighbors[i * k + s] >= 0) ++cloud[neighbors[i * k + s]];
      }
    }
    const EdgeConvScatter<T> task{winners_of(arguments, factors, begin),
                                  neighbors,
                                  lists.degrees.data() + begin,
                                  in_degrees.data(),
                                  size,
                                  cloud_size,
                                  arguments.dense,
                                  factors.dense_scale.data(),
                                  factors.dense_bias.data(),
                                  space.get(),
                                  stride};
    // Some channels at a time for the cache's sake, and so few that there is work for all threads.
    const int64_t share = pieces_of(channels, threads_here());
    const int64_t block = std::min(edge_conv_channels(cloud_size, channels, 2 * sizeof(T)), pieces_of(share, 16) * 16);
    parallel_for(pieces_of(channels, std::max<int64_t>(block, 1)), [&](int64_t first_block, int64_t last_block) {
      for (int64_t b = first_block; b < last_block; ++b) {
        kernels.scatter(task, b * block, std::min((b + 1) * block, channels));
      }
    });
    done(begin, size, space.get() + channels);
  }
}

template <typename T>
void run(const EdgeConvNodes<T>& nodes, const CheckedLists& lists, const Arguments& arguments, T* grad_nodes,
         T* grad_bn_weight, T* grad_bn_bias) {
  const Factors<T> factors = reduce<T>(arguments, grad_bn_weight, grad_bn_bias);
  const int64_t channels = arguments.channels(), window = edge_conv_window(arguments.cloud_size);
  const int64_t stride = scatter_stride<T>(channels);
  for_each_window(lists.rows > 0 ? pieces_of(lists.rows, window) : 0, [&](int64_t first, int64_t last) {
    scatter_windows(nodes, lists, arguments, factors, first, last, [&](int64_t begin, int64_t size, const T* from) {
      for (int64_t i = 0; i < size; ++i) {
        T* const to = grad_nodes + (begin + i) * 2 * channels;
        std::copy_n(from + i * stride, channels, to + channels);
        std::copy_n(from + i * stride + channels, channels, to);
      }
    });
  });
}

// `weight` (channels, 2 inputs), and so is its gradient.
template <typename T>
void run_of_clouds(const CenteredRows<T>& x, const T* weight, const CheckedLists& lists, const Arguments& arguments,
                   T* grad_x, T* grad_weight, T* grad_bn_weight, T* grad_bn_bias) {
  const Factors<T> factors = reduce<T>(arguments, grad_bn_weight, grad_bn_bias);
  const int64_t channels = arguments.channels(), columns = 2 * channels, inputs = x.channels, rows = lists.rows;
  const int64_t window = edge_conv_window(lists.cloud_size), windows = rows > 0 ? pieces_of(rows, window) : 0;
  const std::vector<T> node_weight = edge_conv_node_weight(weight, channels, inputs);
  const EdgeConvNodes<T> nodes(x, node_weight, channels);
  std::vector<T> weight_of_grads(node_weight);
  std::rotate(weight_of_grads.begin(), weight_of_grads.begin() + channels * inputs, weight_of_grads.end());
  const Panels<T> back(weight_of_grads.data(), columns, inputs, inputs, 1);
  const int64_t group = std::max<int64_t>(pieces_of(windows, kGroups), 1), groups = pieces_of(windows, group);
  std::vector<TransposedProduct<T>> products(std::max<int64_t>(groups, 1), TransposedProduct<T>(columns, inputs));
  for_each_window(groups, [&](int64_t first, int64_t last) {
    for (int64_t g = first; g < last; ++g) {
      const auto add = [&](int64_t begin, int64_t size, const T* grads) {
        const Rows<T> upstream(grads, size, columns, scatter_stride<T>(channels));
        if (grad_x != nullptr) multiply(upstream, back, grad_x + begin * inputs, inputs);
        products[g].add(upstream, x.part(begin, size));
      };
      scatter_windows(nodes, lists, arguments, factors, g * group, std::min((g + 1) * group, windows), add);
    }
  });
  for (int64_t g = 1; g < groups; ++g) products[0].add(products[g]);
  for (int64_t o = 0; o < channels; ++o) {
    // Through the statistics of this batch, what is common to all rows has no effect.
    const T common = arguments.dense ? T{0} : factors.scale[o] * grad_bn_bias[o];
    T *of_difference = grad_weight + 2 * o * inputs, *of_own = of_difference + inputs;
    for (int64_t c = 0; c < inputs; ++c) {
      const T of_v = products[0].at(o, c);
      of_difference[c] = products[0].at(channels + o, c) - of_v;
      of_own[c] = of_v + common * x.shift[c];
    }
  }
}

void check(const Arguments& arguments, const Tensor& like) {
  check_integers(arguments.neighbors, "neighbors", like.dim());
  const int64_t rows = rows_of(like), channels = arguments.channels();
  for (const Tensor* matrix : {&arguments.grad, &arguments.extremum}) {
    check_like(*matrix, "grad and extremum", like.dim(), like);
    STD_TORCH_CHECK(rows_of(*matrix) == rows && columns_of(*matrix) == channels,
                    "grad and extremum must have a row for each point and a column for each channel");
  }
  for (const Tensor* vector : {&arguments.bn_weight, &arguments.bn_bias, &arguments.mean, &arguments.var}) {
    check_like(*vector, "a channel vector", 1, like);
  }
  STD_TORCH_CHECK(rows == 0 || (arguments.cloud_size > 0 && rows % arguments.cloud_size == 0), rows,
                  " rows cannot be split into clouds of ", arguments.cloud_size);
  STD_TORCH_CHECK(arguments.rows() == rows, "neighbors must have as many rows as nodes");
}

std::tuple<Tensor, Tensor, Tensor> edge_conv_backward(
    const Tensor& grad, const Tensor& nodes, const Tensor& neighbors, int64_t cloud_size, const Tensor&, const Tensor&,
    const Tensor& bn_weight, const Tensor& bn_bias, const Tensor& mean, const Tensor& var, const Tensor& count,
    const Tensor& extremum, const Tensor& slot, std::optional<Tensor> gathered, double eps, double negative_slope) {
  check_floating(nodes, "nodes", 2);
  const Arguments arguments{grad,     neighbors, cloud_size,           bn_weight, bn_bias,       mean, var, count,
                            extremum, slot,      gathered.has_value(), eps,       negative_slope};
  check(arguments, nodes);
  Tensor grad_nodes = on_huge_pages(torch::stable::empty_like(nodes));
  Tensor grad_weight = torch::stable::empty_like(bn_weight), grad_bias = torch::stable::empty_like(bn_bias);
  const auto run_as = [&](auto zero) {
    using T = decltype(zero);
    run(EdgeConvNodes<T>(nodes.const_data_ptr<T>(), bn_weight.size(0)), CheckedLists(neighbors, cloud_size), arguments,
        grad_nodes.mutable_data_ptr<T>(), grad_weight.mutable_data_ptr<T>(), grad_bias.mutable_data_ptr<T>());
  };
  nodes.scalar_type() == ScalarType::Float ? run_as(0.0f) : run_as(0.0);
  return {grad_nodes, grad_weight, grad_bias};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> edge_conv_of_clouds_backward(
    const Tensor& grad, const Tensor& x, const Tensor& weight, bool for_x, const Tensor& neighbors,
    const Tensor& bn_weight, const Tensor& bn_bias, const Tensor& mean, const Tensor& var, const Tensor& count,
    const Tensor& extremum, const Tensor& slot, const Tensor& shift, const Tensor& used, bool constant, double eps,
    double negative_slope) {
  check_edge_conv_weight(x, weight, bn_weight);
  const int64_t cloud_size = x.size(1);
  const Arguments arguments{grad,  neighbors, cloud_size, bn_weight, bn_bias, mean,          var,
                            count, extremum,  slot,       !constant, eps,     negative_slope};
  check(arguments, x);
  check_like(shift, "shift", 1, x);
  STD_TORCH_CHECK(shift.size(0) == x.size(2) && used.scalar_type() == ScalarType::Bool && used.is_contiguous() &&
                      used.numel() == rows_of(x),
                  "shift and used must be what _edge_conv_of_clouds returned");
  Tensor grad_x = for_x ? on_huge_pages(torch::stable::empty_like(x)) : torch::stable::new_empty(x, {0});
  Tensor grad_weight = torch::stable::empty_like(weight);
  Tensor grad_bn_weight = torch::stable::empty_like(bn_weight), grad_bn_bias = torch::stable::empty_like(bn_bias);
  const auto run_as = [&](auto zero) {
    using T = decltype(zero);
    const CenteredRows<T> centered{x.const_data_ptr<T>(), rows_of(x), x.size(2), shift.const_data_ptr<T>(),
                                   used.const_data_ptr<bool>()};
    run_of_clouds<T>(centered, weight.const_data_ptr<T>(), CheckedLists(neighbors, cloud_size), arguments,
                     for_x ? grad_x.mutable_data_ptr<T>() : nullptr, grad_weight.mutable_data_ptr<T>(),
                     grad_bn_weight.mutable_data_ptr<T>(), grad_bn_bias.mutable_data_ptr<T>());
  };
  x.scalar_type() == ScalarType::Float ? run_as(0.0f) : run_as(0.0);
  return {grad_x, grad_weight, grad_bn_weight, grad_bn_bias};
}

}  // namespace

}  // namespace pointkernels

STABLE_TORCH_LIBRARY_IMPL(pointkernels, CPU, library) {
  library.impl("_edge_conv_backward", TORCH_BOX(&pointkernels::edge_conv_backward));
  library.impl("_edge_conv_of_clouds_backward", TORCH_BOX(&pointkernels::edge_conv_of_clouds_backward));
}
