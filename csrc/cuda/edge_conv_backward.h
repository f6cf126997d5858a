// Launcher of the EdgeConv gradient kernels (see library.cpp for the notation). Pointers are to device memory of the
// current device, owned by the caller and in use until the work on `stream` is done. Instantiated for float and double.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace pointkernels::cuda {

template <typename T>
struct EdgeConvBackwardArguments {
  const T* grad;             // (rows, channels)
  const T* nodes;            // (rows, 2 channels): [u | v]
  const int64_t* neighbors;  // (rows, k)
  const int64_t* offsets;    // (rows + 1): the reverse graph of neighbors
  const int64_t* edges;      // (rows * k)
  int64_t rows;
  int64_t k;
  int64_t channels;
  const T* bn_weight;  // (channels)
  const T* bn_bias;    // (channels)
  T eps;
  T negative_slope;
  const T* mean;        // (channels)
  const T* var;         // (channels)
  const double* count;  // (): number of edges
  const T* extremum;    // (rows, channels)
  const void* slot;     // (rows, channels), uint8 for k <= kMaxByteSlots, else int32
  const T* gathered;    // (rows, channels); nullptr: mean and var are constants
  void* workspace;      // edge_conv_backward_workspace() bytes, aligned as double
  T* grad_nodes;        // (rows, 2 channels)
  T* grad_bn_weight;    // (channels)
  T* grad_bn_bias;      // (channels)
};

int64_t edge_conv_backward_workspace(int64_t rows, int64_t channels);

// Writes every element of the gradients. Needs at least one row and one channel.
template <typename T>
cudaError_t launch_edge_conv_backward(const EdgeConvBackwardArguments<T>& arguments, cudaStream_t stream);

}  // namespace pointkernels::cuda
