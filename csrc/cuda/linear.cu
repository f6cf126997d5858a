// Products of tall matrices with small ones, in the precision of their type: torch's own may round the factors to TF32,
// if the user has asked torch for that, and then rank neighbours and winners otherwise.
//
// Every entry is one chain of fused multiply-adds in the order of the inner index, as in
// csrc/cpu/linear/linear_loops.h, and sums over rows are cut by common/linear_sums.h, so CPU and GPU give the same
// bits.
#include "linear.h"

#include <cuda_runtime.h>

#include "../common/distance.h"
#include "../common/linear_sums.h"
#include "arch.cuh"
#include "index.cuh"
#include "launch.cuh"

namespace pointkernels::cuda {

namespace {

constexpr int kSide = 16;                // threads along each side of a tile
constexpr int kOwn = 4;                  // rows and columns of a thread
constexpr int kTile = kSide * kOwn;      // rows and columns of a block
constexpr int kChunk = 16;               // of the inner index, in shared memory at a time
constexpr int kThreads = kSide * kSide;  // of a block
constexpr int kFetched = kTile * kChunk / kThreads;
// Rows of 16-byte multiples, of which those that a warp fills at a time begin in different banks.
constexpr int kPitch = kTile + 4;

// On a multiprocessor, at least, where the chains' sums leave room for them.
template <typename T>
constexpr int kBlocks = sizeof(T) == 4 ? 2 : 1;

static_assert(kPieceRows % kChunk == 0, "a piece must end with a chunk");

template <typename T>
struct alignas(16) Own {
  T values[kOwn];
};

// A chunk of a factor: row d has the entries that the inner index d multiplies.
template <typename T>
struct alignas(16) Chunk {
  T rows[kChunk][kPitch];
};

// Where element `number` of a fetch lies in a tile: along the inner index (d) or along the other one (at).
struct Place {
  int d;
  int at;
};

__device__ inline Place along_inner(int number) { return Place{number % kChunk, number / kChunk}; }
__device__ inline Place along_outer(int number) { return Place{number / kTile, number % kTile}; }

// A thread's share of the next chunk of a factor, in registers while the last one is being worked on.
template <typename T, bool kAlongInner>
struct Fetch {
  T values[kFetched];

  // Entry (d, at) lies at from[d * inner + at * outer]; zeros outside of depth and width.
  __device__ void load(const T* from, int64_t inner, int64_t outer, int64_t depth, int64_t width) {
#pragma unroll
    for (int f = 0; f < kFetched; ++f) {
      const int number = f * kThreads + static_cast<int>(threadIdx.x);
      const Place place = kAlongInner ? along_inner(number) : along_outer(number);
      values[f] = place.d < depth && place.at < width ? from[place.d * inner + place.at * outer] : T(0);
    }
  }
  __device__ void store(Chunk<T>& chunk) const {
#pragma unroll
    for (int f = 0; f < kFetched; ++f) {
      const int number = f * kThreads + static_cast<int>(threadIdx.x);
      const Place place = kAlongInner ? along_inner(number) : along_outer(number);
      chunk.rows[place.d][place.at] = values[f];
    }
  }
};

// Continues this thread's kOwn x kOwn chains by `count` <= kChunk terms.
template <typename T>
__device__ inline void add_chunk(const Chunk<T>& left, const Chunk<T>& right, int64_t count, T (&sums)[kOwn][kOwn]) {
  const int row = static_cast<int>(threadIdx.x) / kSide * kOwn;
  const int column = static_cast<int>(threadIdx.x) % kSide * kOwn;
  const auto add = [&](int d) {
    const Own<T> a = *reinterpret_cast<const Own<T>*>(&left.rows[d][row]);
    const Own<T> b = *reinterpret_cast<const Own<T>*>(&right.rows[d][column]);
#pragma unroll
    for (int r = 0; r < kOwn; ++r) {
#pragma unroll
      for (int c = 0; c < kOwn; ++c) sums[r][c] = fused_multiply_add(a.values[r], b.values[c], sums[r][c]);
    }
  };
  if (count >= kChunk) {
#pragma unroll
    for (int d = 0; d < kChunk; ++d) add(d);
  } else {
    for (int d = 0; d < count; ++d) add(d);  // zeros behind the last term would turn a sum of -0 into +0
  }
}

// Writes this thread's part of a tile that begins at `to`, of which `rows` rows and `columns` columns are there.
template <typename T>
__device__ inline void store_tile(const T (&sums)[kOwn][kOwn], T* to, int64_t pitch, int64_t rows, int64_t columns) {
  const int row = static_cast<int>(threadIdx.x) / kSide * kOwn;
  const int column = static_cast<int>(threadIdx.x) % kSide * kOwn;
#pragma unroll
  for (int r = 0; r < kOwn; ++r) {
    if (row + r >= rows) break;
    T* const at = to + (row + r) * pitch + column;
    if (pitch % kOwn == 0 && column + kOwn <= columns) {
      *reinterpret_cast<Own<T>*>(at) = *reinterpret_cast<const Own<T>*>(sums[r]);
      continue;
    }
#pragma unroll
    for (int c = 0; c < kOwn; ++c) {
      if (column + c < columns) at[c] = sums[r][c];
    }
  }
}

// Grid: a block per tile of the result, columns first. Shared: a chunk of both factors.
// kAlongInner: whether the entries of a column of `right` lie beside each other; those of a row of `left` do.
template <typename T, bool kAlongInner>
__global__ void __launch_bounds__(kThreads, kBlocks<T>) product_kernel(ProductArguments<T> task) {
  __shared__ Chunk<T> left;
  __shared__ Chunk<T> right;
  const int64_t column_tiles = pieces_of(task.columns, kTile);
  const int64_t row_tile = quotient(blockIdx.x, column_tiles);
  const int64_t row = row_tile * kTile;
  const int64_t column = (blockIdx.x - row_tile * column_tiles) * kTile;
  const T* const from_left = task.left + row * task.depth;
  const T* const from_right = task.right + column * task.right_step;

  alignas(16) T sums[kOwn][kOwn] = {};
  Fetch<T, true> next_left;
  Fetch<T, kAlongInner> next_right;
  next_left.load(from_left, 1, task.depth, task.depth, task.rows - row);
  next_right.load(from_right, task.right_row, task.right_step, task.depth, task.columns - column);
  for (int64_t d = 0; d < task.depth; d += kChunk) {
    next_left.store(left);
    next_right.store(right);
    __syncthreads();
    const int64_t then = d + kChunk;
    if (then < task.depth) {
      next_left.load(from_left + then, 1, task.depth, task.depth - then, task.rows - row);
      next_right.load(from_right + then * task.right_row, task.right_row, task.right_step, task.depth - then,
                      task.columns - column);
    }
    add_chunk(left, right, task.depth - d, sums);
    __syncthreads();
  }
  store_tile(sums, task.result + row * task.columns + column, task.columns, task.rows - row, task.columns - column);
}

// Grid: a block per unit of rows and tile of the result, tiles first. Shared: a chunk of both factors. `to` has a
// result for each unit.
template <typename T>
__global__ void __launch_bounds__(kThreads, kBlocks<T>)
    transposed_product_kernel(TransposedProductArguments<T> task, T* to) {
  __shared__ Chunk<T> left;
  __shared__ Chunk<T> right;
  const int64_t column_tiles = pieces_of(task.columns, kTile);
  const int64_t tiles = pieces_of(task.outputs, kTile) * column_tiles;
  const int64_t unit = quotient(blockIdx.x, tiles);
  const int64_t tile = blockIdx.x - unit * tiles;
  const int64_t output = quotient(tile, column_tiles) * kTile;
  const int64_t column = (tile - quotient(tile, column_tiles) * column_tiles) * kTile;
  const int64_t begin = unit * unit_rows(task.rows);
  const int64_t end = begin + unit_rows(task.rows) < task.rows ? begin + unit_rows(task.rows) : task.rows;

  alignas(16) T sums[kOwn][kOwn] = {};
  T piece[kOwn][kOwn] = {};
  Fetch<T, false> next_left;
  Fetch<T, false> next_right;
  const auto fetch = [&](int64_t row) {
    next_left.load(task.left + row * task.outputs + output, task.outputs, 1, end - row, task.outputs - output);
    next_right.load(task.right + row * task.columns + column, task.columns, 1, end - row, task.columns - column);
  };
  fetch(begin);
  for (int64_t row = begin; row < end; row += kChunk) {
    next_left.store(left);
    next_right.store(right);
    __syncthreads();
    if (row + kChunk < end) fetch(row + kChunk);
    add_chunk(left, right, end - row, piece);
    __syncthreads();
    if ((row - begin + kChunk) % kPieceRows != 0 && row + kChunk < end) continue;
#pragma unroll
    for (int r = 0; r < kOwn; ++r) {
#pragma unroll
      for (int c = 0; c < kOwn; ++c) {
        sums[r][c] += piece[r][c];
        piece[r][c] = 0;
      }
    }
  }
  store_tile(sums, to + (unit * task.outputs + output) * task.columns + column, task.columns, task.outputs - output,
             task.columns - column);
}

// Grid: any; threads take the entries of the result in turns. Adds the results of the units in order.
template <typename T>
__global__ void __launch_bounds__(kThreads) add_units_kernel(TransposedProductArguments<T> task, int64_t units) {
  const int64_t size = task.outputs * task.columns;
  for (int64_t at = grid_thread(); at < size; at += grid_threads()) {
    T sum = 0;
    for (int64_t unit = 0; unit < units; ++unit) sum += task.workspace[unit * size + at];
    task.result[at] = sum;
  }
}

int64_t units_of(int64_t rows) { return divide_up(rows, unit_rows(rows)); }

}  // namespace

template <typename T>
cudaError_t launch_product(const ProductArguments<T>& arguments, cudaStream_t stream) {
  const int64_t blocks = divide_up(arguments.rows, kTile) * divide_up(arguments.columns, kTile);
  if (blocks == 0) return cudaSuccess;
  const auto kernel = arguments.right_row == 1 ? product_kernel<T, true> : product_kernel<T, false>;
  return launch(kernel, blocks, dim3(kThreads), 0, stream, arguments);
}

int64_t transposed_product_workspace(int64_t rows, int64_t outputs, int64_t columns) {
  return units_of(rows) > 1 ? units_of(rows) * outputs * columns : 0;
}

template <typename T>
cudaError_t launch_transposed_product(const TransposedProductArguments<T>& arguments, cudaStream_t stream) {
  const int64_t tiles = divide_up(arguments.outputs, kTile) * divide_up(arguments.columns, kTile);
  if (tiles == 0) return cudaSuccess;
  const int64_t units = units_of(arguments.rows);
  if (units > 0) {
    T* const to = units > 1 ? arguments.workspace : arguments.result;
    const cudaError_t error =
        launch(transposed_product_kernel<T>, units * tiles, dim3(kThreads), 0, stream, arguments, to);
    if (error != cudaSuccess || units == 1) return error;
  }
  const int64_t blocks = divide_up(arguments.outputs * arguments.columns, kThreads);
  return launch(add_units_kernel<T>, blocks < kMaxBlocks ? blocks : kMaxBlocks, dim3(kThreads), 0, stream, arguments,
                units);
}

template cudaError_t launch_product<float>(const ProductArguments<float>&, cudaStream_t);
template cudaError_t launch_product<double>(const ProductArguments<double>&, cudaStream_t);
template cudaError_t launch_transposed_product<float>(const TransposedProductArguments<float>&, cudaStream_t);
template cudaError_t launch_transposed_product<double>(const TransposedProductArguments<double>&, cudaStream_t);

}  // namespace pointkernels::cuda
