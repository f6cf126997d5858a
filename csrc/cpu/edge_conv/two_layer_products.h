// Matrix products of the edges of a tile, for EdgeConv with two layers; compiled once per instruction set.
#pragma once

#include <cstdint>

#include "../linear/linear_loops.h"
#include "../simd/simd.h"

namespace {

// products (edges, columns) = rows (edges, inner) times a matrix in panels.
template <typename T>
void multiply_edges(const T* rows, int64_t edges, int64_t inner, const T* panels, int64_t columns, T* products) {
  constexpr int64_t kPanel = kPanelVectors<Vector<T>> * Vector<T>::width;
  for (int64_t column = 0; column < columns; column += kPanel) {
    const int64_t count = columns - column < kPanel ? columns - column : kPanel;
    multiply_panel(rows, inner, 1, edges, inner, panels + column * inner, kPanel, products + column, columns, count,
                   false);
  }
}

// gram += rows^T rows, (size, size), in blocks that touch the diagonal or lie above it.
template <typename V, int64_t kRows, int64_t kCount>
void add_gram_block(const typename V::value* rows, int64_t edges, int64_t size, int64_t row, int64_t column,
                    typename V::value* gram) {
  V sums[kRows][kCount];
#pragma GCC unroll 8
  for (int64_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int64_t c = 0; c < kCount; ++c) sums[r][c] = V::load(gram + (row + r) * size + column + c * V::width);
  }
  for (int64_t e = 0; e < edges; ++e) {
    const typename V::value* a = rows + e * size;
    V columns[kCount];
#pragma GCC unroll 2
    for (int64_t c = 0; c < kCount; ++c) columns[c] = V::load(a + column + c * V::width);
#pragma GCC unroll 8
    for (int64_t r = 0; r < kRows; ++r) {
      const V factor = V::broadcast(a[row + r]);
#pragma GCC unroll 2
      for (int64_t c = 0; c < kCount; ++c) sums[r][c] = V::fma(factor, columns[c], sums[r][c]);
    }
  }
#pragma GCC unroll 8
  for (int64_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int64_t c = 0; c < kCount; ++c) sums[r][c].store(gram + (row + r) * size + column + c * V::width);
  }
}

template <typename T>
void add_gram(const T* rows, int64_t edges, int64_t size, T* gram) {
  using V = Vector<T>;
  constexpr int64_t kRows = V::width * sizeof(T) == 64 ? 8 : 4;
  for (int64_t column = 0; column < size;) {
    const bool two = size - column >= 2 * V::width;
    const int64_t next = column + (two ? 2 : 1) * V::width;
    for (int64_t row = 0; row < size && row < next; row += kRows) {
      if (two) {
        add_gram_block<V, kRows, 2>(rows, edges, size, row, column, gram);
      } else {
        add_gram_block<V, kRows, 1>(rows, edges, size, row, column, gram);
      }
    }
    column = next;
  }
}

}  // namespace
