// Launcher of the EdgeConv kernels (see library.cpp for the notation). Pointers are to device memory of the current
// device, owned by the caller and in use until the work on `stream` is done. Instantiated for float and double.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace pointkernels::cuda {

// Lists of up to this many neighbours have their winner's place stored in a byte; the largest byte marks "none".
constexpr int64_t kMaxByteSlots = 255;

template <typename T>
struct EdgeConvArguments {
  const T* nodes;            // (rows, 2 channels): [u | v]
  const int64_t* neighbors;  // (rows, k), -1 or within [0, cloud_size)
  int64_t rows;              // a multiple of cloud_size
  int64_t k;
  int64_t channels;
  int64_t cloud_size;
  const T* bn_weight;  // (channels)
  const T* bn_bias;    // (channels)
  T eps;
  T negative_slope;
  void* workspace;  // edge_conv_workspace() bytes, aligned as double
  T* output;        // (rows, channels)
  T* mean;          // (channels): written, or read when the statistics are given
  T* var;           // (channels): likewise
  double* count;    // (): number of edges
  T* extremum;      // (rows, channels)
  void* slot;       // (rows, channels), uint8 for k <= kMaxByteSlots, else int32
  T* gathered;      // (rows, channels); nullptr: mean and var are given
};

int64_t edge_conv_workspace(int64_t rows, int64_t channels);

// Writes every element of the results; without any edge, mean and var are 0. Needs at least one row and one channel.
template <typename T>
cudaError_t launch_edge_conv(const EdgeConvArguments<T>& arguments, cudaStream_t stream);

}  // namespace pointkernels::cuda
