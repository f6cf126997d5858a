// Inner loops of EdgeConv, compiled once per instruction set: channels run over vectors, edges are walked one by one.
#pragma once

#include <cstdint>

#include "edge_conv.h"
#include "isa.h"
#include "simd.h"

namespace {

using pointkernels::EdgeConvGather;
using pointkernels::EdgeConvNormalize;
using pointkernels::EdgeConvPiece;
using pointkernels::EdgeConvScatter;
using pointkernels::EdgeConvWinners;
using pointkernels::kMaxByteSlots;

// Slots are carried as floating numbers, which are exact for k < 2^24.
template <typename V>
void store_slots(V slots, void* row, int64_t channel, bool bytes) {
  int32_t numbers[V::width];
  slots.store_integers(numbers);
  for (int64_t lane = 0; lane < V::width; ++lane) {
    if (bytes) {
      static_cast<uint8_t*>(row)[channel + lane] = static_cast<uint8_t>(numbers[lane]);
    } else {
      static_cast<int32_t*>(row)[channel + lane] = numbers[lane];
    }
  }
}

// The neighbours of a row.
struct EdgeList {
  const int64_t* neighbors;
  int64_t k, valid;    // places, and those of them that hold a neighbour
  int64_t first_slot;  // the first of those, k when there is none
  int64_t cloud_first;
};

// kCount vectors of channels of a row. Products are compared by their keys, times 1, -1 or 0 by the sign of BatchNorm's
// weight, so that the largest wins.
template <typename V, int64_t kCount, bool kStatistics>
struct Gathered {
  using T = typename V::value;
  V sign[kCount], best[kCount], slots[kCount], sum[kCount], squares[kCount];

  void clear(const T* bn_weight, V first_slot) {
    for (int64_t c = 0; c < kCount; ++c) {
      const V weight = V::load(bn_weight + c * V::width), zero = V::broadcast(0);
      sign[c] = V::select(V::less(weight, zero), V::broadcast(-1), V::broadcast(1));
      sign[c] = V::select(V::equal(weight, zero), zero, sign[c]);
      best[c] = V::broadcast(-static_cast<T>(__builtin_inf()));
      slots[c] = first_slot;
      sum[c] = squares[c] = zero;
    }
  }

  // Of the neighbours from the first on, whose products must be finite.
  template <bool kHoles>
  void gather(const T* nodes, int64_t stride, const EdgeList& list) {
    V place = V::broadcast(static_cast<T>(list.first_slot));
    for (int64_t s = list.first_slot; s < list.k; ++s, place = place + V::broadcast(1)) {
      if (kHoles && list.neighbors[s] < 0) continue;
      const T* neighbor = nodes + list.neighbors[s] * stride;
      for (int64_t c = 0; c < kCount; ++c) {
        const V u = V::load(neighbor + c * V::width);
        const V key = u * sign[c];
        slots[c] = V::select(V::less(best[c], key), place, slots[c]);
        best[c] = V::max_or_second(key, best[c]);
        sum[c] = sum[c] + u;
        if constexpr (kStatistics) squares[c] = V::fma(u, u, squares[c]);
      }
    }
    for (int64_t c = 0; c < kCount && list.valid > 0; ++c) {
      const V first = V::load(nodes + list.neighbors[list.first_slot] * stride + c * V::width);
      const auto no_sign = V::equal(sign[c], V::broadcast(0));
      best[c] = V::select(no_sign, first, best[c] * sign[c]);
      slots[c] = V::select(no_sign, V::broadcast(static_cast<T>(list.first_slot)), slots[c]);
    }
  }

  // A product that is not finite leaves its mark in the sum.
  bool finite() const {
    bool all = true;
    for (int64_t c = 0; c < kCount; ++c) {
      all = all && V::bits(V::is_number(sum[c] - sum[c])) == (uint64_t{1} << V::width) - 1;
    }
    return all;
  }

  // The winners for any products: a NaN beats any number and is beaten by nothing, as in torch.max.
  void gather_winners(const T* nodes, int64_t stride, const EdgeList& list) {
    for (int64_t s = list.first_slot; s < list.k; ++s) {
      if (list.neighbors[s] < 0) continue;
      const V place = V::broadcast(static_cast<T>(s));
      for (int64_t c = 0; c < kCount; ++c) {
        const V u = V::load(nodes + list.neighbors[s] * stride + c * V::width);
        if (s == list.first_slot) {
          best[c] = u;
          slots[c] = place;
        }
        const auto wins = V::both(V::above(u * sign[c], best[c] * sign[c]), V::is_number(best[c] * sign[c]));
        best[c] = V::select(wins, u, best[c]);
        slots[c] = V::select(wins, place, slots[c]);
      }
    }
  }
};

template <typename V, int64_t kCount, bool kStatistics>
void gather_channels(const EdgeConvGather<typename V::value>& task, int64_t i, const EdgeList& list, int64_t channel,
                     double* moments) {
  using T = typename V::value;
  constexpr int64_t kWidth = kCount * V::width;
  const int64_t stride = 2 * task.channels;
  const T* nodes = task.nodes + list.cloud_first * stride + channel;
  const T* own = task.nodes + i * stride + task.channels + channel;
  const bool bytes = task.k <= kMaxByteSlots;
  void* slot_row = bytes ? static_cast<void*>(static_cast<uint8_t*>(task.slot) + i * task.channels)
                         : static_cast<void*>(static_cast<int32_t*>(task.slot) + i * task.channels);
  Gathered<V, kCount, kStatistics> of;
  of.clear(task.bn_weight + channel, V::broadcast(list.valid > 0 ? static_cast<T>(list.first_slot) : T{-1}));
  if (list.valid == task.k) {
    of.template gather<false>(nodes, stride, list);
  } else {
    of.template gather<true>(nodes, stride, list);
  }
  if (!of.finite()) of.gather_winners(nodes, stride, list);
  T* extremum = task.extremum + i * task.channels + channel;
  for (int64_t c = 0; c < kCount; ++c) {
    const V v = V::load(own + c * V::width);
    (list.valid > 0 ? of.best[c] + v : v).store(extremum + c * V::width);  // without neighbours as on a GPU; never read
    store_slots(of.slots[c], slot_row, channel + c * V::width, bytes);
  }
  if constexpr (kStatistics) {
    T sums[kWidth], squares[kWidth];
    for (int64_t c = 0; c < kCount; ++c) {
      of.sum[c].store(task.gathered + i * task.channels + channel + c * V::width);
      of.sum[c].store(sums + c * V::width);
      of.squares[c].store(squares + c * V::width);
    }
    if (list.valid == 0) return;
    // With a = sum of u and b = v: the sum of u + v over the edges, and of its square.
    const double edges = static_cast<double>(list.valid);
    for (int64_t c = 0; c < kWidth; ++c) {
      const double a = sums[c], b = own[c], total = a + edges * b;
      moments[channel + c] += total;
      moments[task.channels + channel + c] += squares[c] + b * (a + total);
    }
  }
}

// Returns the number of edges, or -1 where a neighbour is none of the cloud.
template <typename T, bool kStatistics>
int64_t gather_rows(const EdgeConvGather<T>& task, const EdgeConvPiece& piece, double* moments) {
  using V = Vector<T>;
  // Four vectors of state each fit the 32 registers of AVX-512; narrower sets have 16.
  constexpr int64_t kCount = V::width * sizeof(T) == 64 ? 4 : 2;
  int64_t edges = 0;
  for (int64_t i = piece.begin; i < piece.end; ++i) {
    EdgeList list{task.neighbors + i * task.k, task.k, 0, 0, i / task.cloud_size * task.cloud_size};
    int64_t bad = 0;
    for (int64_t s = 0; s < task.k; ++s) {
      list.valid += list.neighbors[s] >= 0;
      bad += list.neighbors[s] < -1 || list.neighbors[s] >= task.cloud_size;
    }
    if (bad != 0) return -1;
    edges += list.valid;
    while (list.first_slot < task.k && list.neighbors[list.first_slot] < 0) ++list.first_slot;
    int64_t channel = piece.channel_begin;
    for (; channel + kCount * V::width <= piece.channel_end; channel += kCount * V::width) {
      gather_channels<V, kCount, kStatistics>(task, i, list, channel, moments);
    }
    for (; channel + V::width <= piece.channel_end; channel += V::width) {
      gather_channels<V, 1, kStatistics>(task, i, list, channel, moments);
    }
    for (; channel < piece.channel_end; ++channel) {
      gather_channels<Lane<T>, 1, kStatistics>(task, i, list, channel, moments);
    }
  }
  return edges;
}

template <typename T>
int64_t edge_conv_gather(const EdgeConvGather<T>& task, const EdgeConvPiece& piece, double* moments) {
  return task.gathered != nullptr ? gather_rows<T, true>(task, piece, moments)
                                  : gather_rows<T, false>(task, piece, moments);
}

// Whether a row has an edge: if not, its slots are all ones.
inline bool has_edge(const void* slot, int64_t k, int64_t at) {
  return k <= kMaxByteSlots ? static_cast<const uint8_t*>(slot)[at] != kMaxByteSlots
                            : static_cast<const int32_t*>(slot)[at] >= 0;
}

template <typename V, typename T>
void normalize_channels(const EdgeConvNormalize<T>& task, int64_t i, int64_t channel) {
  const V zero = V::broadcast(0);
  const V offset = V::load(task.extremum + i * task.channels + channel) - V::load(task.mean + channel);
  const V z = V::load(task.scale + channel) * offset + V::load(task.bn_bias + channel);
  const V y = V::select(V::less(zero, z), z, V::broadcast(task.negative_slope) * z);
  y.store(task.output + i * task.channels + channel);
}

template <typename T>
void edge_conv_normalize(const EdgeConvNormalize<T>& task, int64_t begin, int64_t end) {
  using V = Vector<T>;
  for (int64_t i = begin; i < end; ++i) {
    int64_t channel = 0;
    if (!has_edge(task.slot, task.k, i * task.channels)) {
      for (; channel < task.channels; ++channel) task.output[i * task.channels + channel] = 0;
    }
    for (; channel + V::width <= task.channels; channel += V::width) normalize_channels<V>(task, i, channel);
    for (; channel < task.channels; ++channel) normalize_channels<Lane<T>>(task, i, channel);
  }
}

template <typename V, typename T>
void winner_channels(const EdgeConvWinners<T>& task, int64_t i, int64_t channel, double* bias_sums,
                     double* weight_sums) {
  const V zero = V::broadcast(0);
  const V offset = V::load(task.extremum + i * task.channels + channel) - V::load(task.mean + channel);
  const V z = V::load(task.scale + channel) * offset + V::load(task.bn_bias + channel);
  const V slope = V::select(V::less(zero, z), V::broadcast(1), V::broadcast(task.negative_slope));
  const V t = V::load(task.grad + i * task.channels + channel) * slope;
  if (task.winner_grad != nullptr) t.store(task.winner_grad + i * task.channels + channel);
  if (bias_sums == nullptr) return;
  T lanes[V::width], normalised[V::width];
  t.store(lanes);
  (t * (V::load(task.deviation + channel) * offset)).store(normalised);
  for (int64_t lane = 0; lane < V::width; ++lane) {
    bias_sums[channel + lane] += lanes[lane];
    weight_sums[channel + lane] += normalised[lane];
  }
}

template <typename T>
void edge_conv_winners(const EdgeConvWinners<T>& task, int64_t begin, int64_t end, double* sums) {
  using V = Vector<T>;
  double* const weight_sums = sums == nullptr ? nullptr : sums + task.channels;
  for (int64_t i = begin; i < end; ++i) {
    int64_t channel = 0;
    if (!has_edge(task.slot, task.k, i * task.channels)) {
      if (task.winner_grad == nullptr) continue;
      for (; channel < task.channels; ++channel) task.winner_grad[i * task.channels + channel] = 0;
    }
    for (; channel + V::width <= task.channels; channel += V::width) {
      winner_channels<V>(task, i, channel, sums, weight_sums);
    }
    for (; channel < task.channels; ++channel) {
      winner_channels<Lane<T>>(task, i, channel, sums, weight_sums);
    }
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
  // Half a place is more than the rounding of the product, so that no division is needed.
  const double per_k = 1 / static_cast<double>(task.k);
  for (int64_t e = in_begin; e < in_end; ++e) {
    const int64_t edge = task.edges[e] - task.first_edge;
    const int64_t i = static_cast<int64_t>((static_cast<double>(edge) + 0.5) * per_k);
    const int64_t s = edge - i * task.k;
    const T* grad = task.winner_grad + i * task.channels + channel;
    const Slot* slot = static_cast<const Slot*>(task.slot) + i * task.channels + channel;
    const T* v = task.nodes + i * stride + task.channels + channel;
    for (int64_t c = 0; c < kCount; ++c) {
      const auto mine = V::matches(slot + c * V::width, s);
      won[c] = V::add_where(mine, won[c], V::load(grad + c * V::width));
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
void scatter_rows(const EdgeConvScatter<T>& task, const EdgeConvPiece& piece) {
  using V = Vector<T>;
  constexpr int64_t kCount = 4;
  for (int64_t j = piece.begin; j < piece.end; ++j) {
    int64_t edge_count = task.k;
    if (task.holes) {
      edge_count = 0;
      for (int64_t s = 0; s < task.k; ++s) edge_count += task.neighbors[j * task.k + s] >= 0;
    }
    int64_t channel = piece.channel_begin;
    for (; channel + kCount * V::width <= piece.channel_end; channel += kCount * V::width) {
      scatter_channels<V, kCount, Slot>(task, j, edge_count, channel);
    }
    for (; channel + V::width <= piece.channel_end; channel += V::width) {
      scatter_channels<V, 1, Slot>(task, j, edge_count, channel);
    }
    for (; channel < piece.channel_end; ++channel) scatter_channels<Lane<T>, 1, Slot>(task, j, edge_count, channel);
  }
}

template <typename T>
void edge_conv_scatter(const EdgeConvScatter<T>& task, const EdgeConvPiece& piece) {
  if (task.k <= kMaxByteSlots) {
    scatter_rows<T, uint8_t>(task, piece);
  } else {
    scatter_rows<T, int32_t>(task, piece);
  }
}

}  // namespace
