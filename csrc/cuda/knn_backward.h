// Launcher of the gradient of kNN's squared distances. Pointers are to device memory of the current device, owned by
// the caller and in use until the work on `stream` is done. Instantiated for float and double.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace pointkernels::cuda {

template <typename T>
struct KnnBackwardArguments {
  const T* grad;             // (queries, k)
  const T* points;           // (rows, dims)
  const T* query;            // (queries, dims)
  const int64_t* neighbors;  // (queries, k), -1 or within [0, cloud_size)
  const int64_t* offsets;    // (rows + 1): the reverse graph of neighbors
  const int64_t* edges;      // (queries * k)
  int64_t rows;
  int64_t queries;
  int64_t k;
  int64_t dims;
  int64_t query_size;
  int64_t cloud_size;
  T* grad_points;  // (rows, dims)
  T* grad_query;   // (queries, dims)
};

// Writes every element of both gradients. No workspace; either number of rows may be 0.
template <typename T>
cudaError_t launch_knn_backward(const KnnBackwardArguments<T>& arguments, cudaStream_t stream);

}  // namespace pointkernels::cuda
