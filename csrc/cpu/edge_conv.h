// Work descriptions of the two EdgeConv passes over edges; the loops are in edge_conv_rows.h.
//
// Notation as in library.cpp: a row's node products are [u | v], 2 * channels wide; edge (i, s) points at row
// j = i / cloud_size * cloud_size + neighbors[i, s]; its pre-activation is u_j + v_i.
#pragma once

#include <cstdint>

namespace pointkernels {

// Lists of up to this many neighbours have their winner's place stored in a byte; the largest byte marks "none".
inline constexpr int64_t kMaxByteSlots = 255;

// Rows per unit of parallel work. Sums over rows are taken per unit and then over units in order, so that they do not
// depend on the number of threads.
inline constexpr int64_t kEdgeConvRows = 128;

template <typename T>
struct EdgeConvGather {
  const T* nodes;            // (rows, 2 channels)
  const int64_t* neighbors;  // (rows, k)
  int64_t k, channels, cloud_size;
  const T* bn_weight;  // (channels): its sign decides between maximum and minimum
  T* extremum;         // (rows, channels)
  void* slot;          // (rows, channels), uint8 for k <= kMaxByteSlots, else int32
  T* gathered;         // (rows, channels), or nullptr when no statistics are wanted
};

template <typename T>
struct EdgeConvScatter {
  const T* nodes;            // (rows, 2 channels)
  const int64_t* neighbors;  // (rows, k)
  const int64_t* offsets;    // reverse graph
  const int64_t* edges;
  int64_t k, channels;
  const T* winner_grad;  // (rows, channels): gradient of the winning edge's normalised pre-activation; 0 without edges
  const void* slot;
  const T* gathered;     // nullptr: the statistics are constants and the three dense factors below are unused
  const T* scale;        // (channels) bn_weight / standard deviation
  const T* mean;         // (channels)
  const T* dense_scale;  // (channels) factor of u_j - mean and v_i - mean, summed over edges
  const T* dense_bias;   // (channels) added once an edge
  T* grad_nodes;         // (rows, 2 channels)
};

}  // namespace pointkernels
