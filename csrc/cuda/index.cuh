// Arithmetic on row and edge numbers.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "arch.cuh"

namespace pointkernels::cuda {

// number / by for non-negative operands. There is no 64-bit division instruction, and its replacement takes several
// times as long as the 32-bit one, which serves nearly always.
__device__ inline int64_t quotient(int64_t number, int64_t by) {
  if (((number | by) >> 32) == 0) return static_cast<uint32_t>(number) / static_cast<uint32_t>(by);
  return number / by;
}

// Where one thread's share of `count` items begins when item i belongs to thread i modulo all threads of the grid.
__device__ inline int64_t grid_thread() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ inline int64_t grid_threads() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }

// The row that entry `neighbor` of the list of query row i stands for. Entries must be -1 or within the cloud; -1, an
// unused entry, must have been dealt with by the caller.
__device__ inline int64_t neighbor_row(int64_t i, int64_t neighbor, int64_t query_size, int64_t cloud_size) {
  PK_DEVICE_CHECK(neighbor >= 0 && neighbor < cloud_size);
  return quotient(i, query_size) * cloud_size + neighbor;
}

}  // namespace pointkernels::cuda
