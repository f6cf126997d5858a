// Inner loops of EdgeConv's backward pass, compiled once per instruction set.
#pragma once

#include <cstdint>

#include "../simd/simd.h"
#include "edge_conv.h"
#include "edge_conv_loops.h"

namespace {

using pointkernels::EdgeConvScatter;
using pointkernels::EdgeConvWinners;

// The gradient of the winning edges of a row before activation, and how far they are from the mean.
template <typename V, typename T>
V winner_gradient(const EdgeConvWinners<T>& task, int64_t i, int64_t channel, V* offset) {
  *offset = V::load(task.extremum + i * task.channels + channel) - V::load(task.mean + channel);
  const V z = V::load(task.scale + channel) * *offset + V::load(task.bn_bias + channel);
  const V slope = V::select(V::less(V::broadcast(0), z), V::broadcast(1), V::broadcast(task.negative_slope));
  return V::load(task.grad + i * task.channels + channel) * slope;
}

template <typename V, typename T>
void sum_winners(const EdgeConvWinners<T>& task, int64_t i, int64_t channel, double* sums) {
  V offset;
  const V grad = winner_gradient<V>(task, i, channel, &offset);
  grad.add_to(sums + channel);
  (grad * (V::load(task.deviation + channel) * offset)).add_to(sums + task.channels + channel);
}

template <typename T>
void edge_conv_winners(const EdgeConvWinners<T>& task, int64_t begin, int64_t end, double* sums) {
  using V = Vector<T>;
  for (int64_t i = begin; i < end; ++i) {
    if (!has_edge(task.slot, task.k, i * task.channels)) continue;
    int64_t channel = 0;
    for (; channel + V::width <= task.channels; channel += V::width) sum_winners<V>(task, i, channel, sums);
    for (; channel < task.channels; ++channel) sum_winners<Lane<T>>(task, i, channel, sums);
  }
}

// With t the gradient of the winning edge of row i, edge (i, s) brings row j's gradient of u
//   dense_scale v_i, and scale t where it won,
// and row j's own part is in_degree (dense_scale (u_j - mean) + dense_bias); the gradient of v is alike. Rows are added
// to in the order of the edges, whatever the number of threads.
template <typename V, int64_t kCount, typename Slot, bool kDense>
void scatter_channels(const EdgeConvScatter<typename V::value>& task, int64_t channel) {
  using T = typename V::value;
  const EdgeConvWinners<T>& winners = task.winners;
  const int64_t channels = winners.channels, k = winners.k, stride = task.stride;
  const V zero = V::broadcast(0);
  for (int64_t j = 0; j < task.rows; ++j) {
    T* const u = task.nodes + j * stride + channel;
    const V in = V::broadcast(static_cast<T>(task.in_degrees[j]));
    for (int64_t c = 0; c < kCount; ++c) {
      const int64_t at = c * V::width;
      V own = zero;
      if constexpr (kDense) {
        const V offset = V::load(u + at) - V::load(winners.mean + channel + at);
        own = in * V::fma(V::load(task.dense_scale + channel + at), offset, V::load(task.dense_bias + channel + at));
      }
      own.store(u + 2 * channels + at);
    }
  }
  for (int64_t i = 0; i < task.rows; ++i) {
    const int64_t* list = task.neighbors + i * k;
    const Slot* slot = static_cast<const Slot*>(winners.slot) + i * channels + channel;
    T* const cloud = task.nodes + i / task.cloud_size * task.cloud_size * stride + channel;
    T* const v = task.nodes + i * stride + channels + channel;
    V grad[kCount], lost[kCount], won[kCount], gathered[kCount];
    for (int64_t c = 0; c < kCount; ++c) {
      const int64_t at = channel + c * V::width;
      V offset;
      grad[c] = lost[c] = gathered[c] = zero;
      if (task.degrees[i] > 0) grad[c] = V::load(winners.scale + at) * winner_gradient<V>(winners, i, at, &offset);
      if constexpr (kDense) lost[c] = V::load(task.dense_scale + at) * V::load(v + c * V::width);
      won[c] = grad[c] + lost[c];
    }
    for (int64_t s = 0; s < k; ++s) {
      if (list[s] < 0) continue;
      T* const u = cloud + list[s] * stride;
      T* const to = u + 2 * channels;
      for (int64_t c = 0; c < kCount; ++c) {
        const int64_t at = c * V::width;
        const V part = V::select(V::matches(slot + at, s), won[c], lost[c]);
        (V::load(to + at) + part).store(to + at);
        if constexpr (kDense) gathered[c] = gathered[c] + V::load(u + at);
      }
    }
    const V out = V::broadcast(static_cast<T>(task.degrees[i]));
    for (int64_t c = 0; c < kCount; ++c) {
      if constexpr (kDense) {
        const int64_t at = channel + c * V::width;
        const V deviations = V::fma(out, V::load(v + c * V::width) - V::load(winners.mean + at), gathered[c]);
        grad[c] = grad[c] + V::fma(V::load(task.dense_scale + at), deviations, out * V::load(task.dense_bias + at));
      }
      grad[c].store(v + c * V::width);
    }
  }
}

template <typename T, typename Slot, bool kDense>
void scatter_slots(const EdgeConvScatter<T>& task, int64_t begin, int64_t end) {
  using V = Vector<T>;
  constexpr int64_t kCount = 2;
  int64_t channel = begin;
  for (; channel + kCount * V::width <= end; channel += kCount * V::width) {
    scatter_channels<V, kCount, Slot, kDense>(task, channel);
  }
  for (; channel + V::width <= end; channel += V::width) scatter_channels<V, 1, Slot, kDense>(task, channel);
  for (; channel < end; ++channel) scatter_channels<Lane<T>, 1, Slot, kDense>(task, channel);
}

template <typename T>
void edge_conv_scatter(const EdgeConvScatter<T>& task, int64_t begin, int64_t end) {
  if (task.winners.k <= kMaxByteSlots) {
    (task.dense ? scatter_slots<T, uint8_t, true> : scatter_slots<T, uint8_t, false>)(task, begin, end);
  } else {
    (task.dense ? scatter_slots<T, int32_t, true> : scatter_slots<T, int32_t, false>)(task, begin, end);
  }
}

}  // namespace
