// Farthest point sampling: one block per cloud, one barrier per sample.
//
// A point's rank is an unsigned integer that orders the points as the next sample is chosen: 0 for samples and for
// places without a point, 1 for points with a NaN coordinate, else 2 + the bits of the smallest squared distance to a
// sample (infinity before the first). Lowering a rank by a new sample is min() for all of them: 0 and 1 stay, and a NaN
// distance, whose bits come after infinity, changes nothing.
//
// In three dimensions the first points of a cloud, up to 6144 (float32) or 2560 (float64), live in registers,
// coordinates and rank. Other points live in shared memory if the cloud fits, else in global memory.
//
// What would take one launch too long is cut into several, which hand on the ranks in global memory.
#include <cuda_runtime.h>

#include "../common/distance.h"
#include "arch.cuh"
#include "farthest_point_sampling.h"
#include "launch.cuh"
#include "order.cuh"
#include "warp.cuh"

namespace pointkernels::cuda {

namespace {

constexpr int kMaxThreads = 512;
constexpr int kMaxWarps = kMaxThreads / kWarpSize;
// Points in global or shared memory that a thread works on together, so that their loads are under way together.
template <int kDims>
constexpr int kAtATime = kDims == 3 ? 4 : 1;

// Points that a thread holds in registers: four registers each, eight in float64, of the 128 that a block of 512
// threads leaves a thread.
template <typename T, int kDims>
constexpr int kHeld = kDims != 3       ? 0
                      : sizeof(T) == 4 ? 12
                                       : 5;

// Shared memory that every architecture gives a block without asking (CUDA programming guide, compute capabilities).
constexpr int64_t kDefaultSharedBytes = 48 << 10;
// Room left for the static shared memory of the kernel (below 1 KiB) and the system's share (1 KiB from sm_80 on).
constexpr int64_t kReservedSharedBytes = 2 << 10;

// Clouds and samples of one launch.
struct Part {
  int64_t first_cloud;
  int64_t begin;
  int64_t end;
};

// The rank after a sample at this distance.
template <typename T, typename R = typename Rank<T>::type>
__device__ inline R lowered(R rank, T distance, bool is_the_sample) {
  const R reached = distance_bits(distance) + 2;
  return is_the_sample ? 0 : reached < rank ? reached : rank;
}

// The squared distance in kDims dimensions, or in `dims` where kDims is 0; coordinate d of p is p[d * stride].
template <typename T, int kDims>
__device__ inline T distance_to(const T* p, int64_t stride, const T* sample, int64_t dims) {
  T sum = 0;
  for (int64_t d = 0; d < (kDims > 0 ? kDims : dims); ++d) {
    const T difference = p[d * stride] - sample[d];
    sum = fused_multiply_add(difference, difference, sum);
  }
  return sum;
}

// Grid: a block per cloud. Block: a multiple of 32, up to kMaxThreads.
// Shared: two sets of a rank and an index per warp; dynamic, in other than three dimensions: coordinates, by
// coordinate,
//   and ranks of the cloud's points, if they fit in shared_bytes. Global: workspace for ranks that are nowhere else.
// Invariant: after each choice every rank is that of its point with respect to all samples before the last one.
// Ties: a thread visits its points in ascending order and moves on only when strictly farther; between threads the
// lowest
//   index of the largest rank wins.
template <typename T, int kDims>
__global__ void __launch_bounds__(kMaxThreads, 1)
    farthest_point_sampling_kernel(FarthestPointSamplingArguments<T> task, int64_t shared_bytes, Part part) {
  using R = typename Rank<T>::type;
  constexpr int kOwn = kHeld<T, kDims>;
  constexpr int kTogether = kAtATime<kDims>;
  __shared__ R warp_rank[2][kMaxWarps];
  __shared__ uint32_t warp_index[2][kMaxWarps];

  const int threads = static_cast<int>(blockDim.x);
  const int thread = static_cast<int>(threadIdx.x);
  const int64_t cloud = part.first_cloud + blockIdx.x;
  const int64_t first = task.clouds.first(cloud);
  const int64_t size = task.clouds.size(cloud);
  const int64_t dims = kDims > 0 ? kDims : task.dims;
  const T* const points = task.points + first * dims;
  const int64_t held = size < kOwn * threads ? size : kOwn * threads;
  int64_t* const samples = task.samples + cloud * task.num_samples;

  const auto initial_rank = [&](int64_t i) -> R {
    bool has_nan = false;
    for (int64_t d = 0; d < dims; ++d) has_nan = has_nan || points[i * dims + d] != points[i * dims + d];
    return has_nan ? 1 : Rank<T>::kInfinity + 2;
  };
  R* const ranks_to_keep = task.workspace != nullptr ? static_cast<R*>(task.workspace) + first : nullptr;
  T own_points[kOwn > 0 ? kOwn * kDims : 1];
  R own_ranks[kOwn > 0 ? kOwn : 1];
#pragma unroll
  for (int r = 0; r < kOwn; ++r) {
    const int64_t i = r * threads + thread;
#pragma unroll
    for (int d = 0; d < kDims; ++d) own_points[r * kDims + d] = i < held ? points[i * dims + d] : T(0);
    own_ranks[r] = i >= held ? 0 : part.begin == 0 ? initial_rank(i) : ranks_to_keep[i];
  }
  // Coordinate d of point i is others[i * point_stride + d * coordinate_stride].
  const T* __restrict__ others = points;
  R* __restrict__ ranks = nullptr;
  int64_t point_stride = dims;
  int64_t coordinate_stride = 1;
  if (held < size) {
    if (kOwn == 0 && size * (dims + 1) * static_cast<int64_t>(sizeof(T)) <= shared_bytes) {
      T* const tile = dynamic_shared<T>();
      for (int64_t i = thread; i < size * dims; i += threads) tile[i % dims * size + i / dims] = points[i];
      others = tile;
      ranks = dynamic_shared<R>() + size * dims;
      point_stride = 1;
      coordinate_stride = size;
    } else {
      ranks = ranks_to_keep;
    }
  }
  for (int64_t i = held + thread; i < size && part.begin == 0; i += threads) ranks[i] = initial_rank(i);
  __syncthreads();

  const int64_t wanted = task.num_samples < size ? task.num_samples : size;
  const int64_t end = part.end < wanted ? part.end : wanted;
  if (part.begin == 0 && thread == 0 && wanted > 0) samples[0] = task.start[cloud];
  int64_t sample = wanted == 0 || part.begin >= wanted ? 0
                   : part.begin == 0                   ? task.start[cloud]
                                                       : samples[part.begin - 1];
  PK_DEVICE_CHECK(wanted == 0 || (sample >= 0 && sample < size));
  for (int64_t m = part.begin > 0 ? part.begin : 1; m < end; ++m) {
    R best_rank = 0;
    uint32_t best_index = 0;
    const T* const position = points + sample * dims;
    T own_position[kDims > 0 ? kDims : 1];
#pragma unroll
    for (int d = 0; d < kDims; ++d) own_position[d] = position[d];
    if constexpr (kOwn > 0) {
      const int64_t own_sample = sample - thread;  // counted like `place`
      int place = 0;                               // index of the point less this thread's number
#pragma unroll
      for (int r = 0; r < kOwn; ++r) {
        if (place >= held) break;  // places without a point keep rank 0 and need no test of their own
        PK_COUNT("distances", 1);
        const T distance = distance_to<T, kDims>(own_points + r * kDims, 1, own_position, kDims);
        own_ranks[r] = lowered(own_ranks[r], distance, place == own_sample);
        if (own_ranks[r] > best_rank) {
          best_rank = own_ranks[r];
          best_index = static_cast<uint32_t>(place);
        }
        place += threads;
      }
      best_index += static_cast<uint32_t>(thread);
    }
    const T* const compared = kDims > 0 ? own_position : position;
    const auto lower = [&](int64_t i) {
      return lowered(ranks[i], distance_to<T, kDims>(others + i * point_stride, coordinate_stride, compared, dims),
                     i == sample);
    };
    const auto consider = [&](int64_t i, R rank) {
      PK_COUNT("distances", 1);
      ranks[i] = rank;
      if (rank > best_rank) {
        best_rank = rank;
        best_index = static_cast<uint32_t>(i);
      }
    };
    int64_t i = held + thread;
    for (; i + (kTogether - 1) * threads < size; i += kTogether * threads) {
      R lowered_ranks[kTogether];
#pragma unroll
      for (int a = 0; a < kTogether; ++a) lowered_ranks[a] = lower(i + a * threads);
#pragma unroll
      for (int a = 0; a < kTogether; ++a) consider(i + a * threads, lowered_ranks[a]);
    }
    for (; i < size; i += threads) consider(i, lower(i));

    // The sets alternate, so that the barrier of the next sample separates this sample's readers from the writers of
    // the sample after it.
    const int set = static_cast<int>(m & 1);
    warp_arg_max(best_rank, best_index);
    if (lane_index() == 0) {
      warp_rank[set][thread / kWarpSize] = best_rank;
      warp_index[set][thread / kWarpSize] = best_index;
    }
    __syncthreads();
    const bool in_use = lane_index() < threads / kWarpSize;
    best_rank = in_use ? warp_rank[set][lane_index()] : 0;
    best_index = in_use ? warp_index[set][lane_index()] : ~uint32_t{0};
    warp_arg_max(best_rank, best_index);
    sample = best_index;
    PK_COUNT("samples", thread == 0);
    if (thread == 0) samples[m] = sample;
  }
  if (end < wanted) {
#pragma unroll
    for (int r = 0; r < kOwn; ++r) {
      const int64_t i = r * threads + thread;
      if (i < held) ranks_to_keep[i] = own_ranks[r];
    }
  }
  for (int64_t m = wanted + thread; m < task.num_samples && part.end == task.num_samples; m += threads) samples[m] = -1;
}

// Small clouds get small blocks: a barrier among fewer warps is quicker and more blocks fit on a multiprocessor.
int block_threads(const Clouds& clouds) {
  const int64_t rounded = divide_up(clouds.size_bound(), kWarpSize) * kWarpSize;
  return static_cast<int>(rounded < kWarpSize ? kWarpSize : rounded < kMaxThreads ? rounded : kMaxThreads);
}

}  // namespace

template <typename T>
int64_t farthest_point_sampling_workspace(const Clouds& clouds, int64_t dims) {
  const int64_t held = dims == 3 ? kHeld<T, 3> * block_threads(clouds) : 0;
  return clouds.size_bound() <= held ? 0 : clouds.rows * static_cast<int64_t>(sizeof(typename Rank<T>::type));
}

namespace {

// Launches the kernel in parts. A block works alone on a cloud, so a launch of few blocks takes as long as one of a
// block for every multiprocessor.
template <typename T, typename Kernel>
cudaError_t launch_parts(Kernel kernel, const FarthestPointSamplingArguments<T>& arguments, int64_t shared_bytes,
                         int64_t clouds_of_part, int64_t samples_of_part, cudaStream_t stream) {
  const dim3 threads(static_cast<unsigned>(block_threads(arguments.clouds)));
  for (int64_t cloud = 0; cloud < arguments.clouds.count; cloud += clouds_of_part) {
    const int64_t left = arguments.clouds.count - cloud;
    for (int64_t begin = 0; begin < arguments.num_samples; begin += samples_of_part) {
      const int64_t end = begin + samples_of_part;
      const Part part{cloud, begin, end < arguments.num_samples ? end : arguments.num_samples};
      const cudaError_t error = launch(kernel, left < clouds_of_part ? left : clouds_of_part, threads,
                                       static_cast<size_t>(shared_bytes), stream, arguments, shared_bytes, part);
      if (error != cudaSuccess) return error;
    }
  }
  return cudaSuccess;
}

// The dynamic shared memory to launch the kernel with: all points and ranks if they fit, or 0.
template <typename Kernel>
cudaError_t choose_shared_bytes(Kernel kernel, const Clouds& clouds, int64_t needed, int64_t& shared_bytes) {
  int64_t limit = kDefaultSharedBytes - kReservedSharedBytes;
  shared_bytes = needed;
  if (clouds.extents != nullptr) {
    // Clouds of unknown sizes: more than the default would only keep other blocks off the multiprocessor.
    shared_bytes = needed < limit ? needed : limit;
    return cudaSuccess;
  }
  if (needed <= limit) return cudaSuccess;
  int device = 0;
  int opt_in = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&opt_in, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (error != cudaSuccess) return error;
  limit = opt_in - kReservedSharedBytes;
  if (needed > limit) {
    shared_bytes = 0;
    return cudaSuccess;
  }
  // All there is, not what this call needs: another thread may be launching the kernel with more.
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(limit));
}

}  // namespace

template <typename T>
cudaError_t launch_farthest_point_sampling(const FarthestPointSamplingArguments<T>& arguments, cudaStream_t stream) {
  const Clouds& clouds = arguments.clouds;
  int64_t blocks = 0;  // that run at a time, at least
  cudaError_t error = multiprocessors(blocks);
  if (error != cudaSuccess) return error;
  blocks = at_least(blocks, 1);
  const int64_t steps_of_sample = at_least(clouds.size_bound(), 1) * (kStepsOfPair + arguments.dims);
  const int64_t steps_of_cloud = steps_of_sample * arguments.num_samples;
  const int64_t clouds_of_part = at_least(most_steps() / steps_of_cloud, blocks);
  const int64_t together = at_least(clouds.count < clouds_of_part ? clouds.count : clouds_of_part, blocks);
  // Without a workspace ranks cannot be handed on, but then clouds are small.
  const int64_t samples_of_part =
      arguments.workspace == nullptr ? arguments.num_samples : at_least(most_steps() / (steps_of_sample * together), 1);

  if (arguments.dims == 3) {
    const auto kernel = farthest_point_sampling_kernel<T, 3>;
    return launch_parts(kernel, arguments, 0, clouds_of_part, samples_of_part, stream);
  }
  const auto kernel = farthest_point_sampling_kernel<T, 0>;
  int64_t shared_bytes = 0;  // which would not outlast a part
  if (samples_of_part >= arguments.num_samples) {
    const int64_t needed = clouds.size_bound() * (arguments.dims + 1) * static_cast<int64_t>(sizeof(T));
    error = choose_shared_bytes(kernel, clouds, needed, shared_bytes);
    if (error != cudaSuccess) return error;
  }
  return launch_parts(kernel, arguments, shared_bytes, clouds_of_part, samples_of_part, stream);
}

template int64_t farthest_point_sampling_workspace<float>(const Clouds&, int64_t);
template int64_t farthest_point_sampling_workspace<double>(const Clouds&, int64_t);
template cudaError_t launch_farthest_point_sampling<float>(const FarthestPointSamplingArguments<float>&, cudaStream_t);
template cudaError_t launch_farthest_point_sampling<double>(const FarthestPointSamplingArguments<double>&,
                                                            cudaStream_t);

}  // namespace pointkernels::cuda
