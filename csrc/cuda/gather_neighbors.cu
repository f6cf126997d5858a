// Features of neighbours, one by one or as a weighted sum, and their gradients: every output element is written by one
// thread, which adds in a fixed order, so there are no atomics.
#include "gather_neighbors.h"

#include <cuda_runtime.h>

#include "arch.cuh"
#include "index.cuh"
#include "launch.cuh"
#include "warp.cuh"

namespace pointkernels::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpSize;

int64_t blocks_for(int64_t items, int64_t items_per_block) {
  const int64_t blocks = divide_up(items, items_per_block);
  return blocks < kMaxBlocks ? blocks : kMaxBlocks;
}

// Grid: any; threads take the elements (edge, channel) in turns, so that a warp reads and writes consecutive channels.
template <typename T>
__global__ void __launch_bounds__(kThreads) gather_neighbors_kernel(GatherArguments<T> task) {
  const int64_t elements = task.queries * task.k * task.channels;
  for (int64_t at = grid_thread(); at < elements; at += grid_threads()) {
    const int64_t edge = quotient(at, task.channels);
    const int64_t channel = at - edge * task.channels;
    const int64_t neighbor = task.neighbors[edge];
    T value = 0;
    if (neighbor != -1) {
      const int64_t row = neighbor_row(quotient(edge, task.k), neighbor, task.query_size, task.cloud_size);
      value = task.features[row * task.channels + channel];
    }
    task.result[at] = value;
  }
}

// Grid: any; threads take the elements (query, channel) in turns and add over the list in order.
template <typename T>
__global__ void __launch_bounds__(kThreads) gather_weighted_kernel(GatherArguments<T> task) {
  const int64_t elements = task.queries * task.channels;
  for (int64_t at = grid_thread(); at < elements; at += grid_threads()) {
    const int64_t i = quotient(at, task.channels);
    const int64_t channel = at - i * task.channels;
    T sum = 0;
    for (int64_t s = 0; s < task.k; ++s) {
      const int64_t neighbor = task.neighbors[i * task.k + s];
      if (neighbor == -1) continue;
      const int64_t row = neighbor_row(i, neighbor, task.query_size, task.cloud_size);
      sum += task.weights[i * task.k + s] * task.features[row * task.channels + channel];
    }
    task.result[at] = sum;
  }
}

// Grid: any; a warp takes the edges in turns, its lanes the channels; their sums are combined in a fixed tree.
template <typename T>
__global__ void __launch_bounds__(kThreads) edge_products_kernel(GatherArguments<T> task) {
  for (int64_t edge = grid_thread() / kWarpSize; edge < task.queries * task.k; edge += grid_threads() / kWarpSize) {
    const int64_t neighbor = task.neighbors[edge];
    T sum = 0;
    if (neighbor != -1) {
      const int64_t i = quotient(edge, task.k);
      const int64_t row = neighbor_row(i, neighbor, task.query_size, task.cloud_size);
      for (int64_t c = lane_index(); c < task.channels; c += kWarpSize) {
        sum += task.grad[i * task.channels + c] * task.features[row * task.channels + c];
      }
    }
    sum = sum_over_lanes(sum, 1);
    if (lane_index() == 0) task.result[edge] = sum;
  }
}

// Grid: any; a warp takes the rows in turns, its lanes the channels, and adds over the edges in order.
template <typename T>
__global__ void __launch_bounds__(kThreads, 4) sum_over_edges_kernel(SumOverEdgesArguments<T> task) {
  for (int64_t row = grid_thread() / kWarpSize; row < task.rows; row += grid_threads() / kWarpSize) {
    const int64_t begin = task.offsets[row];
    const int64_t end = task.offsets[row + 1];
    for (int64_t c = lane_index(); c < task.channels; c += kWarpSize) {
      T sum = 0;
      for (int64_t place = begin; place < end; ++place) {
        const int64_t edge = task.edges[place];
        const T value = task.grad[quotient(edge, task.edges_per_row) * task.channels + c];
        sum += task.weights != nullptr ? task.weights[edge] * value : value;
      }
      task.sums[row * task.channels + c] = sum;
    }
  }
}

}  // namespace

template <typename T>
cudaError_t launch_gather_neighbors(const GatherArguments<T>& arguments, cudaStream_t stream) {
  const int64_t elements = arguments.queries * arguments.k * arguments.channels;
  if (elements == 0) return cudaSuccess;
  return launch(gather_neighbors_kernel<T>, blocks_for(elements, kThreads), dim3(kThreads), 0, stream, arguments);
}

template <typename T>
cudaError_t launch_gather_weighted(const GatherArguments<T>& arguments, cudaStream_t stream) {
  const int64_t elements = arguments.queries * arguments.channels;
  if (elements == 0) return cudaSuccess;
  return launch(gather_weighted_kernel<T>, blocks_for(elements, kThreads), dim3(kThreads), 0, stream, arguments);
}

template <typename T>
cudaError_t launch_edge_products(const GatherArguments<T>& arguments, cudaStream_t stream) {
  const int64_t edges = arguments.queries * arguments.k;
  if (edges == 0) return cudaSuccess;
  return launch(edge_products_kernel<T>, blocks_for(edges, kWarps), dim3(kThreads), 0, stream, arguments);
}

template <typename T>
cudaError_t launch_sum_over_edges(const SumOverEdgesArguments<T>& arguments, cudaStream_t stream) {
  if (arguments.rows == 0 || arguments.channels == 0) return cudaSuccess;
  return launch(sum_over_edges_kernel<T>, blocks_for(arguments.rows, kWarps), dim3(kThreads), 0, stream, arguments);
}

template cudaError_t launch_gather_neighbors<float>(const GatherArguments<float>&, cudaStream_t);
template cudaError_t launch_gather_neighbors<double>(const GatherArguments<double>&, cudaStream_t);
template cudaError_t launch_gather_weighted<float>(const GatherArguments<float>&, cudaStream_t);
template cudaError_t launch_gather_weighted<double>(const GatherArguments<double>&, cudaStream_t);
template cudaError_t launch_edge_products<float>(const GatherArguments<float>&, cudaStream_t);
template cudaError_t launch_edge_products<double>(const GatherArguments<double>&, cudaStream_t);
template cudaError_t launch_sum_over_edges<float>(const SumOverEdgesArguments<float>&, cudaStream_t);
template cudaError_t launch_sum_over_edges<double>(const SumOverEdgesArguments<double>&, cudaStream_t);

}  // namespace pointkernels::cuda
