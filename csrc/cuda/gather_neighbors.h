// Launchers of the gathering kernels and their gradients. Pointers are to device memory of the current device, owned by
// the caller and in use until the work on `stream` is done. Instantiated for float and double. No workspace; every
// number of rows and channels may be 0.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace pointkernels::cuda {

template <typename T>
struct GatherArguments {
  const T* features;         // (rows, channels)
  const int64_t* neighbors;  // (queries, k), -1 or within [0, cloud_size)
  const T* weights;          // (queries, k) for gather_weighted
  const T* grad;             // (queries, channels) for edge_products
  int64_t queries;
  int64_t k;
  int64_t channels;
  int64_t query_size;
  int64_t cloud_size;
  T* result;
};

// result (queries, k, channels): the features of each neighbour, zeros for -1.
template <typename T>
cudaError_t launch_gather_neighbors(const GatherArguments<T>& arguments, cudaStream_t stream);

// result (queries, channels): the weighted sum of the features of the neighbours.
template <typename T>
cudaError_t launch_gather_weighted(const GatherArguments<T>& arguments, cudaStream_t stream);

// result (queries, k): the product of the row of grad and the row of features that each edge joins, 0 for -1.
template <typename T>
cudaError_t launch_edge_products(const GatherArguments<T>& arguments, cudaStream_t stream);

template <typename T>
struct SumOverEdgesArguments {
  const T* grad;           // (number of edges / edges_per_row, channels)
  const T* weights;        // as many as edges, or nullptr for ones
  const int64_t* offsets;  // (rows + 1): a reverse graph
  const int64_t* edges;
  int64_t rows;
  int64_t channels;
  int64_t edges_per_row;
  T* sums;  // (rows, channels)
};

template <typename T>
cudaError_t launch_sum_over_edges(const SumOverEdgesArguments<T>& arguments, cudaStream_t stream);

}  // namespace pointkernels::cuda
