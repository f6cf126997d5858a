// Work descriptions of the EdgeConv passes over edges and rows; the loops are in edge_conv_rows.h.
// All of them see the rows of a window, counted from its first.
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

// Rows up to which several clouds make a window.
inline constexpr int64_t kEdgeConvWindow = 1024;

// The part of a second-level cache of 1 MiB or more that edges may lead to, and the fewest channels worth a pass over
// the lists.
inline constexpr int64_t kEdgeConvCache = 640 << 10, kEdgeConvChannels = 32;

// Rows and channels that are done together.
struct EdgeConvPiece {
  int64_t begin, end;  // rows
  int64_t channel_begin, channel_end;
};

// Clouds are worked on one after the other, small ones several together: the rows of a window.
inline int64_t edge_conv_window(int64_t cloud_size) {
  return cloud_size > 0 && cloud_size < kEdgeConvWindow ? kEdgeConvWindow / cloud_size * cloud_size : cloud_size;
}

// A window cut into pieces: all its rows by kEdgeConvRows for some channels, then for the next, so that what edges lead
// to stays in the second-level cache.
struct EdgeConvPieces {
  int64_t rows, channels;
  int64_t units, block;  // units of rows, and channels of a piece

  // `bytes` are read of a channel of each row that an edge leads to.
  EdgeConvPieces(int64_t rows, int64_t cloud_size, int64_t channels, int64_t bytes)
      : rows(rows), channels(channels), units((rows + kEdgeConvRows - 1) / kEdgeConvRows) {
    block = kEdgeConvCache / (bytes * (cloud_size > 0 ? cloud_size : 1)) / kEdgeConvChannels * kEdgeConvChannels;
    // A cloud that does not fit with the fewest channels does not fit at all.
    if (block < kEdgeConvChannels || block > channels) block = channels;
  }

  int64_t count() const { return channels > 0 ? units * ((channels + block - 1) / block) : 0; }
  int64_t unit(int64_t index) const { return index % units; }
  EdgeConvPiece operator[](int64_t index) const {
    const int64_t begin = unit(index) * kEdgeConvRows, channel = index / units * block;
    return {begin, begin + kEdgeConvRows < rows ? begin + kEdgeConvRows : rows, channel,
            channel + block < channels ? channel + block : channels};
  }
};

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

// The gradient of the winning edges' normalised pre-activations.
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
  T* winner_grad;  // (rows, channels), or nullptr
};

template <typename T>
struct EdgeConvScatter {
  const T* nodes;            // (rows, 2 channels)
  const int64_t* neighbors;  // (rows, k)
  const int64_t* offsets;    // reverse graph, of which the rows' first edge is number first_edge
  const int64_t* edges;
  int64_t first_edge;
  bool holes;  // whether there are entries -1 among the neighbours
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
