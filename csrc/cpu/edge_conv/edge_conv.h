// Work descriptions of the EdgeConv passes over edges and rows; the loops are in edge_conv_loops.h.
// All of them see the rows of a window, counted from its first.
//
// Notation as in library.cpp: a row's node products are [u | v], 2 * channels wide; edge (i, s) points at row
// j = i / cloud_size * cloud_size + neighbors[i, s]; its pre-activation is u_j + v_i. Rows are `stride` apart.
#pragma once

#include <cstdint>

namespace pointkernels {

// Lists of up to this many neighbours have their winner's place stored in a byte; the largest byte marks "none".
inline constexpr int64_t kMaxByteSlots = 255;

// Rows and channels that are done together.
struct EdgeConvPiece {
  int64_t begin, end;  // rows
  int64_t channel_begin, channel_end;
};

template <typename T>
struct EdgeConvGather {
  const T* nodes;  // (rows, 2 channels), u with the sign of bn_weight, so that the largest wins
  int64_t stride;
  const int64_t* neighbors;  // (rows, k)
  const int32_t* degrees;    // (rows): neighbours that are not -1
  int64_t k, channels, cloud_size;
  const T* bn_weight;  // (channels)
  T* extremum;         // (rows, channels)
  void* slot;          // (rows, channels), uint8 for k <= kMaxByteSlots, else int32
  T* gathered;         // (rows, channels), or nullptr: not computed
};

// BatchNorm and LeakyReLU of the winning pre-activations; 0 in rows without edges.
template <typename T>
struct EdgeConvNormalize {
  int64_t k, channels;
  const T* extremum;
  const void* slot;
  const T* scale;  // (channels) bn_weight / standard deviation
  const T* mean;   // (channels)
  const T* bn_bias;
  T negative_slope;
  T* output;  // (rows, channels)
};

// Where the gradient of the output comes from, and how it passes activation and BatchNorm to the winning edges.
template <typename T>
struct EdgeConvWinners {
  int64_t k, channels;
  const T* grad;  // (rows, channels) of the output
  const T* extremum;
  const void* slot;
  const T* scale;      // (channels) bn_weight / standard deviation
  const T* deviation;  // (channels) 1 / standard deviation
  const T* mean;       // (channels)
  const T* bn_bias;
  T negative_slope;
};

template <typename T>
struct EdgeConvScatter {
  EdgeConvWinners<T> winners;
  const int64_t* neighbors;             // (rows, k)
  const int32_t *degrees, *in_degrees;  // (rows): edges out and in
  int64_t rows, cloud_size;
  bool dense;            // if not, the statistics are constants, without the two factors below
  const T* dense_scale;  // (channels) factor of u_j - mean and v_i - mean, summed over edges
  const T* dense_bias;   // (channels) added once an edge
  T* nodes;              // (rows, 3 channels): [u | v | nothing], which becomes [u | gradient of v | gradient of u]
  int64_t stride;
};

}  // namespace pointkernels
