// Inner loops of matrix products, compiled once per instruction set (see linear.h).
#pragma once

#include <cstdint>

#include "../simd/simd.h"
#include "linear.h"

namespace {

// A tile of kRows rows by kVectors vectors of the product, all of which stays in registers.
template <typename V, int64_t kRows, int64_t kVectors>
inline void multiply_tile(const typename V::value* a, int64_t a_row, int64_t a_step, int64_t depth,
                          const typename V::value* b, int64_t b_row, typename V::value* y, int64_t y_row,
                          int64_t columns, bool add) {
  using T = typename V::value;
  V sums[kRows][kVectors];
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t v = 0; v < kVectors; ++v) sums[r][v] = V::broadcast(0);
  }
  for (int64_t d = 0; d < depth; ++d, a += a_step, b += b_row) {
    V right[kVectors];
    for (int64_t v = 0; v < kVectors; ++v) right[v] = V::load(b + v * V::width);
    for (int64_t r = 0; r < kRows; ++r) {
      const V left = V::broadcast(a[r * a_row]);
      for (int64_t v = 0; v < kVectors; ++v) {
        // A scalar machine may have no fused multiply-add but a slow function.
        sums[r][v] = V::width > 1 ? V::fma(left, right[v], sums[r][v]) : left * right[v] + sums[r][v];
      }
    }
  }
  for (int64_t r = 0; r < kRows; ++r, y += y_row) {
    if (columns == kVectors * V::width) {
      for (int64_t v = 0; v < kVectors; ++v) {
        (add ? V::load(y + v * V::width) + sums[r][v] : sums[r][v]).store(y + v * V::width);
      }
    } else {
      T row[kVectors * V::width];
      for (int64_t v = 0; v < kVectors; ++v) sums[r][v].store(row + v * V::width);
      for (int64_t c = 0; c < columns; ++c) y[c] = add ? y[c] + row[c] : row[c];
    }
  }
}

template <typename V, int64_t kRows, int64_t kVectors>
void multiply_rows(const typename V::value* a, int64_t a_row, int64_t a_step, int64_t rows, int64_t depth,
                   const typename V::value* b, int64_t b_row, typename V::value* y, int64_t y_row, int64_t columns,
                   bool add) {
  int64_t r = 0;
  for (; r + kRows <= rows; r += kRows) {
    multiply_tile<V, kRows, kVectors>(a + r * a_row, a_row, a_step, depth, b, b_row, y + r * y_row, y_row, columns,
                                      add);
  }
  for (; r < rows; ++r) {
    multiply_tile<V, 1, kVectors>(a + r * a_row, a_row, a_step, depth, b, b_row, y + r * y_row, y_row, columns, add);
  }
}

// Vectors of a panel. With six rows of them, 24 sums are in 32 registers of AVX-512, 12 in 16 of AVX2.
template <typename V>
constexpr int64_t kPanelVectors = V::width * sizeof(typename V::value) == 32 ? 2 : 4;

template <typename T>
void multiply_panel(const T* a, int64_t a_row, int64_t a_step, int64_t rows, int64_t depth, const T* b, int64_t b_row,
                    T* y, int64_t y_row, int64_t columns, bool add) {
  using V = Vector<T>;
  constexpr int64_t kMost = kPanelVectors<V>;
  // Fewer columns take fewer vectors and more rows, so that there are always enough sums to hide their latency.
  const int64_t vectors = (columns + V::width - 1) / V::width;
  auto run = multiply_rows<V, 6, kMost>;
  if (vectors == 1) run = multiply_rows<V, 12, 1>;
  if constexpr (kMost == 4) {
    if (vectors == 2) run = multiply_rows<V, 12, 2>;
    if (vectors == 3) run = multiply_rows<V, 8, 3>;
  }
  run(a, a_row, a_step, rows, depth, b, b_row, y, y_row, columns, add);
}

template <typename T>
constexpr pointkernels::LinearKernels<T> linear_table() {
  pointkernels::LinearKernels<T> table{};
  table.panel = kPanelVectors<Vector<T>> * Vector<T>::width;
  table.multiply = multiply_panel<T>;
  return table;
}

template <typename T>
constexpr pointkernels::LinearKernels<T> kLinearKernels = linear_table<T>();

}  // namespace
