// What products of matrices (products.h) share with its inner loops (linear_loops.h).
#pragma once

#include <cstdint>

namespace pointkernels {

// Matrix products out of registers. The right factor comes in panels of `panel` columns, the last filled up. Every
// entry of a product is one chain of fused multiply-adds in the order of the inner index, so results depend neither on
// the machine nor on how rows are shared out.
template <typename T>
struct LinearKernels {
  int64_t panel;

  // y (rows x columns, rows y_row apart) = a b, or with `add` y += a b. Entry (r, d) of `a` is a[r * a_row + d *
  // a_step], r < rows, d < depth; b (depth x panel, rows b_row apart) is a panel, of which `columns` count.
  void (*multiply)(const T* a, int64_t a_row, int64_t a_step, int64_t rows, int64_t depth, const T* b, int64_t b_row,
                   T* y, int64_t y_row, int64_t columns, bool add);
};

}  // namespace pointkernels
