// The inner loops of EdgeConv, by name. Included by isa_table.h only.
#pragma once

#include "edge_conv_backward_loops.h"
#include "edge_conv_kernels.h"
#include "edge_conv_loops.h"

namespace {

template <typename T>
constexpr pointkernels::EdgeConvKernels<T> edge_conv_table() {
  pointkernels::EdgeConvKernels<T> table{};
  table.gather = edge_conv_gather<T>;
  table.normalize = edge_conv_normalize<T>;
  table.winners = edge_conv_winners<T>;
  table.scatter = edge_conv_scatter<T>;
  return table;
}

template <typename T>
constexpr pointkernels::EdgeConvKernels<T> kEdgeConvKernels = edge_conv_table<T>();

}  // namespace
