// Inner loops of EdgeConv, which each instruction set has its own of.
#pragma once

#include <cstdint>

#include "edge_conv.h"

namespace pointkernels {

template <typename T>
struct EdgeConvKernels {
  // EdgeConv over the edges out of the rows of a piece: extrema, winners and, with `gathered`, sums. Adds the sum and
  // the sum of squares of all pre-activations to moments (2 x channels).
  void (*gather)(const EdgeConvGather<T>& task, const EdgeConvPiece& piece, double* moments);

  // The output of rows [begin, end).
  void (*normalize)(const EdgeConvNormalize<T>& task, int64_t begin, int64_t end);

  // Adds the gradients of the normalised pre-activations that won in rows [begin, end), and those times the normalised
  // pre-activations, to sums (2 x channels).
  void (*winners)(const EdgeConvWinners<T>& task, int64_t begin, int64_t end, double* sums);

  // Gradient of the node products of all rows in channels [begin, end).
  void (*scatter)(const EdgeConvScatter<T>& task, int64_t begin, int64_t end);
};

}  // namespace pointkernels
