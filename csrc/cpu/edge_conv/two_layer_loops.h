// Inner loops of EdgeConv with two layers, compiled once per instruction set: channels run over vectors.
#pragma once

#include <cstdint>

#include "../simd/simd.h"
#include "two_layer.h"
#include "two_layer_products.h"

namespace {

using pointkernels::kTwoLayerBlock;
using pointkernels::TwoLayerBackward;
using pointkernels::TwoLayerEdges;
using pointkernels::TwoLayerForward;
using pointkernels::TwoLayerKernels;
using pointkernels::TwoLayerSums;
using pointkernels::TwoLayerTile;

// Asks for the rows that row i's edges lead to, before they are needed: each lies elsewhere.
template <typename T>
void prefetch_edges(const TwoLayerEdges<T>& task, int64_t i) {
  const int64_t* list = task.neighbors + i * task.k;
  const T* cloud = task.nodes + i / task.cloud_size * task.cloud_size * 2 * task.hidden;
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int64_t s = 0; s < task.k; ++s) {
    if (list[s] < 0) continue;
    const T* row = cloud + list[s] * 2 * task.hidden;
    for (int64_t c = 0; c < task.hidden; c += kLine) __builtin_prefetch(row + c);
  }
}

// The first layer on the edges of row i: activations, and deviations where there is room for them. Forward and backward
// must agree on each sign, so both call this. Returns the number of edges.
template <typename T>
int64_t activate_edges(const TwoLayerEdges<T>& task, int64_t i, T* deviations, T* activations) {
  using V = Vector<T>;
  const int64_t* list = task.neighbors + i * task.k;
  const T* cloud = task.nodes + i / task.cloud_size * task.cloud_size * 2 * task.hidden;
  const T* own = task.nodes + (2 * i + 1) * task.hidden;
  const V slope = V::broadcast(task.negative_slope), zero = V::broadcast(0);
  int64_t count = 0;
  for (int64_t c = 0; c < task.hidden; c += V::width) {
    const V v = V::load(own + c), mean = V::load(task.mean + c), scale = V::load(task.scale + c);
    const V bias = V::load(task.bias + c), center = V::load(task.center + c);
    count = 0;
    for (int64_t s = 0; s < task.k; ++s) {
      if (list[s] < 0) continue;
      const V deviation = V::load(cloud + list[s] * 2 * task.hidden + c) + v - mean;
      const V z = V::fma(scale, deviation, bias);
      const V activation = V::select(V::less(zero, z), z, slope * z) - center;
      if (deviations != nullptr) deviation.store(deviations + count * task.hidden + c);
      activation.store(activations + count * task.hidden + c);
      ++count;
    }
  }
  return count;
}

template <typename T>
int64_t edge_count(const TwoLayerEdges<T>& task, int64_t i) {
  int64_t count = 0;
  for (int64_t s = 0; s < task.k; ++s) count += task.neighbors[i * task.k + s] >= 0;
  return count;
}

// Zeros for the edges that a last block has too few of.
template <typename T>
int64_t fill_block(T* rows, int64_t edges, int64_t width) {
  const int64_t filled = (edges + kTwoLayerBlock - 1) / kTwoLayerBlock * kTwoLayerBlock;
  for (int64_t n = edges * width; n < filled * width; ++n) rows[n] = 0;
  return filled;
}

template <typename T>
void edge_moments(const TwoLayerEdges<T>& task, int64_t begin, int64_t end, double* moments) {
  using V = Vector<T>;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t* list = task.neighbors + i * task.k;
    const T* cloud = task.nodes + i / task.cloud_size * task.cloud_size * 2 * task.hidden;
    const T* own = task.nodes + (2 * i + 1) * task.hidden;
    const int64_t edges = edge_count(task, i);
    if (edges == 0) continue;
    for (int64_t c = 0; c < task.hidden; c += V::width) {
      V sum = V::broadcast(0), squares = V::broadcast(0);
      for (int64_t s = 0; s < task.k; ++s) {
        if (list[s] < 0) continue;
        const V u = V::load(cloud + list[s] * 2 * task.hidden + c);
        sum = sum + u;
        squares = V::fma(u, u, squares);
      }
      const V v = V::load(own + c), total = V::fma(V::broadcast(static_cast<T>(edges)), v, sum);
      total.add_to(moments + c);
      V::fma(v, sum + total, squares).add_to(moments + task.hidden + c);
    }
  }
}

// The winners among `count` edges of row i, whose second pre-activations are given.
template <typename T>
void find_winners(const TwoLayerForward<T>& task, int64_t i, const T* products, int64_t count, double* moments) {
  using V = Vector<T>;
  const int64_t outputs = task.edges.outputs;
  const int64_t* list = task.edges.neighbors + i * task.edges.k;
  for (int64_t c = 0; c < outputs; c += V::width) {
    const V sign = V::load(task.sign + c);
    V best = V::broadcast(0), places = V::broadcast(-1), sum = V::broadcast(0), squares = V::broadcast(0);
    int64_t e = 0;
    for (int64_t s = 0; e < count; ++s) {
      if (list[s] < 0) continue;
      const V h = V::load(products + e * outputs + c);
      const V place = V::broadcast(static_cast<T>(s));
      if (e == 0) {
        best = h;
        places = place;
      } else {
        // A NaN beats any number and is beaten by nothing, as in torch.max.
        const auto wins = V::both(V::above(h * sign, best * sign), V::is_number(best * sign));
        best = V::select(wins, h, best);
        places = V::select(wins, place, places);
      }
      sum = sum + h;
      squares = V::fma(h, h, squares);
      ++e;
    }
    best.store(task.best + i * outputs + c);
    places.store_integers(task.slot + i * outputs + c);
    if (moments == nullptr) continue;
    sum.add_to(moments + c);
    squares.add_to(moments + outputs + c);
  }
}

template <typename T>
void two_layer_forward(const TwoLayerForward<T>& task, int64_t begin, int64_t end, const TwoLayerTile<T>& tile,
                       double* moments) {
  const int64_t hidden = task.edges.hidden, outputs = task.edges.outputs;
  const int64_t capacity = pointkernels::two_layer_tile(task.edges.k);
  for (int64_t first = begin; first < end;) {
    int64_t edges = 0, last = first;
    for (; last < end && edges + task.edges.k <= capacity; ++last) {
      if (last + 1 < end) prefetch_edges(task.edges, last + 1);
      edges += activate_edges<T>(task.edges, last, nullptr, tile.activations + edges * hidden);
    }
    const int64_t filled = fill_block(tile.activations, edges, hidden);
    multiply_edges(tile.activations, filled, hidden, task.weight, outputs, tile.products);
    int64_t done = 0;
    for (; first < last; ++first) {
      const int64_t count = edge_count(task.edges, first);
      find_winners(task, first, tile.products + done * outputs, count, moments);
      done += count;
    }
  }
}

// The gradient of the winners of row i: into the gradients of the activations of their edges, and into the weight's.
template <typename T>
void add_winners(const TwoLayerBackward<T>& task, int64_t i, const T* activations, const int32_t* edges, T* products,
                 T* grad_weight) {
  using V = Vector<T>;
  const int64_t hidden = task.edges.hidden;
  for (int64_t o = 0; o < task.edges.outputs; ++o) {
    const int64_t e = edges[task.slot[i * task.edges.outputs + o]];
    const V grad = V::broadcast(task.winner_grad[i * task.edges.outputs + o]);
    const T *activation = activations + e * hidden, *weight = task.weight + o * hidden;
    T *product = products + e * hidden, *sum = grad_weight + o * hidden;
    for (int64_t c = 0; c < hidden; c += V::width) {
      V::fma(grad, V::load(weight + c), V::load(product + c)).store(product + c);
      V::fma(grad, V::load(activation + c), V::load(sum + c)).store(sum + c);
    }
  }
}

// Row i of the tile, from the gradients of its activations on; `row` counts from the first row of sums.
template <typename T>
void finish_row(const TwoLayerBackward<T>& task, int64_t i, int64_t row, const T* deviations, const T* products,
                const TwoLayerSums<T>& sums) {
  using V = Vector<T>;
  const int64_t hidden = task.edges.hidden, k = task.edges.k;
  const int64_t* list = task.edges.neighbors + i * k;
  const V slope = V::broadcast(task.edges.negative_slope), zero = V::broadcast(0);
  for (int64_t c = 0; c < hidden; c += V::width) {
    const V scale = V::load(task.edges.scale + c), bias = V::load(task.edges.bias + c);
    const V start = task.dense != nullptr ? V::load(task.dense_start + c) : zero;
    V grad_sum = zero, deviation_sum = zero, product_sum = zero;
    const T *deviation_of = deviations + c, *product_of = products + c;
    T* edge_grad = sums.edge_grad + row * k * hidden + c;
    for (int64_t s = 0; s < k; ++s, edge_grad += hidden) {
      if (list[s] < 0) continue;
      const V deviation = V::load(deviation_of), product = V::load(product_of) + start;
      const V z = V::fma(scale, deviation, bias);
      const V grad = V::select(V::less(zero, z), product, slope * product);
      grad.store(edge_grad);
      grad_sum = grad_sum + grad;
      deviation_sum = deviation_sum + deviation;
      product_sum = V::fma(grad, deviation, product_sum);
      deviation_of += hidden;
      product_of += hidden;
    }
    grad_sum.store(sums.row_grad + row * 2 * hidden + c);
    deviation_sum.store(sums.row_deviation + row * hidden + c);
    grad_sum.add_to(sums.grad_sum + c);
    product_sum.add_to(sums.grad_deviation + c);
  }
}

template <typename T>
void two_layer_backward(const TwoLayerBackward<T>& task, int64_t begin, int64_t end, const TwoLayerTile<T>& tile,
                        const TwoLayerSums<T>& sums) {
  using V = Vector<T>;
  const int64_t hidden = task.edges.hidden, k = task.edges.k;
  const int64_t capacity = pointkernels::two_layer_tile(k);
  for (int64_t first = begin; first < end;) {
    int64_t edges = 0, last = first;
    for (; last < end && edges + k <= capacity; ++last) {
      if (last + 1 < end) prefetch_edges(task.edges, last + 1);
      edges += activate_edges(task.edges, last, tile.deviations + edges * hidden, tile.activations + edges * hidden);
    }
    if (task.dense != nullptr) {
      const int64_t filled = fill_block(tile.activations, edges, hidden);
      multiply_edges(tile.activations, filled, hidden, task.dense, hidden, tile.products);
      add_gram(tile.activations, edges, hidden, sums.gram);
      for (int64_t c = 0; c < hidden; c += V::width) {
        V sum = V::load(sums.activation_sum + c);
        for (int64_t e = 0; e < edges; ++e) sum = sum + V::load(tile.activations + e * hidden + c);
        sum.store(sums.activation_sum + c);
      }
    } else {
      for (int64_t n = 0; n < edges * hidden; ++n) tile.products[n] = 0;
    }
    int64_t done = 0;
    for (; first < last; ++first) {
      int32_t count = 0;
      for (int64_t s = 0; s < k; ++s) {
        tile.edges[s] = count;
        count += task.edges.neighbors[first * k + s] >= 0;
      }
      const int64_t at = done * hidden;
      if (count > 0) {
        add_winners(task, first, tile.activations + at, tile.edges, tile.products + at, sums.grad_weight);
      }
      finish_row(task, first, first - begin, tile.deviations + at, tile.products + at, sums);
      done += count;
    }
  }
}

template <typename T>
void add_rows(const T* from, int64_t stride, const int64_t* rows, int64_t count, int64_t first, int64_t divisor,
              int64_t width, T* sum) {
  using V = Vector<T>;
  constexpr int64_t kCount = 4;
  const auto row_of = [divisor](int64_t n) { return divisor == 1 ? n : n / divisor; };  // division is slow
  int64_t c = 0;
  for (; c + kCount * V::width <= width; c += kCount * V::width) {
    V sums[kCount];
    for (int64_t n = 0; n < kCount; ++n) sums[n] = V::load(sum + c + n * V::width);
    for (int64_t r = 0; r < count; ++r) {
      const T* row = from + row_of(rows[r] - first) * stride + c;
      for (int64_t n = 0; n < kCount; ++n) sums[n] = sums[n] + V::load(row + n * V::width);
    }
    for (int64_t n = 0; n < kCount; ++n) sums[n].store(sum + c + n * V::width);
  }
  for (; c < width; c += V::width) {
    V total = V::load(sum + c);
    for (int64_t r = 0; r < count; ++r) total = total + V::load(from + row_of(rows[r] - first) * stride + c);
    total.store(sum + c);
  }
}

template <typename T>
constexpr TwoLayerKernels<T> two_layer_table() {
  TwoLayerKernels<T> table{};
  table.moments = edge_moments<T>;
  table.forward = two_layer_forward<T>;
  table.backward = two_layer_backward<T>;
  table.add_rows = add_rows<T>;
  return table;
}

template <typename T>
constexpr TwoLayerKernels<T> kTwoLayerKernels = two_layer_table<T>();

}  // namespace
