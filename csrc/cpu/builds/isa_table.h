// Assembles the table of an instruction set from the inner loops. Included by isa_<name>.cpp only.
#pragma once

#include "../search/ball_query_loops.h"
#include "../edge_conv/edge_conv_backward_loops.h"
#include "../edge_conv/edge_conv_loops.h"
#include "../edge_conv/two_layer_loops.h"
#include "../sampling/tree_loops.h"
#include "../simd/isa.h"
#include "../search/knn_loops.h"
#include "../linear/linear_loops.h"
#include "../search/point_leaves_loops.h"
#include "../search/projection_loops.h"
#include "../search/selection_loops.h"

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
