// Inner loops of projections, compiled once per instruction set (see projection.h).
#pragma once

#include <cstdint>

#include "../simd/simd.h"
#include "candidates.h"
#include "projection.h"

namespace {

template <typename V>
typename V::value sum_of_lanes(V sum) {
  typename V::value lanes[V::width];
  sum.store(lanes);
  for (int64_t half = V::width / 2; half > 0; half /= 2) {
    for (int64_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  }
  return lanes[0];
}

template <typename T>
T dot(const T* a, const T* b, int64_t dims) {
  using V = Vector<T>;
  V even = V::broadcast(0), odd = even;
  int64_t d = 0;
  for (; d + 2 * V::width <= dims; d += 2 * V::width) {
    even = V::fma(V::load(a + d), V::load(b + d), even);
    odd = V::fma(V::load(a + d + V::width), V::load(b + d + V::width), odd);
  }
  T sum = sum_of_lanes(even + odd);
  for (; d < dims; ++d) sum += a[d] * b[d];
  return sum;
}

template <typename T>
T largest_norm(const T* rows, int64_t count, int64_t dims, const T* center) {
  using V = Vector<T>;
  T largest = 0;
  for (int64_t i = 0; i < count; ++i, rows += dims) {
    V even = V::broadcast(0), odd = even;
    int64_t d = 0;
    for (; d + 2 * V::width <= dims; d += 2 * V::width) {
      const V first = V::load(rows + d) - V::load(center + d);
      const V second = V::load(rows + d + V::width) - V::load(center + d + V::width);
      even = V::fma(first, first, even);
      odd = V::fma(second, second, odd);
    }
    T norm = sum_of_lanes(even + odd);
    for (; d < dims; ++d) norm += (rows[d] - center[d]) * (rows[d] - center[d]);
    largest = norm <= largest ? largest : norm;  // so that NaN comes in
    if (largest != largest) return largest;
  }
  return largest;
}

template <typename T>
void orthonormalize(T* rows, int64_t count, int64_t dims) {
  // Of a row that depends on others only rounding is left.
  constexpr T kDependent = sizeof(T) == 4 ? static_cast<T>(1e-10) : static_cast<T>(1e-26);
  for (int64_t i = 0; i < count; ++i) {
    T* const row = rows + i * dims;
    const T whole = dot(row, row, dims);
    for (int64_t pass = 0; pass < 2; ++pass) {  // the second takes away what the first one's rounding left
      for (int64_t j = 0; j < i; ++j) {
        const T* const other = rows + j * dims;
        const T part = dot(row, other, dims);
        for (int64_t d = 0; d < dims; ++d) row[d] -= part * other[d];
      }
    }
    const T norm = dot(row, row, dims);
    const T scale = norm > kDependent * whole ? 1 / static_cast<T>(__builtin_sqrt(static_cast<double>(norm))) : 0;
    for (int64_t d = 0; d < dims; ++d) row[d] *= scale;
  }
}

// kVectors vectors of points at a time, since each sum is one chain of additions.
template <typename T, int64_t kVectors>
void distances_to_vectors(const T* points, int64_t dims, const T* query, const int32_t* ids, int64_t count,
                          T* distances) {
  using V = Vector<T>;
  const T* rows[kVectors * V::width];
  for (int64_t i = 0; i < kVectors * V::width; ++i) rows[i] = points + ids[i < count ? i : count - 1] * dims;
  V sums[kVectors];
  for (int64_t v = 0; v < kVectors; ++v) sums[v] = V::broadcast(0);
  int64_t d = 0;
  for (; d + 8 <= dims; d += 8) {
    for (int64_t v = 0; v < kVectors; ++v) {
      V columns[8];
      V::load_columns(rows + v * V::width, d, columns);
      for (int64_t j = 0; j < 8; ++j) {
        const V difference = columns[j] - V::broadcast(query[d + j]);
        sums[v] = V::fma(difference, difference, sums[v]);
      }
    }
  }
  for (; d < dims; ++d) {
    for (int64_t v = 0; v < kVectors; ++v) {
      T column[V::width];
      for (int64_t lane = 0; lane < V::width; ++lane) column[lane] = rows[v * V::width + lane][d];
      const V difference = V::load(column) - V::broadcast(query[d]);
      sums[v] = V::fma(difference, difference, sums[v]);
    }
  }
  for (int64_t v = 0; v < kVectors; ++v) sums[v].store(distances + v * V::width);
}

template <typename T>
void distances_to(const T* points, int64_t dims, const T* query, const int32_t* ids, int64_t count, T* distances) {
  constexpr int64_t kWidth = Vector<T>::width;
  int64_t i = 0;
  for (; i + 3 * kWidth < count; i += 4 * kWidth) {
    distances_to_vectors<T, 4>(points, dims, query, ids + i, count - i, distances + i);
  }
  if (i + kWidth < count) {
    distances_to_vectors<T, 2>(points, dims, query, ids + i, count - i, distances + i);
    i += 2 * kWidth;
  }
  if (i < count) distances_to_vectors<T, 1>(points, dims, query, ids + i, count - i, distances + i);
}

template <typename T>
constexpr pointkernels::ProjectionKernels<T> projection_table() {
  pointkernels::ProjectionKernels<T> table{};
  table.lanes = Vector<T>::width;
  table.largest_norm = largest_norm<T>;
  table.orthonormalize = orthonormalize<T>;
  table.distances_to = distances_to<T>;
  return table;
}

template <typename T>
constexpr pointkernels::ProjectionKernels<T> kProjectionKernels = projection_table<T>();

}  // namespace
