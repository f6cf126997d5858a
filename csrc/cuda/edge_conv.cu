// EdgeConv forward without edge tensors: one pass over the edges finds the winners and the statistics of the
// pre-activations h = u_j + v_i; normalising only the winners is enough, since BatchNorm and LeakyReLU keep or, with a
// negative weight, reverse the order of h within a channel. v_i is the same for all edges of row i, so the winner is
// the largest or smallest u_j.
#include <cuda_runtime.h>

#include "edge_conv.cuh"
#include "edge_conv.h"
#include "index.cuh"

namespace pointkernels::cuda {

namespace {

constexpr int kCombineLanes = 32;  // of channels, and of partial results: 1024 threads

// Number, mean and sum of squared deviations.
struct Moments {
  double count;
  double mean;
  double deviations;
};

// Chan, Golub, LeVeque: Updating formulae and a pairwise algorithm for computing sample variances (1979).
struct CombineMoments {
  __device__ Moments operator()(const Moments& a, const Moments& b) const {
    if (b.count == 0) return a;
    if (a.count == 0) return b;
    const double count = a.count + b.count;
    const double difference = b.mean - a.mean;
    const double share = b.count / count;
    return Moments{count, a.mean + difference * share,
                   a.deviations + b.deviations + difference * difference * a.count * share};
  }
};

// Grid and block: edge_conv_grid(); a thread walks the lists of its rows for its channel.
// Shared: the moments of each thread, 6 KiB. Global: a Moments per row block and channel in the workspace.
// Statistics: within a row, sums of u_j - u_first in T, small numbers whatever the offset of the features; across rows,
//   sums of h less this thread's first h in double; across threads and blocks, moments. Each in a fixed order.
// Ties: the first of equal u_j wins, and the first NaN wins over everything, as in torch.max.
template <typename T, typename Slot>
__global__ void __launch_bounds__(kEdgeConvThreads)
    gather_edges_kernel(EdgeConvArguments<T> task, int64_t channel_blocks, int64_t block_rows) {
  __shared__ Moments shared[kEdgeConvThreads];
  const EdgeConvShare share = edge_conv_share(channel_blocks, block_rows, task.rows);
  const int64_t c = share.channel;
  const bool in_range = c < task.channels;
  const bool training = task.gathered != nullptr;
  const T weight = in_range ? task.bn_weight[c] : T(0);
  const T sign = weight < 0 ? T(-1) : weight == 0 ? T(0) : T(1);  // with 0, no number is above another
  const Activation<T> activation = in_range && !training ? activation_of(task, c) : Activation<T>{};
  Slot* const slots = static_cast<Slot*>(task.slot);

  int64_t edges = 0;
  double pivot = 0, sum = 0, squares = 0;
  for (int64_t i = share.begin; i < share.end && in_range; i += blockDim.y) {
    const int64_t* const list = task.neighbors + i * task.k;
    const int64_t cloud_first = quotient(i, task.cloud_size) * task.cloud_size;
    int count = 0;
    T best = 0, row_pivot = 0, row_sum = 0, row_squares = 0;
    Slot slot = kNoSlot<Slot>;
    for (int64_t s = 0; s < task.k; ++s) {
      const int64_t neighbor = list[s];
      if (neighbor == -1) continue;
      PK_DEVICE_CHECK(neighbor >= 0 && neighbor < task.cloud_size);
      PK_COUNT("edges", 1);
      const T u = task.nodes[(cloud_first + neighbor) * 2 * task.channels + c];
      if (count == 0) row_pivot = u;
      const T old_key = best * sign;
      const T key = u * sign;
      if (count == 0 || (old_key == old_key && !(key <= old_key))) {
        best = u;
        slot = static_cast<Slot>(s);
      }
      const T a = u - row_pivot;
      row_sum += a;
      row_squares += a * a;
      ++count;
    }
    const T v = task.nodes[(i * 2 + 1) * task.channels + c];
    const T h = best + v;
    task.extremum[i * task.channels + c] = h;
    slots[i * task.channels + c] = slot;
    if (training) {
      task.gathered[i * task.channels + c] = static_cast<T>(count) * row_pivot + row_sum;
      // With a = h - (row_pivot + v) and b = row_pivot + v - pivot: sums of a + b and (a + b)^2 over the row.
      const double first_h = static_cast<double>(row_pivot) + static_cast<double>(v);
      if (edges == 0) pivot = first_h;
      const double b = first_h - pivot;
      if (count > 0) {
        sum += row_sum + count * b;
        squares += row_squares + b * (2 * static_cast<double>(row_sum) + count * b);
      }
    } else {
      task.output[i * task.channels + c] = count > 0 ? activation(h) : T(0);
    }
    edges += count;
  }
  Moments own{static_cast<double>(edges), 0, 0};
  if (edges > 0) {
    const double mean_less_pivot = sum / own.count;
    const double deviations = squares - sum * mean_less_pivot;
    own.mean = pivot + mean_less_pivot;
    own.deviations = deviations < 0 ? 0 : deviations;
  }
  own = combine_lanes(own, shared, CombineMoments{});
  if (in_range && threadIdx.y == 0) {
    static_cast<Moments*>(task.workspace)[share.row_block * task.channels + c] = own;
  }
}

// Grid: a block per kCombineLanes channels. Block: (kCombineLanes, kCombineLanes). Shared: the moments of each thread,
// 24 KiB. Lane y takes every kCombineLanes-th row block, then the lanes are combined in a fixed tree.
template <typename T>
__global__ void __launch_bounds__(kCombineLanes* kCombineLanes)
    combine_moments_kernel(EdgeConvArguments<T> task, int64_t row_blocks) {
  __shared__ Moments shared[kCombineLanes * kCombineLanes];
  const int64_t c = static_cast<int64_t>(blockIdx.x) * kCombineLanes + threadIdx.x;
  const Moments* const parts = static_cast<const Moments*>(task.workspace);
  Moments own{0, 0, 0};
  for (int64_t block = threadIdx.y; block < row_blocks && c < task.channels; block += kCombineLanes) {
    own = CombineMoments{}(own, parts[block * task.channels + c]);
  }
  own = combine_lanes(own, shared, CombineMoments{});
  if (c >= task.channels || threadIdx.y != 0) return;
  if (c == 0) *task.count = own.count;
  if (task.gathered != nullptr) {
    task.mean[c] = static_cast<T>(own.mean);
    task.var[c] = static_cast<T>(own.count > 0 ? own.deviations / own.count : 0);
  }
}

// Grid and block: edge_conv_grid(). No shared memory. Normalises the winners and applies LeakyReLU.
template <typename T, typename Slot>
__global__ void __launch_bounds__(kEdgeConvThreads)
    activate_kernel(EdgeConvArguments<T> task, int64_t channel_blocks, int64_t block_rows) {
  const EdgeConvShare share = edge_conv_share(channel_blocks, block_rows, task.rows);
  if (share.channel >= task.channels) return;
  const Activation<T> activation = activation_of(task, share.channel);
  for (int64_t i = share.begin; i < share.end; i += blockDim.y) {
    const int64_t at = i * task.channels + share.channel;
    const bool has_neighbors = static_cast<const Slot*>(task.slot)[at] != kNoSlot<Slot>;
    task.output[at] = has_neighbors ? activation(task.extremum[at]) : T(0);
  }
}

template <typename T, typename Slot>
cudaError_t launch_passes(const EdgeConvArguments<T>& arguments, cudaStream_t stream) {
  const EdgeConvGrid grid = edge_conv_grid(arguments.rows, arguments.channels);
  const int64_t blocks = grid.channel_blocks * grid.row_blocks;
  cudaError_t error = launch(gather_edges_kernel<T, Slot>, blocks, grid.threads, 0, stream, arguments,
                             grid.channel_blocks, grid.block_rows);
  if (error != cudaSuccess) return error;
  error = launch(combine_moments_kernel<T>, divide_up(arguments.channels, kCombineLanes),
                 dim3(kCombineLanes, kCombineLanes), 0, stream, arguments, grid.row_blocks);
  if (error != cudaSuccess || arguments.gathered == nullptr) return error;
  return launch(activate_kernel<T, Slot>, blocks, grid.threads, 0, stream, arguments, grid.channel_blocks,
                grid.block_rows);
}

}  // namespace

int64_t edge_conv_workspace(int64_t rows, int64_t channels) {
  return edge_conv_grid(rows, channels).row_blocks * channels * static_cast<int64_t>(sizeof(Moments));
}

template <typename T>
cudaError_t launch_edge_conv(const EdgeConvArguments<T>& arguments, cudaStream_t stream) {
  return arguments.k <= kMaxByteSlots ? launch_passes<T, uint8_t>(arguments, stream)
                                      : launch_passes<T, int32_t>(arguments, stream);
}

template cudaError_t launch_edge_conv<float>(const EdgeConvArguments<float>&, cudaStream_t);
template cudaError_t launch_edge_conv<double>(const EdgeConvArguments<double>&, cudaStream_t);

}  // namespace pointkernels::cuda
