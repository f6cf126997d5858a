// Assembles the tables of an instruction set from the inner loops. Included by isa_<name>.cpp only.
#pragma once

#include "../edge_conv/edge_conv_table.h"
#include "../edge_conv/two_layer_loops.h"
#include "../graph/graph_loops.h"
#include "../linear/linear_loops.h"
#include "../sampling/tree_loops.h"
#include "../search/projection_loops.h"
#include "../search/search_table.h"
#include "../simd/isa.h"

namespace {

template <typename T>
constexpr pointkernels::IsaKernels<T> isa_table() {
  pointkernels::IsaKernels<T> table{};
  table.edge_conv = &kEdgeConvKernels<T>;
  table.graph = &kGraphKernels;
  table.linear = &kLinearKernels<T>;
  table.projection = &kProjectionKernels<T>;
  table.sampling = &kSamplingKernels<T>;
  table.search = &kSearchKernels<T>;
  table.two_layer = &kTwoLayerKernels<T>;
  return table;
}

}  // namespace
