// What the forward and the backward kernels of EdgeConv share.
//
// Blocks are (channels, lanes): x runs over up to 64 channels, so that a warp reads whole lines of a row, and y over
// rows or edges. The numbers of blocks, and with them the order of every sum, depend on the shapes alone.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "arch.cuh"
#include "launch.cuh"

namespace pointkernels::cuda {

constexpr int kEdgeConvThreads = 256;
constexpr int kMaxChannelLanes = 64;
// Enough blocks for two waves on the largest GPUs, few enough that combining their sums takes a few microseconds.
constexpr int64_t kMaxRowBlocks = 512;

// How (rows, channels) is cut into blocks; block b has channel block b % channel_blocks and row block b /
// channel_blocks.
struct EdgeConvGrid {
  dim3 threads;
  int64_t channel_blocks;
  int64_t row_blocks;
  int64_t block_rows;
};

inline EdgeConvGrid edge_conv_grid(int64_t rows, int64_t channels) {
  unsigned x = 1;
  while (x < kMaxChannelLanes && x < channels) x *= 2;
  const unsigned y = kEdgeConvThreads / x;  // with few channels, many rows
  EdgeConvGrid grid;
  grid.threads = dim3(x, y);
  grid.channel_blocks = divide_up(channels, x);
  const int64_t blocks = divide_up(rows, y);
  grid.row_blocks = blocks < kMaxRowBlocks ? blocks : kMaxRowBlocks;
  grid.block_rows = divide_up(rows, grid.row_blocks);
  return grid;
}

// This thread's channel and first row, and where its row block ends. Rows are blockDim.y apart.
struct EdgeConvShare {
  int64_t channel;
  int64_t row_block;
  int64_t begin;
  int64_t end;
};

__device__ inline EdgeConvShare edge_conv_share(int64_t channel_blocks, int64_t block_rows, int64_t rows) {
  const int64_t row_block = blockIdx.x / channel_blocks;
  const int64_t first = row_block * block_rows;
  const int64_t end = first + block_rows < rows ? first + block_rows : rows;
  return EdgeConvShare{(blockIdx.x % channel_blocks) * blockDim.x + threadIdx.x, row_block, first + threadIdx.y, end};
}

// The mark of a row without neighbours: all ones.
template <typename Slot>
constexpr Slot kNoSlot = static_cast<Slot>(~Slot{0});

// BatchNorm and LeakyReLU of one channel.
template <typename T>
struct Activation {
  T mean;
  T inverse_std;
  T weight;
  T bias;
  T negative_slope;

  __device__ T normalised(T h) const { return inverse_std * (h - mean); }
  __device__ T scale() const { return weight * inverse_std; }
  __device__ T before(T h) const { return scale() * (h - mean) + bias; }
  __device__ T operator()(T h) const {
    const T z = before(h);
    return z > 0 ? z : negative_slope * z;
  }
  // Gradient with respect to before(h), given the gradient of the result.
  __device__ T backward(T h, T grad) const { return before(h) > 0 ? grad : negative_slope * grad; }
};

template <typename Task>
__device__ inline auto activation_of(const Task& task, int64_t channel) {
  using T = decltype(task.eps);
  const T inverse_std = T(1) / sqrt(task.var[channel] + task.eps);
  return Activation<T>{task.mean[channel], inverse_std, task.bn_weight[channel], task.bn_bias[channel],
                       task.negative_slope};
}

// Combines the blockDim.y values that each channel of the block holds, in a fixed tree; the thread of lane y = 0 has
// the result. blockDim.y must be a power of two. To be called by all threads of the block.
template <typename Value, typename Combine>
__device__ inline Value combine_lanes(Value value, Value* shared, const Combine& combine) {
  const int own = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x);
  for (int step = static_cast<int>(blockDim.y) / 2; step > 0; step /= 2) {
    __syncthreads();
    shared[own] = value;
    __syncthreads();
    if (static_cast<int>(threadIdx.y) < step) value = combine(value, shared[own + step * static_cast<int>(blockDim.x)]);
  }
  return value;
}

}  // namespace pointkernels::cuda
