// Inner loop over neighbour lists, compiled once per instruction set (see graph_kernels.h for what it does).
#pragma once

#include <cstdint>

#include "graph_kernels.h"

namespace {

inline int64_t count_neighbors(const int64_t* neighbors, int64_t rows, int64_t k, int64_t cloud_size,
                               int32_t* degrees) {
  int64_t edges = 0, bad = 0;
  for (int64_t i = 0; i < rows; ++i, neighbors += k) {
    int64_t count = 0;
    for (int64_t s = 0; s < k; ++s) {
      count += neighbors[s] >= 0;
      bad += neighbors[s] < -1 || neighbors[s] >= cloud_size;
    }
    degrees[i] = static_cast<int32_t>(count);
    edges += count;
  }
  return bad != 0 ? -1 : edges;
}

constexpr pointkernels::GraphKernels graph_table() {
  pointkernels::GraphKernels table{};
  table.count_neighbors = count_neighbors;
  return table;
}

constexpr pointkernels::GraphKernels kGraphKernels = graph_table();

}  // namespace
