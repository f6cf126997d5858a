// The reverse of a neighbour graph: a stable counting sort of the edges by the row they point at.
//
// Edges of one cloud stay within its rows, so clouds are sorted in parallel once the row offsets are known.
#include <atomic>
#include <vector>

#include "../../common/graph.h"
#include "../threads/parallel.h"

namespace pointkernels {

namespace {

std::tuple<Tensor, Tensor> reverse_graph(const Tensor& neighbors, int64_t query_size, int64_t cloud_size,
                                         int64_t rows) {
  check_integers(neighbors, "neighbors", 2);
  const int64_t queries = neighbors.size(0), k = neighbors.size(1);
  STD_TORCH_CHECK(queries == 0 || (query_size > 0 && queries % query_size == 0), queries,
                  " query rows cannot be split into clouds of ", query_size);
  const int64_t clouds = queries > 0 ? queries / query_size : 0;
  STD_TORCH_CHECK(clouds * cloud_size <= rows, clouds, " clouds of ", cloud_size, " rows do not fit ", rows, " rows");
  const NeighborLists lists{neighbors.const_data_ptr<int64_t>(), k, query_size, cloud_size};

  Tensor offsets = empty_integers(neighbors, rows + 1);
  Tensor edges = empty_integers(neighbors, queries * k);
  int64_t* offset = offsets.mutable_data_ptr<int64_t>();
  int64_t* edge = edges.mutable_data_ptr<int64_t>();

  std::vector<int64_t> next(rows + 1, 0);  // first in-degrees, then the place of each row's next edge
  std::atomic<bool> in_range{true};
  parallel_for(clouds, [&](int64_t first, int64_t last) {
    for (int64_t i = first * query_size; i < last * query_size; ++i) {
      int64_t* const degrees = next.data() + lists.base(i);
      for (int64_t s = 0; s < k; ++s) {
        const int64_t neighbor = lists.neighbors[i * k + s];
        if (neighbor < -1 || neighbor >= cloud_size) {
          in_range.store(false, std::memory_order_relaxed);
        } else if (neighbor >= 0) {
          ++degrees[neighbor];
        }
      }
    }
  });
  STD_TORCH_CHECK(in_range.load(), "neighbors must be -1 or lie in [0, ", cloud_size, ")");
  int64_t total = 0;
  for (int64_t row = 0; row <= rows; ++row) {
    offset[row] = total;
    total += next[row];
    next[row] = offset[row];
  }
  parallel_for(clouds, [&](int64_t first, int64_t last) {
    for (int64_t i = first * query_size; i < last * query_size; ++i) {
      int64_t* const places = next.data() + lists.base(i);
      for (int64_t s = 0; s < k; ++s) {
        const int64_t neighbor = lists.neighbors[i * k + s];
        if (neighbor >= 0) edge[places[neighbor]++] = i * k + s;
      }
    }
  });
  return {offsets, edges};
}

}  // namespace

}  // namespace pointkernels

STABLE_TORCH_LIBRARY_IMPL(pointkernels, CPU, library) {
  library.impl("_reverse_graph", TORCH_BOX(&pointkernels::reverse_graph));
}
