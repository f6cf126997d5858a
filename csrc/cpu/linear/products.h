// Products of tall matrices, a row for every point, with small ones, on the CPU.
//
// For these, products out of registers with the small matrix packed once are two to three times faster on AMD
// processors than MKL, which does not use AVX-512 there.
#pragma once

#include <algorithm>
#include <vector>

#include "../../common/linear_sums.h"
#include "../memory/aligned_array.h"
#include "../simd/isa.h"
#include "../threads/parallel.h"
#include "linear.h"

namespace pointkernels {

// Rows that are multiplied at a time: with a few hundred channels they stay in the second-level cache. A multiple of
// the rows of all tiles.
inline constexpr int64_t kProductRows = kPieceRows;

// A factor with a row for every point: as it lies in memory.
template <typename T>
struct Rows {
  const T* data;  // (count, channels), rows `stride` apart
  int64_t count, channels, stride;

  Rows(const T* data, int64_t count, int64_t channels) : Rows(data, count, channels, channels) {}
  Rows(const T* data, int64_t count, int64_t channels, int64_t stride)
      : data(data), count(count), channels(channels), stride(stride) {}

  // Rows [begin, begin + count), with or without use of the space, which has room for tile_space().
  Rows tile(int64_t begin, int64_t rows, T*) const { return {data + begin * stride, rows, channels, stride}; }
  int64_t tile_space() const { return 0; }
};

// The same less a common row, which is done tile by tile; zeros for rows that are not used, whatever they hold.
template <typename T>
struct CenteredRows {
  const T* data;  // (count, channels)
  int64_t count, channels;
  const T* shift;    // (channels)
  const bool* used;  // (count), or nullptr for all

  Rows<T> tile(int64_t begin, int64_t rows, T* space) const {
    for (int64_t r = 0; r < rows; ++r) {
      const T* from = data + (begin + r) * channels;
      T* to = space + r * channels;
      if (used != nullptr && !used[begin + r]) {
        std::fill_n(to, channels, T{0});
        continue;
      }
      for (int64_t c = 0; c < channels; ++c) to[c] = from[c] - shift[c];
    }
    return {space, rows, channels};
  }
  CenteredRows part(int64_t begin, int64_t rows) const {
    return {data + begin * channels, rows, channels, shift, used != nullptr ? used + begin : nullptr};
  }
  int64_t tile_space() const { return kProductRows * channels; }
};

// A matrix (depth x columns) in panels (see linear.h).
template <typename T>
struct Panels {
  int64_t depth, columns;
  AlignedArray<T> data;

  // Entry (d, c) is matrix[d * row + c * step].
  Panels(const T* matrix, int64_t depth, int64_t columns, int64_t row, int64_t step)
      : depth(depth),
        columns(columns),
        data(pieces_of(columns, isa_kernels<T>().linear->panel) * depth * isa_kernels<T>().linear->panel) {
    const int64_t panel = isa_kernels<T>().linear->panel, count = pieces_of(columns, panel);
    parallel_for(count, [&](int64_t first, int64_t last) {
      for (int64_t p = first; p < last; ++p) {
        T* to = data.data() + p * depth * panel;
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

// y (x.count x columns, rows y_row apart) = x times the matrix in panels.
template <typename T, typename Factor>
void multiply(const Factor& x, const Panels<T>& matrix, T* y, int64_t y_row) {
  const LinearKernels<T>& kernels = *isa_kernels<T>().linear;
  const int64_t columns = matrix.columns, panel = kernels.panel;
  parallel_for(pieces_of(x.count, kProductRows), [&](int64_t first, int64_t last) {
    const AlignedArray<T> space(x.tile_space());
    for (int64_t piece = first; piece < last; ++piece) {
      const int64_t begin = piece * kProductRows;
      const Rows<T> tile = x.tile(begin, std::min(kProductRows, x.count - begin), space.data());
      for (int64_t column = 0; column < columns; column += panel) {
        kernels.multiply(tile.data, tile.stride, 1, tile.count, tile.channels,
                         matrix.data.data() + column * tile.channels, panel, y + begin * y_row + column, y_row,
                         std::min(panel, columns - column), false);
      }
    }
  });
}

// Adds left^T right to sums (left.channels x right.channels).
template <typename T, typename Left, typename Right>
void add_transposed_product(const Left& left, const Right& right, T* sums) {
  const LinearKernels<T>& kernels = *isa_kernels<T>().linear;
  const int64_t outputs = left.channels, columns = right.channels, panel = kernels.panel;
  const int64_t unit = unit_rows(left.count);
  const int64_t units = pieces_of(left.count, unit);
  std::vector<T> partial(units > 1 ? units * outputs * columns : 0, T{0});
  parallel_for(units, [&](int64_t first, int64_t last) {
    const int64_t tail = columns % panel;  // columns that do not fill a panel
    std::vector<T> filled_up(tail > 0 ? kProductRows * panel : 0, T{0});
    const AlignedArray<T> left_space(left.tile_space());
    const AlignedArray<T> right_space(right.tile_space());
    for (int64_t u = first; u < last; ++u) {
      T* const to = units > 1 ? partial.data() + u * outputs * columns : sums;
      const int64_t end = std::min((u + 1) * unit, left.count);
      for (int64_t begin = u * unit; begin < end; begin += kProductRows) {
        const int64_t rows = std::min(kProductRows, end - begin);
        const Rows<T> a = left.tile(begin, rows, left_space.data()), of = right.tile(begin, rows, right_space.data());
        for (int64_t column = 0; column < columns; column += panel) {
          const T* b = of.data + column;
          int64_t b_row = of.stride;
          if (columns - column < panel) {
            for (int64_t r = 0; r < rows; ++r) std::copy_n(b + r * b_row, tail, filled_up.data() + r * panel);
            b = filled_up.data();
            b_row = panel;
          }
          kernels.multiply(a.data, 1, a.stride, outputs, rows, b, b_row, to + column, columns,
                           std::min(panel, columns - column), true);
        }
      }
    }
  });
  const int64_t size = outputs * columns;
  for (int64_t u = 0; u < units && units > 1; ++u) {
    const T* from = partial.data() + u * size;
    for (int64_t i = 0; i < size; ++i) sums[i] += from[i];
  }
}

// left^T right, summed over several calls. The wider factor stands on the right, where it fills vectors better.
template <typename T>
class TransposedProduct {
 public:
  TransposedProduct(int64_t rows, int64_t columns) : rows_(rows), columns_(columns), sums_(rows * columns, T{0}) {}

  template <typename Left, typename Right>
  void add(const Left& left, const Right& right) {
    if (columns_ >= rows_) {
      add_transposed_product(left, right, sums_.data());
    } else {
      add_transposed_product(right, left, sums_.data());
    }
  }
  void add(const TransposedProduct& other) {
    for (size_t i = 0; i < sums_.size(); ++i) sums_[i] += other.sums_[i];
  }
  T at(int64_t row, int64_t column) const {
    return columns_ >= rows_ ? sums_[row * columns_ + column] : sums_[column * rows_ + row];
  }
  void store(T* result) const {
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t c = 0; c < columns_; ++c) result[r * columns_ + c] = at(r, c);
    }
  }

 private:
  int64_t rows_, columns_;
  std::vector<T> sums_;
};

}  // namespace pointkernels
