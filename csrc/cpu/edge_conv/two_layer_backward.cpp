// EdgeConv with two layers, backward on the CPU, in one sweep over tiles of edges.
//
// What the second layer's BatchNorm makes of it is in two_layer_second.h. The dense part of the first
// BatchNorm collapses to sums over rows and their neighbours, as with one layer: with p the gradient before the first
// LeakyReLU and M edges,
//   grad u_j = scale (sum of p over edges at j - d_j sum(p) / M - sum(p xh) / (M std) * (sum of h - mean over them)).
#include "../memory/huge_pages.h"
#include "two_layer_second.h"
#include "two_layer_sums.h"
#include "two_layer_work.h"

namespace pointkernels {

namespace {

struct Results {
  Tensor grad_nodes, grad_bn_weight, grad_bn_bias, grad_weight, grad_bn_weight2, grad_bn_bias2;
};

template <typename T>
void edge_conv_two_layer_backward_of(const TwoLayerShape& shape, const TwoLayerInputs& in, const Results& out) {
  const TwoLayerKernels<T>& kernels = *isa_kernels<T>().two_layer;
  const int64_t hidden = shape.padded_hidden(), k = shape.k, unit_rows = shape.unit_rows();
  const PaddedRows<T> nodes(in.nodes.const_data_ptr<T>(), 2 * shape.rows, shape.hidden, hidden);
  const PaddedRows<T> weight(in.weight.const_data_ptr<T>(), shape.outputs, shape.hidden, hidden);
  const FirstLayer<T> first(shape, in.mean.const_data_ptr<T>(), in.var.const_data_ptr<T>(),
                            in.bn_weight.const_data_ptr<T>(), in.bn_bias.const_data_ptr<T>(),
                            in.center.const_data_ptr<T>(), in.eps);
  const TwoLayerWinners<T> winners(shape, in);
  const TwoLayerDensePart<T> dense(shape, in, winners);
  const int64_t* neighbors = in.neighbors.const_data_ptr<int64_t>();
  const int64_t* offsets = in.offsets.const_data_ptr<int64_t>();
  const int64_t* edges = in.edges.const_data_ptr<int64_t>();

  TwoLayerBackward<T> task{first.edges(shape, nodes.data(), neighbors, in.negative_slope),
                           weight.data(),
                           winners.grad.data(),
                           in.slot.const_data_ptr<int32_t>(),
                           in.dense2 ? dense.panels->data.data() : nullptr,
                           in.dense2 ? dense.start.data() : nullptr};
  task.edges.outputs = shape.outputs;

  // Gradients of edges are kept for a chunk of rows at a time; then every row that edges of the chunk point at adds up
  // its own, in the order of the edges.
  const int64_t chunk_rows = std::min(kTwoLayerUnits * unit_rows, shape.rows);
  const bool direct = hidden == shape.hidden;
  std::vector<T> grad_space(direct ? 0 : shape.rows * 2 * hidden);
  T* grad_nodes = direct ? out.grad_nodes.mutable_data_ptr<T>() : grad_space.data();
  const std::unique_ptr<T[]> edge_grad(new T[chunk_rows * k * hidden]);
  const std::unique_ptr<T[]> row_deviation(new T[shape.rows * hidden]);
  std::vector<int64_t> next(offsets, offsets + shape.rows);
  std::vector<UnitSums> sums(std::min(kTwoLayerUnits, shape.units()), UnitSums(shape, in.dense2));
  std::vector<UnitSpace<T>> spaces(sums.size(), UnitSpace<T>(shape, in.dense2));
  const int64_t chunks_in_t = std::max<int64_t>(1, 4096 / std::max<int64_t>(unit_rows * k, 1));
  int64_t chunks = 0;
  constexpr int64_t kBlock = 64;  // rows that add up together
  parallel_for((shape.rows + kBlock - 1) / kBlock, [&](int64_t begin, int64_t end) {
    for (int64_t j = begin * kBlock; j < std::min(end * kBlock, shape.rows); ++j) {
      std::fill_n(grad_nodes + 2 * j * hidden, hidden, T{0});
    }
  });
  for (int64_t chunk = 0; chunk < shape.rows; chunk += chunk_rows) {
    const int64_t chunk_end = std::min(chunk + chunk_rows, shape.rows);
    const bool move = ++chunks % chunks_in_t == 0;
    parallel_for((chunk_end - chunk + unit_rows - 1) / unit_rows, [&](int64_t begin, int64_t end) {
      const TileSpace<T> space(shape, true);
      for (int64_t unit = begin; unit < end; ++unit) {
        const int64_t row = chunk + unit * unit_rows;
        TwoLayerSums<T> unit_sums{};
        unit_sums.edge_grad = edge_grad.get() + (row - chunk) * k * hidden;
        unit_sums.row_grad = grad_nodes + (2 * row + 1) * hidden;
        unit_sums.row_deviation = row_deviation.get() + row * hidden;
        spaces[unit].point_at(sums[unit], unit_sums);
        kernels.backward(task, row, std::min(row + unit_rows, chunk_end), space.tile(), unit_sums);
        if (move) spaces[unit].move_to(sums[unit]);
      }
    });
    const int64_t low = chunk / shape.cloud_size * shape.cloud_size;
    const int64_t high = (chunk_end + shape.cloud_size - 1) / shape.cloud_size * shape.cloud_size;
    parallel_for((high - low + kBlock - 1) / kBlock, [&](int64_t begin, int64_t end) {
      for (int64_t j = low + begin * kBlock; j < std::min(low + end * kBlock, high); ++j) {
        const int64_t from = next[j];
        while (next[j] < offsets[j + 1] && edges[next[j]] < chunk_end * k) ++next[j];
        kernels.add_rows(edge_grad.get(), hidden, edges + from, next[j] - from, chunk * k, 1, hidden,
                         grad_nodes + 2 * j * hidden);
      }
    });
  }
  UnitSums total(shape, in.dense2);
  for (size_t unit = 0; unit < sums.size(); ++unit) {
    spaces[unit].move_to(sums[unit]);
    total.add(sums[unit]);
  }

  std::vector<T> dense_scale(hidden, T{0}), dense_bias(hidden, T{0});
  for (int64_t c = 0; c < shape.hidden; ++c) {
    const double bias = total.grad[c], with_normalised = total.deviation[c] * first.deviation[c];
    out.grad_bn_bias.mutable_data_ptr<T>()[c] = static_cast<T>(bias);
    out.grad_bn_weight.mutable_data_ptr<T>()[c] = static_cast<T>(with_normalised);
    if (!in.dense) continue;
    dense_scale[c] = static_cast<T>(first.deviation[c] * with_normalised / in.count);
    dense_bias[c] = static_cast<T>(bias / in.count);
  }
  for (int64_t o = 0; o < shape.outputs; ++o) {
    out.grad_bn_bias2.mutable_data_ptr<T>()[o] = static_cast<T>(winners.bias[o]);
    out.grad_bn_weight2.mutable_data_ptr<T>()[o] = static_cast<T>(winners.weight[o]);
  }
  write_second_weight_gradient(shape, in, winners, dense, total, out.grad_weight.mutable_data_ptr<T>());

  T* grads = out.grad_nodes.mutable_data_ptr<T>();
  parallel_for((shape.rows + kBlock - 1) / kBlock, [&](int64_t begin, int64_t end) {
    std::vector<T> gathered(hidden);
    for (int64_t j = begin * kBlock; j < std::min(end * kBlock, shape.rows); ++j) {
      const T *u = nodes.data() + 2 * j * hidden, *deviation = row_deviation.get() + j * hidden;
      T *grad_u = grad_nodes + 2 * j * hidden, *grad_v = grad_u + hidden;
      if (in.dense) {
        const int64_t in_degree = offsets[j + 1] - offsets[j];
        const int64_t* list = neighbors + j * k;
        const T in_edges = static_cast<T>(in_degree);
        const T out_edges = static_cast<T>(k - std::count(list, list + k, int64_t{-1}));
        std::fill(gathered.begin(), gathered.end(), T{0});
        kernels.add_rows(nodes.data() + hidden, 2 * hidden, edges + offsets[j], in_degree, 0, k, hidden,
                         gathered.data());
        for (int64_t c = 0; c < hidden; ++c) {
          grad_u[c] -= in_edges * dense_bias[c] + dense_scale[c] * (in_edges * (u[c] - first.mean[c]) + gathered[c]);
          grad_v[c] -= out_edges * dense_bias[c] + dense_scale[c] * deviation[c];
        }
      }
      for (int64_t c = 0; c < hidden; ++c) {
        grad_u[c] *= first.scale[c];
        grad_v[c] *= first.scale[c];
      }
      if (direct) continue;
      std::copy_n(grad_u, shape.hidden, grads + 2 * j * shape.hidden);
      std::copy_n(grad_v, shape.hidden, grads + (2 * j + 1) * shape.hidden);
    }
  });
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> edge_conv_two_layer_backward(
    const Tensor& grad, const Tensor& nodes, const Tensor& neighbors, int64_t cloud_size, const Tensor& offsets,
    const Tensor& edges, const Tensor& bn_weight, const Tensor& bn_bias, const Tensor& mean, const Tensor& var,
    double eps, double negative_slope, const Tensor& weight, const Tensor& center, const Tensor& bn_weight2,
    const Tensor& bn_bias2, const Tensor& mean2, const Tensor& var2, double eps2, double negative_slope2,
    const Tensor& count, const Tensor& deviation, const Tensor& slot, bool constant, bool constant2) {
  const TwoLayerShape shape = two_layer_shape(nodes, neighbors, cloud_size, weight);
  check_matrix(grad, "grad", shape.rows, shape.outputs, nodes);
  check_matrix(deviation, "deviation", shape.rows, shape.outputs, nodes);
  for (const Tensor* vector : {&bn_weight, &bn_bias, &mean, &var, &center}) {
    check_vector(*vector, "a vector of the first layer", shape.hidden, nodes);
  }
  for (const Tensor* vector : {&bn_weight2, &bn_bias2, &mean2, &var2}) {
    check_vector(*vector, "a vector of the second layer", shape.outputs, nodes);
  }
  check_integers(offsets, "offsets", 1);
  check_integers(edges, "edges", 1);
  STD_TORCH_CHECK(offsets.size(0) == shape.rows + 1 && edges.size(0) == neighbors.numel(),
                  "offsets and edges must be the reverse graph of neighbors");
  STD_TORCH_CHECK(
      slot.scalar_type() == ScalarType::Int && slot.is_contiguous() && slot.numel() == shape.rows * shape.outputs,
      "slot must be what edge_conv_two_layer returned");
  STD_TORCH_CHECK(count.scalar_type() == ScalarType::Double && count.numel() == 1, "count must be one float64");
  checked_edges(neighbors, cloud_size);
  const double number = *count.const_data_ptr<double>();
  const TwoLayerInputs in{grad,
                          nodes,
                          neighbors,
                          offsets,
                          edges,
                          bn_weight,
                          bn_bias,
                          mean,
                          var,
                          weight,
                          center,
                          bn_weight2,
                          bn_bias2,
                          mean2,
                          var2,
                          deviation,
                          slot,
                          eps,
                          negative_slope,
                          eps2,
                          negative_slope2,
                          number,
                          !constant && number > 0,
                          !constant2 && number > 0};
  const Results out{on_huge_pages(torch::stable::empty_like(nodes)),
                    torch::stable::empty_like(bn_weight),
                    torch::stable::empty_like(bn_bias),
                    torch::stable::empty_like(weight),
                    torch::stable::empty_like(bn_weight2),
                    torch::stable::empty_like(bn_bias2)};
  const auto run = nodes.scalar_type() == ScalarType::Float ? edge_conv_two_layer_backward_of<float>
                                                            : edge_conv_two_layer_backward_of<double>;
  run(shape, in, out);
  return {out.grad_nodes,  out.grad_bn_weight,  out.grad_bn_bias,
          out.grad_weight, out.grad_bn_weight2, out.grad_bn_bias2};
}

}  // namespace

}  // namespace pointkernels

STABLE_TORCH_LIBRARY_IMPL(pointkernels, CPU, library) {
  library.impl("_edge_conv_two_layer_backward", TORCH_BOX(&pointkernels::edge_conv_two_layer_backward));
}
