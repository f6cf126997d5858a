// The inner loops of the searches, by name. Included by isa_table.h only.
#pragma once

#include "ball_query_loops.h"
#include "knn_loops.h"
#include "point_leaves_loops.h"
#include "search_kernels.h"
#include "selection_loops.h"

namespace {

template <typename T>
constexpr pointkernels::SearchKernels<T> search_table() {
  pointkernels::SearchKernels<T> table{};
  table.pack = pack<T>;
  table.distances = distances<T>;
  table.feature_tile = kFeatureTile;
  table.thresholds = thresholds<T>;
  table.admit = admit<T>;
  table.admit_leaves = admit_leaves<T>;
  table.rank = rank<T>;
  table.box_distances = box_distances<T>;
  table.most_ranked = kMostRanked<T>;
  table.extent = extent<T>;
  table.count_below = count_below<T>;
  table.partition = partition<T>;
  table.first_within = first_within<T>;
  return table;
}

template <typename T>
constexpr pointkernels::SearchKernels<T> kSearchKernels = search_table<T>();

}  // namespace
