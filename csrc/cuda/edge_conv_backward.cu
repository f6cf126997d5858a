// Gradient of EdgeConv in closed form, without edge tensors and without atomics.
//
// With t_i the gradient of row i's winning edge before LeakyReLU, xh = (h - mean) / std, and M edges, BatchNorm's
// gradient of edge e is weight / std * (t_e - sum(t) / M - xh_e * sum(t xh) / M), t_e = 0 but for winners. Its sum over
// the edges at row j is the gradient of u_j, its sum over those of row i the gradient of v_i:
//   grad u_j = weight / std * (t of the edges at j that won - d_j sum(t) / M - sum(t xh) / (M std) * (sum of h - mean))
// and alike for v_i, whose sum of h - mean is n_i (v_i - mean) + gathered_i. With statistics given, only t remains.
#include <cuda_runtime.h>

#include "edge_conv.cuh"
#include "edge_conv.h"
#include "edge_conv_backward.h"
#include "index.cuh"

namespace pointkernels::cuda {

namespace {

constexpr int kCombineLanes = 32;  // of channels, and of partial results: 1024 threads

// sum(t) and sum(t xh).
struct Sums {
  double bias;
  double weight;
};

struct CombineSums {
  __device__ Sums operator()(const Sums& a, const Sums& b) const { return Sums{a.bias + b.bias, a.weight + b.weight}; }
};

// What a channel's edges subtract: sum(t) / M, and sum(t xh) / (M std) times h - mean.
template <typename T>
struct Dense {
  T bias;
  T weight;
};

// The workspace: the sums of each row block and channel, then the Dense of each channel.
template <typename T>
__device__ inline Sums* partial_sums(const EdgeConvBackwardArguments<T>& task) {
  return static_cast<Sums*>(task.workspace);
}

template <typename T>
__device__ inline Dense<T>* dense_parts(const EdgeConvBackwardArguments<T>& task, int64_t row_blocks) {
  return reinterpret_cast<Dense<T>*>(partial_sums(task) + row_blocks * task.channels);
}

// Gradient of the winning edge of row i before LeakyReLU; 0 for a row without neighbours.
template <typename T, typename Slot>
__device__ inline T winner_gradient(const EdgeConvBackwardArguments<T>& task, const Activation<T>& activation,
                                    int64_t at) {
  if (static_cast<const Slot*>(task.slot)[at] == kNoSlot<Slot>) return 0;
  return activation.backward(task.extremum[at], task.grad[at]);
}

// Grid and block: edge_conv_grid(). Shared: the sums of each thread, 4 KiB. Sums over the rows of a row block.
template <typename T, typename Slot>
__global__ void __launch_bounds__(kEdgeConvThreads, 4)
    sum_gradients_kernel(EdgeConvBackwardArguments<T> task, int64_t channel_blocks, int64_t block_rows) {
  __shared__ Sums shared[kEdgeConvThreads];
  const EdgeConvShare share = edge_conv_share(channel_blocks, block_rows, task.rows);
  const bool in_range = share.channel < task.channels;
  Sums own{0, 0};
  if (in_range) {
    const Activation<T> activation = activation_of(task, share.channel);
    for (int64_t i = share.begin; i < share.end; i += blockDim.y) {
      const int64_t at = i * task.channels + share.channel;
      const bool has_neighbors = static_cast<const Slot*>(task.slot)[at] != kNoSlot<Slot>;
      if (!has_neighbors) continue;
      const T t = winner_gradient<T, Slot>(task, activation, at);
      own.bias += t;
      own.weight += t * activation.normalised(task.extremum[at]);
    }
  }
  own = combine_lanes(own, shared, CombineSums{});
  if (in_range && threadIdx.y == 0) partial_sums(task)[share.row_block * task.channels + share.channel] = own;
}

// Grid: a block per kCombineLanes channels. Block: (kCombineLanes, kCombineLanes). Shared: the sums of each thread, 16
// KiB.
template <typename T>
__global__ void __launch_bounds__(kCombineLanes* kCombineLanes)
    combine_sums_kernel(EdgeConvBackwardArguments<T> task, int64_t row_blocks) {
  __shared__ Sums shared[kCombineLanes * kCombineLanes];
  const int64_t c = static_cast<int64_t>(blockIdx.x) * kCombineLanes + threadIdx.x;
  Sums own{0, 0};
  for (int64_t block = threadIdx.y; block < row_blocks && c < task.channels; block += kCombineLanes) {
    own = CombineSums{}(own, partial_sums(task)[block * task.channels + c]);
  }
  own = combine_lanes(own, shared, CombineSums{});
  if (c >= task.channels || threadIdx.y != 0) return;
  task.grad_bn_bias[c] = static_cast<T>(own.bias);
  task.grad_bn_weight[c] = static_cast<T>(own.weight);
  const double edges = *task.count;
  const bool dense = task.gathered != nullptr && edges > 0;
  const double inverse_std = activation_of(task, c).inverse_std;
  dense_parts(task, row_blocks)[c] = Dense<T>{static_cast<T>(dense ? own.bias / edges : 0),
                                              static_cast<T>(dense ? own.weight / edges * inverse_std : 0)};
}

// Grid: any; a block takes one row and its channels at a time, in turns. Block: edge_conv_grid(). Lane y takes every
// blockDim.y-th edge at the row, then the lanes are combined in a fixed tree. Shared: the sums of each thread.
template <typename T, typename Slot>
__global__ void __launch_bounds__(kEdgeConvThreads, 4)
    node_gradients_kernel(EdgeConvBackwardArguments<T> task, int64_t channel_blocks, int64_t row_blocks) {
  struct RowSums {
    T won;        // t of the edges at the row that won
    T deviation;  // h - mean of all edges at the row
    T neighbors;  // length of the row's own list
  };
  struct CombineRowSums {
    __device__ RowSums operator()(const RowSums& a, const RowSums& b) const {
      return RowSums{a.won + b.won, a.deviation + b.deviation, a.neighbors + b.neighbors};
    }
  };
  __shared__ RowSums shared[kEdgeConvThreads];
  const Slot* const slots = static_cast<const Slot*>(task.slot);
  const bool dense = task.gathered != nullptr;
  for (int64_t work = blockIdx.x; work < task.rows * channel_blocks; work += gridDim.x) {
    const int64_t j = quotient(work, channel_blocks);
    const int64_t c = (work - j * channel_blocks) * blockDim.x + threadIdx.x;
    const bool in_range = c < task.channels;
    const Activation<T> activation = in_range ? activation_of(task, c) : Activation<T>{};
    const T own_u = in_range ? task.nodes[j * 2 * task.channels + c] - activation.mean : T(0);
    const int64_t begin = task.offsets[j];
    const int64_t end = task.offsets[j + 1];
    RowSums own{0, 0, 0};
    for (int64_t place = begin + threadIdx.y; place < end && in_range; place += blockDim.y) {
      PK_COUNT("edges", 1);
      const int64_t edge = task.edges[place];
      const int64_t i = quotient(edge, task.k);
      const int64_t at = i * task.channels + c;
      if (static_cast<int64_t>(slots[at]) == edge - i * task.k) {
        own.won += activation.backward(task.extremum[at], task.grad[at]);
      }
      if (dense) own.deviation += own_u + task.nodes[(i * 2 + 1) * task.channels + c];
    }
    for (int64_t s = threadIdx.y; s < task.k && dense; s += blockDim.y) {
      own.neighbors += task.neighbors[j * task.k + s] != -1 ? T(1) : T(0);
    }
    own = combine_lanes(own, shared, CombineRowSums{});
    if (!in_range || threadIdx.y != 0) continue;
    const int64_t at = j * task.channels + c;
    T grad_u = own.won;
    T grad_v = winner_gradient<T, Slot>(task, activation, at);
    if (dense) {
      const Dense<T> part = dense_parts(task, row_blocks)[c];
      const T own_v = task.nodes[(j * 2 + 1) * task.channels + c] - activation.mean;
      grad_u -= static_cast<T>(end - begin) * part.bias + part.weight * own.deviation;
      grad_v -= own.neighbors * part.bias + part.weight * (own.neighbors * own_v + task.gathered[at]);
    }
    task.grad_nodes[j * 2 * task.channels + c] = activation.scale() * grad_u;
    task.grad_nodes[(j * 2 + 1) * task.channels + c] = activation.scale() * grad_v;
  }
}

template <typename T, typename Slot>
cudaError_t launch_passes(const EdgeConvBackwardArguments<T>& arguments, cudaStream_t stream) {
  const EdgeConvGrid grid = edge_conv_grid(arguments.rows, arguments.channels);
  cudaError_t error = launch(sum_gradients_kernel<T, Slot>, grid.channel_blocks * grid.row_blocks, grid.threads, 0,
                             stream, arguments, grid.channel_blocks, grid.block_rows);
  if (error != cudaSuccess) return error;
  error = launch(combine_sums_kernel<T>, divide_up(arguments.channels, kCombineLanes),
                 dim3(kCombineLanes, kCombineLanes), 0, stream, arguments, grid.row_blocks);
  if (error != cudaSuccess) return error;
  const int64_t work = arguments.rows * grid.channel_blocks;
  return launch(node_gradients_kernel<T, Slot>, work < kMaxBlocks ? work : kMaxBlocks, grid.threads, 0, stream,
                arguments, grid.channel_blocks, grid.row_blocks);
}

}  // namespace

int64_t edge_conv_backward_workspace(int64_t rows, int64_t channels) {
  const int64_t row_blocks = edge_conv_grid(rows, channels).row_blocks;
  return channels * (row_blocks * static_cast<int64_t>(sizeof(Sums)) + static_cast<int64_t>(sizeof(Dense<double>)));
}

template <typename T>
cudaError_t launch_edge_conv_backward(const EdgeConvBackwardArguments<T>& arguments, cudaStream_t stream) {
  return arguments.k <= kMaxByteSlots ? launch_passes<T, uint8_t>(arguments, stream)
                                      : launch_passes<T, int32_t>(arguments, stream);
}

template cudaError_t launch_edge_conv_backward<float>(const EdgeConvBackwardArguments<float>&, cudaStream_t);
template cudaError_t launch_edge_conv_backward<double>(const EdgeConvBackwardArguments<double>&, cudaStream_t);

}  // namespace pointkernels::cuda
