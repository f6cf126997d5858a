// The reverse graph of neighbour lists: a stable radix sort of the edge numbers by the row they point at.
//
// Least significant digit first, 8 bits a pass, as many passes as the largest row number needs: work is linear in the
// number of edges however uneven the in-degrees are, and each pass is stable, so the edges of a row stay in ascending
// order. No pass depends on the order in which blocks run. Unused entries sort as row number `rows`, behind all rows.
#include <cuda_runtime.h>

#include <limits>

#include "arch.cuh"
#include "index.cuh"
#include "launch.cuh"
#include "reverse_graph.h"
#include "warp.cuh"

namespace pointkernels::cuda {

namespace {

constexpr int kDigitBits = 8;
constexpr int kDigits = 1 << kDigitBits;
constexpr int kThreads = kDigits;  // where a thread looks after one digit
constexpr int kWarps = kThreads / kWarpSize;
constexpr int kItems = 4;  // edges of a thread in one tile
constexpr int kTile = kThreads * kItems;
constexpr int kWarpTile = kWarpSize * kItems;
// Bounds the table that one block scans to 512 KiB of int64; a block takes several tiles where there are more.
constexpr int64_t kMaxSortBlocks = 256;
constexpr int kScanThreads = 1024;

struct Pass {
  const int64_t* from;  // edge numbers in the order of the previous pass; nullptr: 0, 1, 2, ...
  int64_t* to;
  int64_t* counts;  // (kDigits, blocks)
  int64_t block_edges;
  int shift;
};

__device__ inline int64_t target_row(const ReverseGraphArguments& task, int64_t edge) {
  const int64_t neighbor = task.neighbors[edge];
  return neighbor == -1 ? task.rows : neighbor_row(quotient(edge, task.k), neighbor, task.query_size, task.cloud_size);
}

__device__ inline int digit_of(const ReverseGraphArguments& task, const Pass& pass, int64_t edge) {
  return static_cast<int>(target_row(task, edge) >> pass.shift) & (kDigits - 1);
}

// Grid: the blocks of the pass; block b takes the block_edges places from b * block_edges on. Block: kThreads.
// Shared: a counter per digit, of 32 bits, for which there is an atomic instruction: with 64 bits it is a loop of
// attempts. Counts the digits of the block's edges; integer atomics commute.
__global__ void __launch_bounds__(kThreads) count_digits_kernel(ReverseGraphArguments task, Pass pass) {
  __shared__ uint32_t count[kDigits];
  count[threadIdx.x] = 0;
  __syncthreads();
  const int64_t edges = task.queries * task.k;
  const int64_t begin = blockIdx.x * pass.block_edges;
  const int64_t end = begin + pass.block_edges < edges ? begin + pass.block_edges : edges;
  for (int64_t place = begin + threadIdx.x; place < end; place += kThreads) {
    const int64_t edge = pass.from == nullptr ? place : pass.from[place];
    PK_COUNT("edges", 1);
    atomicAdd(&count[digit_of(task, pass, edge)], 1u);
  }
  __syncthreads();
  pass.counts[static_cast<int64_t>(threadIdx.x) * gridDim.x + blockIdx.x] = count[threadIdx.x];
}

// Grid: one block of kScanThreads. Shared: a sum per warp. Replaces the table by its exclusive prefix sums. Each thread
// owns consecutive entries: it sums them, the sums are scanned, then it writes.
__global__ void __launch_bounds__(kScanThreads) scan_kernel(int64_t* table, int64_t length) {
  __shared__ int64_t warp_sums[kScanThreads / kWarpSize];
  const int thread = static_cast<int>(threadIdx.x);
  const int warp = thread / kWarpSize;
  const int64_t share = (length + kScanThreads - 1) / kScanThreads;
  const int64_t begin = thread * share < length ? thread * share : length;
  const int64_t end = begin + share < length ? begin + share : length;
  int64_t sum = 0;
  for (int64_t i = begin; i < end; ++i) sum += table[i];
  const int64_t up_to_here = sum_up_to_lane(sum);
  if (lane_index() == kWarpSize - 1) warp_sums[warp] = up_to_here;
  __syncthreads();
  if (warp == 0) {
    const int64_t warp_sum = warp_sums[lane_index()];
    const int64_t up_to_warp = sum_up_to_lane(warp_sum);
    warp_sums[lane_index()] = up_to_warp - warp_sum;
  }
  __syncthreads();
  int64_t before = warp_sums[warp] + up_to_here - sum;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t entry = table[i];
    table[i] = before;
    before += entry;
  }
}

// Grid and block as for counting. Shared: how often each digit occurs before each warp's part of the tile, 8 KiB, and
// where the block writes each digit next.
// Invariant: a tile is taken in order of warps, then items, then lanes, which is the order of places; an edge goes
// behind
//   those with its digit in earlier blocks (scanned counts), earlier tiles (next), earlier warps and earlier places of
//   its warp: stable.
__global__ void __launch_bounds__(kThreads) scatter_edges_kernel(ReverseGraphArguments task, Pass pass) {
  __shared__ uint32_t occurrences[kWarps][kDigits];
  __shared__ int64_t next[kDigits];
  const int thread = static_cast<int>(threadIdx.x);
  const int warp = thread / kWarpSize;
  const int64_t edges = task.queries * task.k;
  const int64_t begin = blockIdx.x * pass.block_edges;
  const int64_t end = begin + pass.block_edges < edges ? begin + pass.block_edges : edges;
  next[thread] = pass.counts[static_cast<int64_t>(thread) * gridDim.x + blockIdx.x];

  for (int64_t tile = begin; tile < end; tile += kTile) {
    for (int w = 0; w < kWarps; ++w) occurrences[w][thread] = 0;
    __syncthreads();
    int64_t edge[kItems];
    int digit[kItems];
    uint32_t place_in_warp[kItems];
#pragma unroll
    for (int item = 0; item < kItems; ++item) {
      const int64_t place = tile + warp * kWarpTile + item * kWarpSize + lane_index();
      const bool used = place < end;
      edge[item] = !used ? 0 : pass.from == nullptr ? place : pass.from[place];
      digit[item] = used ? digit_of(task, pass, edge[item]) : kDigits;
      const unsigned alike = __match_any_sync(kFullWarp, digit[item]);
      const unsigned alike_before = alike & lanes_below();
      place_in_warp[item] = used ? occurrences[warp][digit[item]] + __popc(alike_before) : 0;
      __syncwarp();
      if (used && alike_before == 0) occurrences[warp][digit[item]] += __popc(alike);
      __syncwarp();
    }
    __syncthreads();
    uint32_t in_tile = 0;
    for (int w = 0; w < kWarps; ++w) {
      const uint32_t in_warp = occurrences[w][thread];
      occurrences[w][thread] = in_tile;
      in_tile += in_warp;
    }
    __syncthreads();
#pragma unroll
    for (int item = 0; item < kItems; ++item) {
      if (digit[item] == kDigits) continue;
      pass.to[next[digit[item]] + occurrences[warp][digit[item]] + place_in_warp[item]] = edge[item];
    }
    __syncthreads();
    next[thread] += in_tile;
  }
}

// Grid: any; threads take the numbers 0..rows in turns. No shared memory. offsets[j] is the number of edges that point
// at rows before j, found by bisection in the sorted edges.
__global__ void __launch_bounds__(kThreads) find_offsets_kernel(ReverseGraphArguments task) {
  for (int64_t row = grid_thread(); row <= task.rows; row += grid_threads()) {
    int64_t low = 0;
    int64_t high = task.queries * task.k;
    while (low < high) {
      PK_COUNT("steps", 1);
      const int64_t middle = low + (high - low) / 2;
      if (target_row(task, task.edges[middle]) < row) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    task.offsets[row] = low;
  }
}

int64_t sort_blocks(int64_t edges) {
  const int64_t tiles = divide_up(edges, kTile);
  return tiles < kMaxSortBlocks ? tiles : kMaxSortBlocks;
}

}  // namespace

int64_t reverse_graph_workspace(int64_t queries, int64_t k) {
  const int64_t edges = queries * k;
  return (edges + kDigits * sort_blocks(edges)) * static_cast<int64_t>(sizeof(int64_t));
}

cudaError_t launch_reverse_graph(const ReverseGraphArguments& arguments, cudaStream_t stream) {
  const int64_t edges = arguments.queries * arguments.k;
  const int64_t blocks = sort_blocks(edges);
  // The counters of a block hold no more.
  if (edges / kMaxSortBlocks >= std::numeric_limits<int32_t>::max()) return cudaErrorInvalidValue;
  int passes = 1;
  while (passes * kDigitBits < 63 && arguments.rows >> (passes * kDigitBits) != 0) ++passes;
  int64_t* const spare = static_cast<int64_t*>(arguments.workspace);
  cudaError_t error = cudaSuccess;
  for (int p = 0; p < passes && edges > 0; ++p) {
    // The edges change places between the two arrays and end in the caller's.
    const bool ends_in_output = (passes - 1 - p) % 2 == 0;
    Pass pass{};
    pass.from = p == 0 ? nullptr : ends_in_output ? spare : arguments.edges;
    pass.to = ends_in_output ? arguments.edges : spare;
    pass.counts = spare + edges;
    pass.block_edges = divide_up(edges, blocks * kTile) * kTile;
    pass.shift = p * kDigitBits;
    error = launch(count_digits_kernel, blocks, dim3(kThreads), 0, stream, arguments, pass);
    if (error != cudaSuccess) return error;
    error = launch(scan_kernel, 1, dim3(kScanThreads), 0, stream, pass.counts, kDigits * blocks);
    if (error != cudaSuccess) return error;
    error = launch(scatter_edges_kernel, blocks, dim3(kThreads), 0, stream, arguments, pass);
    if (error != cudaSuccess) return error;
  }
  const int64_t offset_blocks = divide_up(arguments.rows + 1, kThreads);
  return launch(find_offsets_kernel, offset_blocks < kMaxBlocks ? offset_blocks : kMaxBlocks, dim3(kThreads), 0, stream,
                arguments);
}

}  // namespace pointkernels::cuda
