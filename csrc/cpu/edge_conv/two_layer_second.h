// The second layer of EdgeConv with two, backward: its BatchNorm and weight, for all edges at once.
//
// With t the gradient of a winner before the second LeakyReLU, M edges, scale2 = bn_weight2 / std2 and the second
// pre-activation h2 = W a, BatchNorm's gradient of an edge is
//   scale2 (t - sum(t) / M - (h2 - mean2) / std2 * sum(t xh2) / M),    t = 0 but for winners, xh2 = (h2 - mean2) /
//   std2.
// So the gradient of a = W^T of it is affine in a: dense_start + dense a, and W^T scale2 t where the edge won; h2 is
// not needed again. Likewise the gradient of W over all edges needs sum(a), sum(a a^T) and the activations of the
// winners.
#pragma once

#include <optional>
#include <vector>

#include "../linear/products.h"
#include "two_layer_sums.h"
#include "two_layer_work.h"

namespace pointkernels {

struct TwoLayerInputs {
  const Tensor &grad, &nodes, &neighbors, &offsets, &edges, &bn_weight, &bn_bias, &mean, &var, &weight, &center,
      &bn_weight2, &bn_bias2, &mean2, &var2, &deviation, &slot;
  double eps, negative_slope, eps2, negative_slope2, count;
  bool dense, dense2;  // whether the gradient goes through the statistics of a layer
};

// The second BatchNorm and LeakyReLU, on the winners alone.
template <typename T>
struct TwoLayerWinners {
  std::vector<T> grad;               // (rows, outputs): of the winning second pre-activation, without the dense part
  std::vector<double> bias, weight;  // (outputs): gradients of BatchNorm
  std::vector<T> scale, inverse_std;

  TwoLayerWinners(const TwoLayerShape& shape, const TwoLayerInputs& in)
      : grad(shape.rows * shape.outputs),
        bias(shape.outputs, 0.0),
        weight(shape.outputs, 0.0),
        scale(shape.outputs),
        inverse_std(shape.outputs) {
    const T *bn_weight = in.bn_weight2.const_data_ptr<T>(), *bn_bias = in.bn_bias2.const_data_ptr<T>();
    const T *var = in.var2.const_data_ptr<T>(), *upstream = in.grad.const_data_ptr<T>();
    const T* deviation = in.deviation.const_data_ptr<T>();
    const int32_t* slot = in.slot.const_data_ptr<int32_t>();
    const int64_t* neighbors = in.neighbors.const_data_ptr<int64_t>();
    for (int64_t o = 0; o < shape.outputs; ++o) {
      inverse_std[o] = 1 / std::sqrt(var[o] + static_cast<T>(in.eps2));
      scale[o] = bn_weight[o] * inverse_std[o];
    }
    const int64_t outputs = shape.outputs, units = shape.units(), unit_rows = shape.unit_rows();
    const T slope = static_cast<T>(in.negative_slope2);
    std::vector<double> sums(units * 2 * outputs, 0.0);
    std::atomic<bool> in_range{true};
    parallel_for(units, [&](int64_t first, int64_t last) {
      for (int64_t unit = first; unit < last; ++unit) {
        double *bias_sum = sums.data() + unit * 2 * outputs, *weight_sum = bias_sum + outputs;
        for (int64_t i = unit * unit_rows; i < std::min((unit + 1) * unit_rows, shape.rows); ++i) {
          const int64_t* list = neighbors + i * shape.k;
          const bool has_edge = std::any_of(list, list + shape.k, [](int64_t j) { return j >= 0; });
          for (int64_t o = 0; o < outputs; ++o) {
            const int64_t at = i * outputs + o;
            const int32_t place = slot[at];
            if (has_edge ? place < 0 || place >= shape.k || list[place] < 0 : place != -1) {
              in_range.store(false, std::memory_order_relaxed);
            }
            const T z = scale[o] * deviation[at] + bn_bias[o];
            const T t = has_edge ? upstream[at] * (z > 0 ? T{1} : slope) : T{0};
            grad[at] = scale[o] * t;
            bias_sum[o] += t;
            weight_sum[o] += t * (inverse_std[o] * deviation[at]);
          }
        }
      }
    });
    STD_TORCH_CHECK(in_range.load(), "slot must be what edge_conv_two_layer returned");
    for (int64_t unit = 0; unit < units; ++unit) {
      for (int64_t o = 0; o < outputs; ++o) {
        bias[o] += sums[unit * 2 * outputs + o];
        weight[o] += sums[(unit * 2 + 1) * outputs + o];
      }
    }
  }
};

// The dense part of the second layer: what an edge's activation a gets is start + matrix a.
template <typename T>
struct TwoLayerDensePart {
  std::optional<Panels<T>> panels;  // of the matrix, (H, H)
  std::vector<T> start;
  std::vector<double> factor;  // (outputs): of -(h2 - mean2)

  TwoLayerDensePart(const TwoLayerShape& shape, const TwoLayerInputs& in, const TwoLayerWinners<T>& winners) {
    if (!in.dense2) return;
    const int64_t hidden = shape.padded_hidden();
    const T *weight = in.weight.const_data_ptr<T>(), *mean = in.mean2.const_data_ptr<T>();
    std::vector<double> products(shape.hidden * shape.hidden, 0.0), starts(shape.hidden, 0.0);
    factor.resize(shape.outputs);
    for (int64_t o = 0; o < shape.outputs; ++o) {
      factor[o] = winners.scale[o] * winners.inverse_std[o] * winners.weight[o] / in.count;
      const double offset = factor[o] * mean[o] - winners.scale[o] * winners.bias[o] / in.count;
      const T* row = weight + o * shape.hidden;
      for (int64_t c = 0; c < shape.hidden; ++c) {
        const double scaled = -factor[o] * row[c];
        starts[c] += offset * row[c];
        for (int64_t d = 0; d < shape.hidden; ++d) products[c * shape.hidden + d] += scaled * row[d];
      }
    }
    std::vector<T> matrix(hidden * hidden, T{0});
    start.assign(hidden, T{0});
    for (int64_t c = 0; c < shape.hidden; ++c) {
      start[c] = static_cast<T>(starts[c]);
      for (int64_t d = 0; d < shape.hidden; ++d) {
        matrix[c * hidden + d] = static_cast<T>(products[c * shape.hidden + d]);
      }
    }
    panels.emplace(matrix.data(), hidden, hidden, hidden, 1);
  }
};

template <typename T>
void write_second_weight_gradient(const TwoLayerShape& shape, const TwoLayerInputs& in,
                                  const TwoLayerWinners<T>& winners, const TwoLayerDensePart<T>& dense,
                                  const UnitSums& sums, T* grad_weight) {
  const int64_t hidden = shape.hidden, padded = shape.padded_hidden();
  const T* weight = in.weight.const_data_ptr<T>();
  // The covariance of the activations, times M.
  std::vector<double> covariance(in.dense2 ? hidden * hidden : 0), row(hidden);
  for (int64_t c = 0; c < hidden && in.dense2; ++c) {
    for (int64_t d = 0; d < hidden; ++d) {
      covariance[c * hidden + d] =
          sums.gram[std::min(c, d) * padded + std::max(c, d)] - sums.activation[c] * sums.activation[d] / in.count;
    }
  }
  for (int64_t o = 0; o < shape.outputs; ++o) {
    for (int64_t c = 0; c < hidden; ++c) row[c] = sums.weight[o * padded + c];
    if (in.dense2) {
      const double bias = winners.scale[o] * winners.bias[o] / in.count;
      for (int64_t c = 0; c < hidden; ++c) row[c] -= bias * sums.activation[c];
      for (int64_t d = 0; d < hidden; ++d) {
        const double scaled = dense.factor[o] * weight[o * hidden + d];
        for (int64_t c = 0; c < hidden; ++c) row[c] -= scaled * covariance[d * hidden + c];
      }
    }
    for (int64_t c = 0; c < hidden; ++c) grad_weight[o * hidden + c] = static_cast<T>(row[c]);
  }
}

}  // namespace pointkernels
