// Inner loops of EdgeConv, compiled once per instruction set: channels run over vectors, edges are walked one by one.
#pragma once

#include <cstdint>

#include "edge_conv.h"
#include "isa.h"
#include "simd.h"

namespace {

using pointkernels::EdgeConvGather;
using pointkernels::EdgeConvScatter;
using pointkernels::kMaxByteSlots;

template <typename V>
void store_slots(V slots, void* row, int64_t channel, bool bytes) {
  typename V::value numbers[V::width];
  slots.store(numbers);
  for (int64_t lane = 0; lane < V::width; ++lane) {
    const int32_t number = static_cast<int32_t>(numbers[lane]);
    if (bytes) {
      static_cast<uint8_t*>(row)[channel + lane] = static_cast<uint8_t>(number);
    } else {
      static_cast<int32_t*>(row)[channel + lane] = number;
    }
  }
}

// kCount vectors of channels of one row. first_slot is the first valid place of the list, or k when there is none.
template <typename V, int64_t kCount, bool kStatistics>
void gather_channels(const EdgeConvGather<typename V::value>& task, int64_t i, int64_t first_slot, int64_t edge_count,
                     int64_t channel, double* moments) {
  using T = typename V::value;
  const int64_t stride = 2 * task.channels;
  const int64_t cloud_first = i / task.cloud_size * task.cloud_size;
  const int64_t* list = task.neighbors + i * task.k;
  const T* own = task.nodes + i * stride + task.channels + channel;
  const bool bytes = task.k <= kMaxByteSlots;
  void* slot_row = bytes ? static_cast<void*>(static_cast<uint8_t*>(task.slot) + i * task.channels)
                         : static_cast<void*>(static_cast<int32_t*>(task.slot) + i * task.channels);

  V sign[kCount], best[kCount], slots[kCount], sum[kCount], squares[kCount];
  for (int64_t c = 0; c < kCount; ++c) {
    const V weight = V::load(task.bn_weight + channel + c * V::width);
    const V zero = V::broadcast(0);
    sign[c] = V::select(V::less(weight, zero), V::broadcast(-1), V::broadcast(1));
    sign[c] = V::select(V::equal(weight, zero), zero, sign[c]);
    best[c] = sum[c] = squares[c] = zero;
    slots[c] = V::broadcast(first_slot < task.k ? static_cast<T>(first_slot) : static_cast<T>(-1));
  }
  for (int64_t s = first_slot; s < task.k; ++s) {
    if (list[s] < 0) continue;
    const T* neighbor = task.nodes + (cloud_first + list[s]) * stride + channel;
    const V place = V::broadcast(static_cast<T>(s));
    for (int64_t c = 0; c < kCount; ++c) {
      const V u = V::load(neighbor + c * V::width);
      if (s == first_slot) best[c] = u;
      // A NaN beats any number and is beaten by nothing, as in torch.max.
      const auto wins = V::both(V::above(u * sign[c], best[c] * sign[c]), V::is_number(best[c] * sign[c]));
      best[c] = V::select(wins, u, best[c]);
      slots[c] = V::select(wins, place, slots[c]);
      if constexpr (kStatistics) {
        sum[c] = sum[c] + u;
        squares[c] = V::fma(u, u, squares[c]);
      }
    }
  }
  for (int64_t c = 0; c < kCount; ++c) {
    const int64_t at = channel + c * V::width;
    const V v = V::load(own + c * V::width);
    (best[c] + v).store(task.extremum + i * task.channels + at);
    store_slots(slots[c], slot_row, at, bytes);
    if constexpr (kStatistics) {
      sum[c].store(task.gathered + i * task.channels + at);
      T sums[V::width], square_sums[V::width], vs[V::width];
      sum[c].store(sums);
      squares[c].store(square_sums);
      v.store(vs);
      if (edge_count == 0) continue;
      const double edges = static_cast<double>(edge_count);
      for (int64_t lane = 0; lane < V::width; ++lane) {
        const double a = sums[lane], b = vs[lane];
        moments[at + lane] += a + edges * b;
        moments[task.channels + at + lane] += square_sums[lane] + b * (2 * a + edges * b);
      }
    }
  }
}

template <typename T, bool kStatistics>
void gather_rows(const EdgeConvGather<T>& task, int64_t begin, int64_t end, double* moments) {
  using V = Vector<T>;
  // Four vectors of state each fit the 32 registers of AVX-512; narrower sets have 16.
  constexpr int64_t kCount = V::width * sizeof(T) == 64 ? 4 : 2;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t* list = task.neighbors + i * task.k;
    int64_t first_slot = 0;
    while (first_slot < task.k && list[first_slot] < 0) ++first_slot;
    int64_t edge_count = 0;
    for (int64_t s = first_slot; s < task.k; ++s) edge_count += list[s] >= 0;
    int64_t channel = 0;
    for (; channel + kCount * V::width <= task.channels; channel += kCount * V::width) {
      gather_channels<V, kCount, kStatistics>(task, i, first_slot, edge_count, channel, moments);
    }
    for (; channel + V::width <= task.channels; channel += V::width) {
      gather_channels<V, 1, kStatistics>(task, i, first_slot, edge_count, channel, moments);
    }
    for (; channel < task.channels; ++channel) {
      gather_channels<Lane<T>, 1, kStatistics>(task, i, first_slot, edge_count, channel, moments);
    }
  }
}

template <typename T>
void edge_conv_gather(const EdgeConvGather<T>& task, int64_t begin, int64_t end, double* moments) {
  if (task.gathered != nullptr) {
    gather_rows<T, true>(task, begin, end, moments);
  } else {
    gather_rows<T, false>(task, begin, end, moments);
  }
}

// grad u_j = scale * (gradients of the edges at j that won) + the dense part of BatchNorm, and grad v_i alike.
template <typename V, int64_t kCount, typename Slot>
void scatter_channels(const EdgeConvScatter<typename V::value>& task, int64_t j, int64_t edge_count, int64_t channel) {
  using T = typename V::value;
  const int64_t stride = 2 * task.channels;
  const bool dense = task.gathered != nullptr;
  V won[kCount], gathered_back[kCount];
  for (int64_t c = 0; c < kCount; ++c) won[c] = gathered_back[c] = V::broadcast(0);
  const int64_t in_begin = task.offsets[j], in_end = task.offsets[j + 1];
  for (int64_t e = in_begin; e < in_end; ++e) {
    const int64_t i = task.edges[e] / task.k;
    const int64_t s = task.edges[e] - i * task.k;
    const T* grad = task.winner_grad + i * task.channels + channel;
    const Slot* slot = static_cast<const Slot*>(task.slot) + i * task.channels + channel;
    const T* v = task.nodes + i * stride + task.channels + channel;
    for (int64_t c = 0; c < kCount; ++c) {
      const auto mine = V::matches(slot + c * V::width, s);
      won[c] = won[c] + V::select(mine, V::load(grad + c * V::width), V::broadcast(0));
      if (dense) gathered_back[c] = gathered_back[c] + V::load(v + c * V::width);
    }
  }
  const T in_degree = static_cast<T>(in_end - in_begin), out_degree = static_cast<T>(edge_count);
  for (int64_t c = 0; c < kCount; ++c) {
    const int64_t at = channel + c * V::width;
    const V scale = V::load(task.scale + at);
    V grad_u = scale * won[c];
    V grad_v = scale * V::load(task.winner_grad + j * task.channels + at);
    if (dense) {
      const V mean = V::load(task.mean + at);
      const V dense_scale = V::load(task.dense_scale + at), dense_bias = V::load(task.dense_bias + at);
      const V u = V::load(task.nodes + j * stride + at), v = V::load(task.nodes + j * stride + task.channels + at);
      const V gathered = V::load(task.gathered + j * task.channels + at);
      const V in = V::broadcast(in_degree), out = V::broadcast(out_degree);
      grad_u = grad_u + dense_scale * (in * (u - mean) + gathered_back[c]) + in * dense_bias;
      grad_v = grad_v + dense_scale * (out * (v - mean) + gathered) + out * dense_bias;
    }
    grad_u.store(task.grad_nodes + j * stride + at);
    grad_v.store(task.grad_nodes + j * stride + task.channels + at);
  }
}

template <typename T, typename Slot>
void scatter_rows(const EdgeConvScatter<T>& task, int64_t begin, int64_t end) {
  using V = Vector<T>;
  constexpr int64_t kCount = 4;
  for (int64_t j = begin; j < end; ++j) {
    int64_t edge_count = 0;
    for (int64_t s = 0; s < task.k; ++s) edge_count += task.neighbors[j * task.k + s] >= 0;
    int64_t channel = 0;
    for (; channel + kCount * V::width <= task.channels; channel += kCount * V::width) {
      scatter_channels<V, kCount, Slot>(task, j, edge_count, channel);
    }
    for (; channel + V::width <= task.channels; channel += V::width) {
      scatter_channels<V, 1, Slot>(task, j, edge_count, channel);
    }
    for (; channel < task.channels; ++channel) scatter_channels<Lane<T>, 1, Slot>(task, j, edge_count, channel);
  }
}

template <typename T>
void edge_conv_scatter(const EdgeConvScatter<T>& task, int64_t begin, int64_t end) {
  if (task.k <= kMaxByteSlots) {
    scatter_rows<T, uint8_t>(task, begin, end);
  } else {
    scatter_rows<T, int32_t>(task, begin, end);
  }
}

}  // namespace
