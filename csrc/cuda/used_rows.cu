// Which rows of a neighbour graph have an edge, out or in.
#include <cuda_runtime.h>

#include "arch.cuh"
#include "index.cuh"
#include "launch.cuh"
#include "used_rows.h"

namespace pointkernels::cuda {

namespace {

constexpr int kThreads = 256;
// A few entries a thread amortise its start; beyond that, more blocks are better.
constexpr int64_t kThreadEntries = 4;

// Grid: any number of blocks of kThreads; entry e belongs to thread e modulo all threads. Threads race to write the
// same value into a byte, which is as good as one of them writing it.
__global__ void __launch_bounds__(kThreads)
    used_rows_kernel(const int64_t* neighbors, int64_t rows, int64_t k, int64_t cloud_size, bool* used) {
  for (int64_t e = grid_thread(); e < rows * k; e += grid_threads()) {
    const int64_t neighbor = neighbors[e];
    if (neighbor == -1) continue;
    const int64_t row = quotient(e, k);
    used[row] = true;
    used[neighbor_row(row, neighbor, cloud_size, cloud_size)] = true;
  }
}

}  // namespace

cudaError_t launch_used_rows(const int64_t* neighbors, int64_t rows, int64_t k, int64_t cloud_size, bool* used,
                             cudaStream_t stream) {
  if (rows == 0) return cudaSuccess;
  const cudaError_t cleared = cudaMemsetAsync(used, 0, rows, stream);
  if (cleared != cudaSuccess || k == 0) return cleared;
  const int64_t blocks = divide_up(rows * k, kThreads * kThreadEntries);
  return launch(used_rows_kernel, blocks < kMaxBlocks ? blocks : kMaxBlocks, dim3(kThreads), 0, stream, neighbors, rows,
                k, cloud_size, used);
}

}  // namespace pointkernels::cuda
