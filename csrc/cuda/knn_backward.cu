// Gradient of the squared distances d = |p - q|^2 of kNN: 2 (p - q) times the incoming gradient, summed for each query
// over its list and for each point over the edges at it, in a fixed order and without atomics.
#include <cuda_runtime.h>

#include "arch.cuh"
#include "index.cuh"
#include "knn_backward.h"
#include "launch.cuh"
#include "warp.cuh"

namespace pointkernels::cuda {

namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarpSize;

// Grid: any; a warp takes the rows in turns. No shared memory.
// A warp's lanes are `width` coordinates (the power of two that covers dims, at most 32) by 32 / width edges; its sums
// over edges are combined in a fixed tree.
// kOfPoints: rows are points and edges those of the reverse graph; else rows are queries and edges their lists.
template <typename T, bool kOfPoints>
__global__ void __launch_bounds__(kThreads, 8) knn_backward_kernel(KnnBackwardArguments<T> task, int width) {
  const int64_t rows = kOfPoints ? task.rows : task.queries;
  const T* const own = kOfPoints ? task.points : task.query;
  const T* const others = kOfPoints ? task.query : task.points;
  T* const result = kOfPoints ? task.grad_points : task.grad_query;
  const int first_edge = lane_index() / width;
  const int edge_step = kWarpSize / width;
  for (int64_t row = grid_thread() / kWarpSize; row < rows; row += grid_threads() / kWarpSize) {
    const int64_t begin = kOfPoints ? task.offsets[row] : row * task.k;
    const int64_t end = kOfPoints ? task.offsets[row + 1] : begin + task.k;
    for (int64_t d_base = 0; d_base < task.dims; d_base += width) {
      const int64_t d = d_base + lane_index() % width;
      const bool in_range = d < task.dims;
      const T mine = in_range ? own[row * task.dims + d] : T(0);
      T sum = 0;
      for (int64_t place = begin + first_edge; place < end && in_range; place += edge_step) {
        PK_COUNT("edges", 1);
        const int64_t edge = kOfPoints ? task.edges[place] : place;
        int64_t other;
        if (kOfPoints) {
          other = quotient(edge, task.k);
        } else {
          const int64_t neighbor = task.neighbors[edge];
          if (neighbor == -1) continue;
          other = neighbor_row(row, neighbor, task.query_size, task.cloud_size);
        }
        sum += task.grad[edge] * (mine - others[other * task.dims + d]);
      }
      sum = sum_over_lanes(sum, width);
      if (in_range && first_edge == 0) result[row * task.dims + d] = 2 * sum;
    }
  }
}

}  // namespace

template <typename T>
cudaError_t launch_knn_backward(const KnnBackwardArguments<T>& arguments, cudaStream_t stream) {
  int width = 1;
  while (width < kWarpSize && width < arguments.dims) width *= 2;
  cudaError_t error = cudaSuccess;
  if (arguments.queries > 0) {
    const int64_t blocks = divide_up(arguments.queries, kWarps);
    error = launch(knn_backward_kernel<T, false>, blocks < kMaxBlocks ? blocks : kMaxBlocks, dim3(kThreads), 0, stream,
                   arguments, width);
  }
  if (arguments.rows > 0 && error == cudaSuccess) {
    const int64_t blocks = divide_up(arguments.rows, kWarps);
    error = launch(knn_backward_kernel<T, true>, blocks < kMaxBlocks ? blocks : kMaxBlocks, dim3(kThreads), 0, stream,
                   arguments, width);
  }
  return error;
}

template cudaError_t launch_knn_backward<float>(const KnnBackwardArguments<float>&, cudaStream_t);
template cudaError_t launch_knn_backward<double>(const KnnBackwardArguments<double>&, cudaStream_t);

}  // namespace pointkernels::cuda
