// Assembles the table of an instruction set from the inner loops. Included by isa_<name>.cpp only.
#pragma once

#include "ball_query_rows.h"
#include "edge_conv_backward_rows.h"
#include "edge_conv_rows.h"
#include "edge_conv_two_layer_rows.h"
#include "farthest_point_sampling_tree_rows.h"
#include "isa.h"
#include "knn_rows.h"
#include "linear_rows.h"
#include "point_leaves_rows.h"
#include "projection_rows.h"
#include "selection_rows.h"

namespace {

template <typename T>
constexpr pointkernels::IsaKernels<T> isa_table() {
  return {pack<T>,
          distances<T>,
          kFeatureTile,
          thresholds<T>,
          admit<T>,
          admit_leaves<T>,
          rank<T>,
          box_distances<T>,
          kMostRanked<T>,
          extent<T>,
          count_below<T>,
          partition<T>,
          first_within<T>,
          &kSamplingKernels<T>,
          &kTwoLayerKernels<T>,
          &kLinearKernels<T>,
          &kProjectionKernels<T>,
          count_neighbors,
          edge_conv_gather<T>,
          edge_conv_normalize<T>,
          edge_conv_winners<T>,
          edge_conv_scatter<T>};
}

}  // namespace
