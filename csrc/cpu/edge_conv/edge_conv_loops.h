// Inner loops of EdgeConv's forward pass, compiled once per instruction set: channels run over vectors, edges are
// walked one by one.
#pragma once

#include <cstdint>

#include "../simd/simd.h"
#include "edge_conv.h"

namespace {

using pointkernels::EdgeConvGather;
using pointkernels::EdgeConvNormalize;
using pointkernels::EdgeConvPiece;
using pointkernels::kMaxByteSlots;

// Slots are carried as floating numbers, which are exact for k < 2^24.
template <typename V>
void store_slots(V slots, void* row, int64_t channel, bool bytes) {
  if (bytes) {
    slots.store_bytes(static_cast<uint8_t*>(row) + channel);
  } else {
    slots.store_integers(static_cast<int32_t*>(row) + channel);
  }
}

// The neighbours of a row.
struct EdgeList {
  const int64_t* neighbors;
  int64_t k, degree;   // places, and those of them that hold a neighbour
  int64_t first_slot;  // the first of those, k when there is none
};

// kCount vectors of channels of a row.
template <typename V, int64_t kCount, bool kStatistics>
struct Gathered {
  using T = typename V::value;
  V best[kCount], slots[kCount], sum[kCount], squares[kCount];

  // Of the neighbours from the first on, whose products must be finite.
  template <bool kHoles>
  void gather(const T* nodes, int64_t stride, const EdgeList& list) {
    V place = V::broadcast(static_cast<T>(list.first_slot));
    for (int64_t c = 0; c < kCount; ++c) {
      best[c] = V::broadcast(-static_cast<T>(__builtin_inf()));
      slots[c] = list.degree > 0 ? place : V::broadcast(-1);
      sum[c] = squares[c] = V::broadcast(0);
    }
    for (int64_t s = list.first_slot; s < list.k; ++s, place = place + V::broadcast(1)) {
      if (kHoles && list.neighbors[s] < 0) continue;
      const T* neighbor = nodes + list.neighbors[s] * stride;
      for (int64_t c = 0; c < kCount; ++c) {
        const V u = V::load(neighbor + c * V::width);
        slots[c] = V::select(V::less(best[c], u), place, slots[c]);
        best[c] = V::max_or_second(u, best[c]);
        sum[c] = sum[c] + u;
        if constexpr (kStatistics) squares[c] = V::fma(u, u, squares[c]);
      }
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

  // The winners for any products: a NaN beats any number and is beaten by nothing, as in torch.max. Where BatchNorm's
  // weight is zero, all numbers are alike.
  void gather_winners(const T* nodes, int64_t stride, const EdgeList& list, const T* bn_weight) {
    for (int64_t s = list.first_slot; s < list.k; ++s) {
      if (list.neighbors[s] < 0) continue;
      const V place = V::broadcast(static_cast<T>(s));
      for (int64_t c = 0; c < kCount; ++c) {
        const V u = V::load(nodes + list.neighbors[s] * stride + c * V::width), zero = V::broadcast(0);
        if (s == list.first_slot) {
          best[c] = u;
          slots[c] = place;
        }
        const V counts = V::select(V::equal(V::load(bn_weight + c * V::width), zero), zero, V::broadcast(1));
        const auto wins = V::both(V::above(u * counts, best[c] * counts), V::is_number(best[c] * counts));
        best[c] = V::select(wins, u, best[c]);
        slots[c] = V::select(wins, place, slots[c]);
      }
    }
  }
};

template <typename V, int64_t kCount, bool kStatistics>
void gather_channels(const EdgeConvGather<typename V::value>& task, int64_t i, const EdgeList& list,
                     const typename V::value* cloud, int64_t channel, double* moments) {
  using T = typename V::value;
  const T* nodes = cloud + channel;
  const T* own = task.nodes + i * task.stride + task.channels + channel;
  const bool bytes = task.k <= kMaxByteSlots;
  void* slot_row = bytes ? static_cast<void*>(static_cast<uint8_t*>(task.slot) + i * task.channels)
                         : static_cast<void*>(static_cast<int32_t*>(task.slot) + i * task.channels);
  Gathered<V, kCount, kStatistics> of;
  if (list.degree == task.k) {
    of.template gather<false>(nodes, task.stride, list);
  } else {
    of.template gather<true>(nodes, task.stride, list);
  }
  const bool finite = of.finite();
  if (!finite) of.gather_winners(nodes, task.stride, list, task.bn_weight + channel);
  T* extremum = task.extremum + i * task.channels + channel;
  const V degree = V::broadcast(static_cast<T>(list.degree)), zero = V::broadcast(0);
  for (int64_t c = 0; c < kCount; ++c) {
    const int64_t at = c * V::width;
    const V v = V::load(own + at), weight = V::load(task.bn_weight + channel + at);
    const V sign = V::select(V::less(weight, zero), V::broadcast(-1), V::broadcast(1));
    if (list.degree == 0) {
      v.store(extremum + at);  // as on a GPU; never read
    } else {
      if (finite) {
        const auto no_sign = V::equal(weight, zero);
        of.best[c] =
            V::select(no_sign, V::load(nodes + list.neighbors[list.first_slot] * task.stride + at), of.best[c]);
        of.slots[c] = V::select(no_sign, V::broadcast(static_cast<T>(list.first_slot)), of.slots[c]);
      }
      (of.best[c] * sign + v).store(extremum + at);
    }
    store_slots(of.slots[c], slot_row, channel + at, bytes);
    if constexpr (kStatistics) {
      const V sum = of.sum[c] * sign;
      if (task.gathered != nullptr) sum.store(task.gathered + i * task.channels + channel + at);
      if (list.degree == 0) continue;
      // The sum of u + v over the edges, and of its square.
      const V total = V::fma(degree, v, sum);
      total.add_to(moments + channel + at);
      V::fma(v, sum + total, of.squares[c]).add_to(moments + task.channels + channel + at);
    }
  }
}

template <typename T, bool kStatistics>
void gather_rows(const EdgeConvGather<T>& task, const EdgeConvPiece& piece, double* moments) {
  using V = Vector<T>;
  // Four vectors of state each fit the 32 registers of AVX-512; narrower sets have 16.
  constexpr int64_t kCount = V::width * sizeof(T) == 64 ? 4 : 2;
  for (int64_t i = piece.begin; i < piece.end; ++i) {
    EdgeList list{task.neighbors + i * task.k, task.k, task.degrees[i], 0};
    while (list.first_slot < task.k && list.neighbors[list.first_slot] < 0) ++list.first_slot;
    const T* cloud = task.nodes + i / task.cloud_size * task.cloud_size * task.stride;
    int64_t channel = piece.channel_begin;
    for (; channel + kCount * V::width <= piece.channel_end; channel += kCount * V::width) {
      gather_channels<V, kCount, kStatistics>(task, i, list, cloud, channel, moments);
    }
    for (; channel + V::width <= piece.channel_end; channel += V::width) {
      gather_channels<V, 1, kStatistics>(task, i, list, cloud, channel, moments);
    }
    for (; channel < piece.channel_end; ++channel) {
      gather_channels<Lane<T>, 1, kStatistics>(task, i, list, cloud, channel, moments);
    }
  }
}

template <typename T>
void edge_conv_gather(const EdgeConvGather<T>& task, const EdgeConvPiece& piece, double* moments) {
  if (moments != nullptr) {
    gather_rows<T, true>(task, piece, moments);
  } else {
    gather_rows<T, false>(task, piece, moments);
  }
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

}  // namespace
