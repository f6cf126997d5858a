// Matrix products of the edges of a tile, for EdgeConv with two layers; compiled once per instruction set.
#pragma once

#include <cstdint>

#include "edge_conv_two_layer.h"
#include "simd.h"

namespace {

using pointkernels::kTwoLayerBlock;
using pointkernels::kTwoLayerPanel;

// Vectors of columns that a block of accumulators has: with kTwoLayerBlock rows they fill 24 of the 32 registers of
// AVX-512, and 12 of the 16 of narrower sets.
template <typename V>
constexpr int64_t kColumns = V::width * sizeof(typename V::value) == 64 ? 4 : 2;

// products (edges, columns) = start + rows (edges, inner) times a matrix in panels; kTwoLayerBlock edges and kCount
// vectors of columns.
template <typename V, int64_t kCount>
void multiply_block(const typename V::value* rows, int64_t inner, const typename V::value* panel,
                    const typename V::value* start, typename V::value* products, int64_t stride) {
  V sums[kTwoLayerBlock][kCount];
#pragma GCC unroll 6
  for (int64_t e = 0; e < kTwoLayerBlock; ++e) {
#pragma GCC unroll 4
    for (int64_t c = 0; c < kCount; ++c) {
      sums[e][c] = start != nullptr ? V::load(start + c * V::width) : V::broadcast(0);
    }
  }
  for (int64_t n = 0; n < inner; ++n) {
    V columns[kCount];
#pragma GCC unroll 4
    for (int64_t c = 0; c < kCount; ++c) columns[c] = V::load(panel + n * kTwoLayerPanel + c * V::width);
#pragma GCC unroll 6
    for (int64_t e = 0; e < kTwoLayerBlock; ++e) {
      const V factor = V::broadcast(rows[e * inner + n]);
#pragma GCC unroll 4
      for (int64_t c = 0; c < kCount; ++c) sums[e][c] = V::fma(factor, columns[c], sums[e][c]);
    }
  }
#pragma GCC unroll 6
  for (int64_t e = 0; e < kTwoLayerBlock; ++e) {
#pragma GCC unroll 4
    for (int64_t c = 0; c < kCount; ++c) sums[e][c].store(products + e * stride + c * V::width);
  }
}

template <typename T>
void multiply(const T* rows, int64_t edges, int64_t inner, const T* matrix, int64_t columns, const T* start,
              T* products) {
  using V = Vector<T>;
  constexpr int64_t kCount = kColumns<V>;
  for (int64_t column = 0; column < columns;) {
    const T* panel = matrix + column / kTwoLayerPanel * kTwoLayerPanel * inner + column % kTwoLayerPanel;
    const int64_t vectors = (columns - column) / V::width;
    const T* first = start != nullptr ? start + column : nullptr;
    const auto run = vectors >= kCount ? multiply_block<V, kCount>
                     : vectors >= 2    ? multiply_block<V, 2>
                                       : multiply_block<V, 1>;
    for (int64_t e = 0; e < edges; e += kTwoLayerBlock) {
      run(rows + e * inner, inner, panel, first, products + e * columns + column, columns);
    }
    column += (vectors >= kCount ? kCount : vectors >= 2 ? 2 : 1) * V::width;
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
