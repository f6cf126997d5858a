// Which rows of a neighbour graph have an edge, out or in: all others are padding, whatever they hold.
#pragma once

#include <algorithm>
#include <atomic>
#include <vector>

#include "../simd/isa.h"
#include "../threads/parallel.h"
#include "graph_kernels.h"

namespace pointkernels {

// The lists of all rows, every entry of which has been checked.
struct CheckedLists {
  const int64_t* neighbors;  // (rows, k)
  int64_t rows, k, cloud_size;
  std::vector<int32_t> degrees;  // (rows): entries that are not -1
  int64_t edges = 0;

  CheckedLists(const Tensor& tensor, int64_t cloud_size)
      : neighbors(tensor.const_data_ptr<int64_t>()),
        rows(rows_of(tensor)),
        k(columns_of(tensor)),
        cloud_size(cloud_size),
        degrees(rows) {
    constexpr int64_t kRows = 512;
    std::atomic<int64_t> sum{0};
    std::atomic<bool> in_range{true};
    parallel_for((rows + kRows - 1) / kRows, [&](int64_t first, int64_t last) {
      const int64_t begin = first * kRows, end = std::min(last * kRows, rows);
      const int64_t found = isa_kernels<float>().graph->count_neighbors(neighbors + begin * k, end - begin, k,
                                                                        cloud_size, degrees.data() + begin);
      if (found < 0) in_range.store(false, std::memory_order_relaxed);
      sum += found;
    });
    STD_TORCH_CHECK(in_range.load(), "neighbors must be -1 or lie in [0, ", cloud_size, ")");
    edges = sum.load();
  }

  bool no_holes() const { return edges == rows * k; }

  // Whether all rows have an edge; and of each row whether it has one.
  bool mark_used(bool* used) const {
    for (int64_t i = 0; i < rows; ++i) used[i] = degrees[i] > 0;
    if (std::find(used, used + rows, false) == used + rows) return true;
    parallel_for(rows / cloud_size, [&](int64_t first, int64_t last) {
      for (int64_t i = first * cloud_size; i < last * cloud_size; ++i) {
        bool* const cloud = used + i / cloud_size * cloud_size;
        for (int64_t s = 0; s < k; ++s) {
          if (neighbors[i * k + s] >= 0) cloud[neighbors[i * k + s]] = true;
        }
      }
    });
    return std::find(used, used + rows, false) == used + rows;
  }
};

}  // namespace pointkernels
