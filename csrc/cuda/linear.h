// Launchers of the products of tall matrices with small ones. Pointers are to device memory of the current device,
// owned by the caller and in use until the work on `stream` is done. Instantiated for float and double.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace pointkernels::cuda {

template <typename T>
struct ProductArguments {
  const T* left;   // (rows, depth)
  const T* right;  // (depth, columns): entry (d, c) is right[d * right_row + c * right_step]
  int64_t right_row;
  int64_t right_step;  // it or right_row is 1
  int64_t rows;
  int64_t depth;
  int64_t columns;
  T* result;  // (rows, columns), 16-byte aligned
};

// Writes left times right. No workspace.
template <typename T>
cudaError_t launch_product(const ProductArguments<T>& arguments, cudaStream_t stream);

template <typename T>
struct TransposedProductArguments {
  const T* left;   // (rows, outputs)
  const T* right;  // (rows, columns)
  int64_t rows;
  int64_t outputs;
  int64_t columns;
  T* workspace;  // transposed_product_workspace() numbers
  T* result;     // (outputs, columns)
};

int64_t transposed_product_workspace(int64_t rows, int64_t outputs, int64_t columns);

// Writes left^T times right.
template <typename T>
cudaError_t launch_transposed_product(const TransposedProductArguments<T>& arguments, cudaStream_t stream);

}  // namespace pointkernels::cuda
