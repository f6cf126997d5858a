// Ball query: a warp looks at 32 candidates of its query at a time, in index order, and stops at the k-th neighbour.
#include <cuda_runtime.h>

#include <limits>

#include "../common/distance.h"
#include "arch.cuh"
#include "ball_query.h"
#include "launch.cuh"
#include "warp.cuh"

namespace pointkernels::cuda {

namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarpSize;
constexpr int kQueriesPerWarp = 4;  // amortises the bisection that finds the tile's cloud
constexpr int kQueries = kWarps * kQueriesPerWarp;

// The distance of no neighbour.
template <typename T>
constexpr T kMissing = std::numeric_limits<T>::infinity();

// Grid: tile_bound(query_clouds, kQueries) blocks of kThreads; a block serves one tile of queries of one cloud, a warp
//   every kWarps-th of them. Shared: none. Global: no workspace.
// Invariant: `found` neighbours are written, the lowest indices of all candidates before `base`; the lanes that admit
//   their candidate write behind them in lane order, which is index order.
template <typename T>
__global__ void __launch_bounds__(kThreads) ball_query_kernel(BallQueryArguments<T> task, int64_t first_block) {
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = lane_index();

  const auto fill_missing = [&](int64_t begin, int64_t end) {
    for (int64_t at = begin * task.k + thread; at < end * task.k; at += kThreads) {
      task.indices[at] = -1;
      task.distances[at] = kMissing<T>;
    }
  };

  // The tile numbers of a cloud also cover the rows between its end and the next cloud. Only rows before the first
  // cloud have no tile; the first block takes them.
  const Tile tile = locate_tile(task.query_clouds, first_block + blockIdx.x, kQueries);
  const int64_t query_first = task.query_clouds.first(tile.cloud);
  const int64_t query_size = task.query_clouds.size(tile.cloud);
  if (first_block + blockIdx.x == 0) fill_missing(0, task.query_clouds.first(0));
  if (tile.begin < 0) return;
  const int64_t next_first =
      tile.cloud + 1 < task.query_clouds.count ? task.query_clouds.first(tile.cloud + 1) : task.query_clouds.rows;
  const int64_t tile_end =
      tile.begin + kQueries < next_first - query_first ? tile.begin + kQueries : next_first - query_first;
  const int64_t padding = tile.begin > query_size ? tile.begin : query_size;
  if (padding < tile_end) fill_missing(query_first + padding, query_first + tile_end);

  const int64_t size = task.clouds.size(tile.cloud);
  const int64_t first = task.clouds.first(tile.cloud);
  PK_DEVICE_CHECK(size >= 0 && first >= 0 && first <= task.clouds.rows - size);
  const T* const candidates = task.points + first * task.dims;
  for (int64_t i = tile.begin + thread / kWarpSize; i < tile.end; i += kWarps) {
    PK_DEVICE_CHECK(query_first + i < task.query_clouds.rows);
    const T* const query = task.query + (query_first + i) * task.dims;
    int64_t* const indices = task.indices + (query_first + i) * task.k;
    T* const distances = task.distances + (query_first + i) * task.k;
    int64_t found = 0;
    for (int64_t base = 0; base < size && found < task.k; base += kWarpSize) {
      const int64_t index = base + lane;
      const bool candidate = index < size && (task.include_self || index != i);
      const T distance = candidate ? squared_distance(candidates + index * task.dims, query, task.dims) : kMissing<T>;
      const bool admitted = candidate && distance < task.squared_radius;
      const unsigned lanes = __ballot_sync(kFullWarp, admitted);
      PK_COUNT("groups", lane == 0);
      const int64_t place = found + __popc(lanes & lanes_below());
      if (admitted && place < task.k) {
        indices[place] = index;
        distances[place] = distance;
      }
      found += __popc(lanes);
    }
    for (int64_t s = found + lane; s < task.k; s += kWarpSize) {
      indices[s] = -1;
      distances[s] = kMissing<T>;
    }
  }
}

}  // namespace

template <typename T>
cudaError_t launch_ball_query(const BallQueryArguments<T>& arguments, cudaStream_t stream) {
  const int64_t steps = kQueries * arguments.clouds.size_bound() * (kStepsOfPair + arguments.dims);
  return launch_in_parts(ball_query_kernel<T>, tile_bound(arguments.query_clouds, kQueries), steps, dim3(kThreads),
                         stream, arguments);
}

template cudaError_t launch_ball_query<float>(const BallQueryArguments<float>&, cudaStream_t);
template cudaError_t launch_ball_query<double>(const BallQueryArguments<double>&, cudaStream_t);

}  // namespace pointkernels::cuda
