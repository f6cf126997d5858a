// Neighbour lists: place s of query row i points at row `row_of(i, s)`, or nowhere.
#pragma once

#include <cstdint>

#include "macros.h"

namespace pointkernels {

struct NeighborLists {
  const int64_t* neighbors;  // (queries, k), counted within the cloud, -1 for none
  int64_t k;
  int64_t query_size;  // query rows of one cloud
  int64_t cloud_size;  // rows of one cloud

  // The first row of the cloud that query row i looks into.
  PK_HOST_DEVICE int64_t base(int64_t i) const { return i / query_size * cloud_size; }
  PK_HOST_DEVICE int64_t row_of(int64_t i, int64_t s) const {
    const int64_t neighbor = neighbors[i * k + s];
    return neighbor < 0 ? -1 : base(i) + neighbor;
  }
};

}  // namespace pointkernels
