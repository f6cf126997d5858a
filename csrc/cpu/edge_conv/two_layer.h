// Work descriptions of the passes over edges of EdgeConv with two layers; the loops are in two_layer_loops.h.
//
// Notation as in library.cpp: edge (i, s) points at row j = i / cloud_size * cloud_size + neighbors[i, s]; its first
// pre-activation is h1 = u_j + v_i, its activation a = LeakyReLU(scale (h1 - mean) + bias) - center, its second
// pre-activation h2 = weight a. Channels are padded with zeros to a multiple of kTwoLayerPad in all that is read and
// written here, so that no loop has a rest; H and O are the padded numbers of hidden and output channels.
// Panels are those of linear.h.
#pragma once

#include <cstdint>

namespace pointkernels {

inline constexpr int64_t kTwoLayerPad = 16;  // a multiple of every vector's width
// Edges that are multiplied at a time. Work spaces for edges have room for a multiple of it.
inline constexpr int64_t kTwoLayerBlock = 6;
// Rows are taken together until they have so many edges, so that short lists fill the matrix products, too.
inline constexpr int64_t kTwoLayerTile = 96;

// The largest number of edges of a tile, whose lists have k entries. Static, because the loops use it; see isa.h.
static constexpr int64_t two_layer_tile(int64_t k) {
  const int64_t edges = k > kTwoLayerTile ? k : kTwoLayerTile;
  return (edges + kTwoLayerBlock - 1) / kTwoLayerBlock * kTwoLayerBlock;
}

template <typename T>
struct TwoLayerEdges {
  const T* nodes;            // (rows, 2 H): [u | v]
  const int64_t* neighbors;  // (rows, k)
  int64_t k, cloud_size, hidden, outputs;
  const T* mean;  // (H) of the first BatchNorm
  const T* scale;
  const T* bias;
  const T* center;
  T negative_slope;
};

template <typename T>
struct TwoLayerForward {
  TwoLayerEdges<T> edges;
  const T* weight;  // panels of (H, O)
  const T* sign;    // (O): -1, 0 or 1, the sign of the second BatchNorm's weight
  T* best;          // (rows, O): winning second pre-activation
  int32_t* slot;    // (rows, O): its place in the list, or -1
};

// Work space of one thread: so many edges as two_layer_tile() says.
template <typename T>
struct TwoLayerTile {
  T* deviations;   // (edges, H): h1 - mean; backward only
  T* activations;  // (edges, H)
  T* products;     // (edges, O) forward, (edges, H) backward
  int32_t* edges;  // (k): the edge of each place; backward only
};

template <typename T>
struct TwoLayerBackward {
  TwoLayerEdges<T> edges;
  const T* weight;       // (outputs, H): the second layer's
  const T* winner_grad;  // (rows, outputs): gradient of the winning second pre-activation, without the dense part
  const int32_t* slot;   // (rows, outputs)
  const T* dense;        // panels of (H, H): the dense part of the gradient of a is dense_start + dense a; or
  const T* dense_start;  // (H), both nullptr where the second layer's statistics are constants
};

// Results of the backward pass over the edges of some rows. Sums are added to what is there.
template <typename T>
struct TwoLayerSums {
  T* edge_grad;            // (rows, k, H) from the first row on: gradient of scale (h1 - mean) + bias
  T* row_grad;             // stride 2 H, from the first row on: its sum over the edges of each row
  T* row_deviation;        // (rows, H) from the first row on: sum of h1 - mean
  double* grad_sum;        // (H): sum of edge_grad
  double* grad_deviation;  // (H): sum of edge_grad (h1 - mean)
  T* grad_weight;          // (outputs, H): sum of winner_grad a
  T* gram;                 // (H, H): sum of a a^T, on and above the diagonal; only with a dense part
  T* activation_sum;       // (H): likewise
};

template <typename T>
struct TwoLayerKernels {
  // Adds the number of edges out of rows [begin, end) times u_j + v_i and times its square to moments (2 H).
  void (*moments)(const TwoLayerEdges<T>& task, int64_t begin, int64_t end, double* moments);

  // Winners of rows [begin, end). Adds the sum and the sum of squares of all h2 to moments (2 O), unless it is nullptr.
  void (*forward)(const TwoLayerForward<T>& task, int64_t begin, int64_t end, const TwoLayerTile<T>& tile,
                  double* moments);

  void (*backward)(const TwoLayerBackward<T>& task, int64_t begin, int64_t end, const TwoLayerTile<T>& tile,
                   const TwoLayerSums<T>& sums);

  // Adds `count` rows of `width` (a multiple of kTwoLayerPad) numbers to sum: those whose numbers are rows[0], ...
  // less `first`, divided by `divisor`, times `stride` apart.
  void (*add_rows)(const T* from, int64_t stride, const int64_t* rows, int64_t count, int64_t first, int64_t divisor,
                   int64_t width, T* sum);
};

}  // namespace pointkernels
