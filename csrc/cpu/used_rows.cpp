// Which rows of a neighbour graph have an edge, out or in: all others are padding, whatever they hold.
#include <algorithm>
#include <atomic>

#include "../common/graph.h"
#include "parallel.h"

namespace pointkernels {

namespace {

Tensor used_rows(const Tensor& neighbors, int64_t cloud_size) {
  check_integers(neighbors, "neighbors", 2);
  const int64_t rows = neighbors.size(0), k = neighbors.size(1);
  STD_TORCH_CHECK(rows == 0 || (cloud_size > 0 && rows % cloud_size == 0), rows,
                  " rows cannot be split into clouds of ", cloud_size);
  const NeighborLists lists{neighbors.const_data_ptr<int64_t>(), k, cloud_size, cloud_size};
  Tensor used = torch::stable::new_empty(neighbors, {rows}, ScalarType::Bool);
  bool* mark = used.mutable_data_ptr<bool>();
  std::atomic<bool> in_range{true};
  parallel_for(rows > 0 ? rows / cloud_size : 0, [&](int64_t first, int64_t last) {
    std::fill(mark + first * cloud_size, mark + last * cloud_size, false);
    for (int64_t i = first * cloud_size; i < last * cloud_size; ++i) {
      bool* const cloud = mark + lists.base(i);
      for (int64_t s = 0; s < k; ++s) {
        const int64_t neighbor = lists.neighbors[i * k + s];
        if (neighbor < -1 || neighbor >= cloud_size) {
          in_range.store(false, std::memory_order_relaxed);
        } else if (neighbor >= 0) {
          mark[i] = cloud[neighbor] = true;
        }
      }
    }
  });
  STD_TORCH_CHECK(in_range.load(), "neighbors must be -1 or lie in [0, ", cloud_size, ")");
  return used;
}

}  // namespace

}  // namespace pointkernels

STABLE_TORCH_LIBRARY_IMPL(pointkernels, CPU, library) {
  library.impl("_used_rows", TORCH_BOX(&pointkernels::used_rows));
}
