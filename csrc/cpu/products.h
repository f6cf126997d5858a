// Products of tall matrices, a row for every point, with small ones, on the CPU.
//
// For these, products out of registers with the small matrix packed once are two to three times faster on AMD
// processors than MKL, which does not use AVX-512 there.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "isa.h"
#include "linear.h"
#include "parallel.h"

namespace pointkernels {

// Rows that are multiplied at a time: with a few hundred channels they stay in the second-level cache. A multiple of
// the rows of all tiles.
inline constexpr int64_t kProductRows = 96;
// Sums over rows are taken over so many units of at least so many rows, then over these in order, whatever the number
// of threads.
inline constexpr int64_t kProductUnits = 32, kProductUnitRows = 10 * kProductRows;

inline int64_t pieces_of(int64_t count, int64_t size) { return (count + size - 1) / size; }

template <typename T>
std::unique_ptr<T[]> uninitialized(int64_t count) {
  return std::unique_ptr<T[]>(new T[count]);
}

template <typename T>
struct Rows {
  const T* data;  // (count, channels)
  int64_t count, channels;
};

// A matrix (depth x columns) in panels (see linear.h).
template <typename T>
struct Panels {
  int64_t depth, columns;
  std::unique_ptr<T[]> data;

  // Entry (d, c) is matrix[d * row + c * step].
  Panels(const T* matrix, int64_t depth, int64_t columns, int64_t row, int64_t step) : depth(depth), columns(columns) {
    const int64_t panel = isa_kernels<T>().linear->panel, count = pieces_of(columns, panel);
    data = uninitialized<T>(count * depth * panel);
    parallel_for(count, [&](int64_t first, int64_t last) {
      for (int64_t p = first; p < last; ++p) {
        T* to = data.get() + p * depth * panel;
        const int64_t filled = std::min(panel, columns - p * panel);
        if (filled < panel) std::fill_n(to, depth * panel, T{0});
        // In the order of memory, by which a weight's columns become rows.
        if (step == 1) {
          for (int64_t d = 0; d < depth; ++d) std::copy_n(matrix + d * row + p * panel, filled, to + d * panel);
        } else {
          for (int64_t c = 0; c < filled; ++c) {
            for (int64_t d = 0; d < depth; ++d) to[d * panel + c] = matrix[d * row + (p * panel + c) * step];
          }
        }
      }
    });
  }
};

// y (x.count x columns) = x times the matrix in panels.
template <typename T>
void multiply(const Rows<T>& x, const Panels<T>& matrix, T* y) {
  const LinearKernels<T>& kernels = *isa_kernels<T>().linear;
  const int64_t columns = matrix.columns, panel = kernels.panel;
  parallel_for(pieces_of(x.count, kProductRows), [&](int64_t first, int64_t last) {
    for (int64_t piece = first; piece < last; ++piece) {
      const int64_t begin = piece * kProductRows, rows = std::min(kProductRows, x.count - begin);
      for (int64_t column = 0; column < columns; column += panel) {
        kernels.multiply(x.data + begin * x.channels, x.channels, 1, rows, x.channels,
                         matrix.data.get() + column * x.channels, panel, y + begin * columns + column, columns,
                         std::min(panel, columns - column), false);
      }
    }
  });
}

// Adds left^T right to sums (left.channels x right.channels).
template <typename T>
void add_transposed_product(const Rows<T>& left, const Rows<T>& right, T* sums) {
  const LinearKernels<T>& kernels = *isa_kernels<T>().linear;
  const int64_t outputs = left.channels, columns = right.channels, panel = kernels.panel;
  const int64_t unit =
      std::max(kProductUnitRows, pieces_of(pieces_of(left.count, kProductUnits), kProductRows) * kProductRows);
  const int64_t units = pieces_of(left.count, unit);
  std::vector<T> partial(units > 1 ? units * outputs * columns : 0, T{0});
  parallel_for(units, [&](int64_t first, int64_t last) {
    const int64_t tail = columns % panel;  // columns that do not fill a panel
    std::vector<T> filled_up(tail > 0 ? kProductRows * panel : 0, T{0});
    for (int64_t u = first; u < last; ++u) {
      T* const to = units > 1 ? partial.data() + u * outputs * columns : sums;
      const int64_t end = std::min((u + 1) * unit, left.count);
      for (int64_t begin = u * unit; begin < end; begin += kProductRows) {
        const int64_t rows = std::min(kProductRows, end - begin);
        for (int64_t column = 0; column < columns; column += panel) {
          const T* b = right.data + begin * columns + column;
          int64_t b_row = columns;
          if (columns - column < panel) {
            for (int64_t r = 0; r < rows; ++r) std::copy_n(b + r * columns, tail, filled_up.data() + r * panel);
            b = filled_up.data();
            b_row = panel;
          }
          kernels.multiply(left.data + begin * outputs, 1, outputs, outputs, rows, b, b_row, to + column, columns,
                           std::min(panel, columns - column), true);
        }
      }
    }
  });
  for (int64_t i = 0; i < static_cast<int64_t>(partial.size()); ++i) sums[i % (outputs * columns)] += partial[i];
}

// left^T right, summed over several calls. The wider factor stands on the right, where it fills vectors better.
template <typename T>
class TransposedProduct {
 public:
  TransposedProduct(int64_t rows, int64_t columns) : rows_(rows), columns_(columns), sums_(rows * columns, T{0}) {}

  void add(const Rows<T>& left, const Rows<T>& right) {
    if (columns_ >= rows_) {
      add_transposed_product(left, right, sums_.data());
    } else {
      add_transposed_product(right, left, sums_.data());
    }
  }
  void add(const TransposedProduct& other) {
    for (size_t i = 0; i < sums_.size(); ++i) sums_[i] += other.sums_[i];
  }
  void store(T* result) const {
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t c = 0; c < columns_; ++c) {
        result[r * columns_ + c] = columns_ >= rows_ ? sums_[r * columns_ + c] : sums_[c * rows_ + r];
      }
    }
  }

 private:
  int64_t rows_, columns_;
  std::vector<T> sums_;
};

}  // namespace pointkernels
