// kNN by brute force: exact for any k and any number of coordinates.
//
// A block holds a tile of queries of one cloud against all candidates of that cloud, 128 at a time. Distances are
// register-tiled (each lane: kQueriesPerWarp queries x 4 candidates) and grow by 16 coordinates at a time, which keeps
// the canonical chain in coordinate order whatever the number of coordinates. A warp keeps, for each of its queries,
// the smallest 32 kRows keys seen so far, sorted, and a queue of up to 63 further keys below the current k-th. When 32
// have gathered they are sorted and merged. Random order admits k (1 + ln(n / k)) of n candidates, so merges are rare.
//
// k beyond 128 is served in rounds of 128: a round considers only keys above the last one written, so it finds the next
// 128 of the total order. Time grows by one pass over the cloud each round, memory does not grow.
#include <cuda_runtime.h>

#include <limits>

#include "../common/distance.h"
#include "arch.cuh"
#include "knn.h"
#include "launch.cuh"
#include "order.cuh"
#include "warp.cuh"

namespace pointkernels::cuda {

namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarpSize;
constexpr int kCandidatesPerLane = 4;
constexpr int kCandidates = kCandidatesPerLane * kWarpSize;
constexpr int kChunk = 16;                 // coordinates in shared memory at a time
constexpr int kQueue = 2 * kWarpSize - 1;  // at most 31 keys wait when up to 32 are added

// float64 keys are twice as large; with half the queries both types stay below 48 KiB of static shared memory.
template <typename T>
constexpr int kQueriesPerWarp = sizeof(T) == 4 ? 4 : 2;
template <typename T>
constexpr int kQueries = kWarps * kQueriesPerWarp<T>;

// The distance of no candidate.
template <typename T>
constexpr T kMissing = std::numeric_limits<T>::infinity();

// Sorts the first `count` <= 32 of the `waiting` keys of a queue into the list, moves the others to the front and
// returns the key in place `wanted` - 1 of the list. For a whole warp; each lane reads and writes its own places of the
// list.
// Not inlined: a thread has 20 places that call it, and merges are rare. Copies of it made the code of a kernel three
// to four times as large (217 KB instead of 76 for float and kRows = 1), more than instruction caches hold.
template <typename T, int kRows>
__device__ __noinline__ Key<T> merge_queue(Key<T>* queue, int count, int waiting, Key<T>* stored, int wanted) {
  const int lane = lane_index();
  Key<T> fresh = lane < count ? queue[lane] : Key<T>::none();
  const bool stays = kWarpSize + lane < waiting;
  const Key<T> later = stays ? queue[kWarpSize + lane] : Key<T>::none();
  PK_COUNT("merges", lane == 0);
  __syncwarp();  // also puts the read that ended the previous merge before the writes to the list below
  if (stays) queue[lane] = later;
  fresh = warp_sort(fresh);
  Key<T> list[kRows];
#pragma unroll
  for (int row = 0; row < kRows; ++row) list[row] = stored[row * kWarpSize + lane];
  warp_merge(list, fresh);
#pragma unroll
  for (int row = 0; row < kRows; ++row) stored[row * kWarpSize + lane] = list[row];
  __syncwarp();
  return stored[wanted - 1];
}

// Grid: tile_bound(query_clouds, kQueries) blocks of kThreads; a block serves one tile of queries of one cloud.
// Shared: a chunk of candidates, stored by coordinate with an odd pitch so that neither filling nor reading it collides
//   on banks; a chunk of the queries; queue and sorted list of each query. Global: no workspace.
// Registers: three blocks a multiprocessor leave a thread 168, of which the targets use 100 to 131 without spilling.
// Invariant: for each query the list and the queue together hold the smallest keys among the candidates seen (up to the
//   number wanted), because a key is dropped only when `threshold`, the last wanted place of the list, is below it.
// Ties: keys order by distance, then index; none are equal.
template <typename T, int kRows>
__global__ void __launch_bounds__(kThreads, 3) knn_kernel(KnnArguments<T> task, int64_t first_block) {
  constexpr int kOwn = kQueriesPerWarp<T>;
  constexpr int kKept = kRows * kWarpSize;
  __shared__ T candidate_chunk[kChunk][kCandidates + 1];
  __shared__ T query_chunk[kChunk][kQueries<T>];
  __shared__ Key<T> queues[kQueries<T>][kQueue];
  __shared__ Key<T> lists[kQueries<T>][kKept];
  __shared__ Key<T> last_written[kQueries<T>];  // in the previous round

  const int thread = static_cast<int>(threadIdx.x);
  const int lane = lane_index();
  const int own = thread / kWarpSize * kOwn;  // first query of this warp within the tile

  const auto fill_missing = [&](int64_t begin, int64_t end, int64_t from) {
    const int64_t missing = task.k - from;
    for (int64_t i = thread; i < (end - begin) * missing; i += kThreads) {
      const int64_t at = (begin + i / missing) * task.k + from + i % missing;
      task.indices[at] = -1;
      task.distances[at] = kMissing<T>;
    }
  };

  // The tile numbers of a cloud also cover the rows between its end and the next cloud. Only rows before the first
  // cloud have no tile; the first block takes them.
  const Tile tile = locate_tile(task.query_clouds, first_block + blockIdx.x, kQueries<T>);
  const int64_t query_first = task.query_clouds.first(tile.cloud);
  const int64_t query_size = task.query_clouds.size(tile.cloud);
  if (first_block + blockIdx.x == 0) fill_missing(0, task.query_clouds.first(0), 0);
  if (tile.begin < 0) return;
  const int64_t next_first =
      tile.cloud + 1 < task.query_clouds.count ? task.query_clouds.first(tile.cloud + 1) : task.query_clouds.rows;
  const int64_t tile_end =
      tile.begin + kQueries<T> < next_first - query_first ? tile.begin + kQueries<T> : next_first - query_first;
  const int64_t padding = tile.begin > query_size ? tile.begin : query_size;
  if (padding < tile_end) fill_missing(query_first + padding, query_first + tile_end, 0);
  if (tile.begin >= tile.end) return;

  const int query_count = static_cast<int>(tile.end - tile.begin);
  const int64_t first_row = query_first + tile.begin;
  const T* queries = task.query + first_row * task.dims;
  const int64_t first = task.clouds.first(tile.cloud);
  PK_DEVICE_CHECK(task.clouds.size(tile.cloud) >= 0 && first >= 0 &&
                  first <= task.clouds.rows - task.clouds.size(tile.cloud) &&
                  first_row <= task.query_clouds.rows - query_count);
  const T* candidates = task.points + first * task.dims;
  const uint32_t size = static_cast<uint32_t>(task.clouds.size(tile.cloud));
  const int64_t available = static_cast<int64_t>(size) - (task.include_self ? 0 : 1);
  const int64_t findable = task.k < available ? task.k : available;

  Key<T> threshold[kOwn] = {};  // the same in all lanes, as is the number of keys in the queue
  int waiting[kOwn] = {};

  for (int64_t written = 0; written < findable; written += kKept) {
    const int wanted = static_cast<int>(findable - written < kKept ? findable - written : kKept);
    __syncwarp();  // every lane has read its thresholds from the lists of the previous round
#pragma unroll
    for (int q = 0; q < kOwn; ++q) {
      if (lane == 0) last_written[own + q] = threshold[q];
      threshold[q] = Key<T>::none();
      waiting[q] = 0;
      for (int row = 0; row < kRows; ++row) lists[own + q][row * kWarpSize + lane] = Key<T>::none();
    }

    for (uint32_t base = 0; base < size; base += kCandidates) {
      T sum[kOwn][kCandidatesPerLane] = {};
      for (int64_t from = 0; from < task.dims; from += kChunk) {
        const int width = static_cast<int>(task.dims - from < kChunk ? task.dims - from : kChunk);
        __syncthreads();  // everyone has read the previous chunk
        for (int i = thread; i < kCandidates * width; i += kThreads) {
          const int row = i / width;
          const int d = i - row * width;
          candidate_chunk[d][row] =
              base + row < size ? candidates[static_cast<int64_t>(base + row) * task.dims + from + d] : T(0);
        }
        if (base == 0 || task.dims > kChunk) {
          for (int i = thread; i < kQueries<T> * width; i += kThreads) {
            const int row = i / width;
            const int d = i - row * width;
            query_chunk[d][row] = row < query_count ? queries[row * task.dims + from + d] : T(0);
          }
        }
        __syncthreads();
        for (int d = 0; d < width; ++d) {
          T p[kCandidatesPerLane];
#pragma unroll
          for (int c = 0; c < kCandidatesPerLane; ++c) p[c] = candidate_chunk[d][c * kWarpSize + lane];
#pragma unroll
          for (int q = 0; q < kOwn; ++q) {
            const T x = query_chunk[d][own + q];
#pragma unroll
            for (int c = 0; c < kCandidatesPerLane; ++c) {
              const T difference = p[c] - x;
              sum[q][c] = fused_multiply_add(difference, difference, sum[q][c]);
            }
          }
        }
      }

#pragma unroll
      for (int q = 0; q < kOwn; ++q) {
        if (own + q >= query_count) continue;
        const uint32_t excluded = task.include_self ? ~uint32_t{0} : static_cast<uint32_t>(tile.begin) + own + q;
#pragma unroll
        for (int c = 0; c < kCandidatesPerLane; ++c) {
          const uint32_t index = base + c * kWarpSize + lane;
          const Key<T> key = Key<T>::of(sum[q][c], index);
          const bool admitted =
              index < size && index != excluded && key < threshold[q] && (written == 0 || last_written[own + q] < key);
          const unsigned lanes = __ballot_sync(kFullWarp, admitted);
          PK_COUNT("groups", lane == 0);
          if (lanes == 0) continue;
          PK_COUNT("admitting_groups", lane == 0);
          if (admitted) queues[own + q][waiting[q] + __popc(lanes & lanes_below())] = key;
          waiting[q] += __popc(lanes);
          __syncwarp();
          if (waiting[q] >= kWarpSize) {
            threshold[q] = merge_queue<T, kRows>(queues[own + q], kWarpSize, waiting[q], lists[own + q], wanted);
            waiting[q] -= kWarpSize;
          }
        }
      }
    }

#pragma unroll
    for (int q = 0; q < kOwn; ++q) {
      if (own + q >= query_count) continue;
      if (waiting[q] > 0) {
        threshold[q] = merge_queue<T, kRows>(queues[own + q], waiting[q], waiting[q], lists[own + q], wanted);
      }
      for (int i = lane; i < wanted; i += kWarpSize) {
        const Key<T> key = lists[own + q][i];
        const int64_t at = (first_row + own + q) * task.k + written + i;
        task.indices[at] = key.index();
        task.distances[at] = key.distance();
      }
    }
  }
  if (findable < task.k) fill_missing(first_row, first_row + query_count, findable > 0 ? findable : 0);
}

}  // namespace

template <typename T>
cudaError_t launch_knn(const KnnArguments<T>& arguments, cudaStream_t stream) {
  const int64_t blocks = tile_bound(arguments.query_clouds, kQueries<T>);
  const auto kernel = arguments.k <= 32 ? knn_kernel<T, 1> : arguments.k <= 64 ? knn_kernel<T, 2> : knn_kernel<T, 4>;
  constexpr int64_t kMostKept = 4 * kWarpSize;
  const int64_t pairs = kQueries<T> * arguments.clouds.size_bound() * divide_up(arguments.k, kMostKept);
  return launch_in_parts(kernel, blocks, pairs * (kStepsOfPair + arguments.dims), dim3(kThreads), stream, arguments);
}

template cudaError_t launch_knn<float>(const KnnArguments<float>&, cudaStream_t);
template cudaError_t launch_knn<double>(const KnnArguments<double>&, cudaStream_t);

}  // namespace pointkernels::cuda
