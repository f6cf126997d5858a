// Collectives of warps and blocks that no kernel of csrc/cuda uses yet, over whole warps and parts of them.
#include "../planted/plant.h"

namespace {

constexpr int kThreads = 64;

// Grid: one block of kThreads. Writes how many of the checks failed for each thread.
__global__ void __launch_bounds__(kThreads) collectives_kernel(int* failures) {
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % 32;
  const unsigned half = lane < 16 ? 0x0000ffffu : 0xffff0000u;
  const int first = lane < 16 ? 0 : 16;
  int failed = 0;
  failed += __syncthreads_count(thread % 4 == 0) != kThreads / 4;
  failed += __syncthreads_or(thread == 63) == 0;
  failed += __syncthreads_or(thread == 64) != 0;
  failed += __syncthreads_and(thread < 64) == 0;
  failed += __syncthreads_and(thread < 63) != 0;
  failed += __shfl_sync(half, lane, 3, 16) != first + 3;
  failed += __shfl_up_sync(half, lane, 2, 16) != (lane - first < 2 ? lane : lane - 2);
  failed += __shfl_down_sync(half, lane, 2, 16) != (lane - first > 13 ? lane : lane + 2);
  failed += __shfl_xor_sync(0xffffffffu, static_cast<double>(lane), 31) != 31 - lane;
  failed += __any_sync(half, lane == 5) != (first == 0);
  failed += __all_sync(half, lane < 16) != (first == 0);
  failed += __match_any_sync(half, lane / 2) != 3u << (lane / 2 * 2);
  int alike = -1;
  failed += __match_all_sync(half, first, &alike) != half || alike != 1;
  failed += __match_all_sync(half, lane, &alike) != 0 || alike != 0;
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  failed += __reduce_max_sync(half, -lane) != -first;
  failed += __reduce_min_sync(half, -lane) != -first - 15;
  failed += __reduce_max_sync(half, static_cast<unsigned>(-lane - 1)) != static_cast<unsigned>(-first - 1);
  failed += __reduce_add_sync(0xffffffffu, lane) != 496;
  failed += __reduce_or_sync(half, 1u << lane) != half;
  failed += __reduce_and_sync(half, ~(1u << lane)) != ~half;
  failed += __reduce_xor_sync(0xffffffffu, 1u << lane) != 0xffffffffu;
#endif
  failures[thread] = failed;
}

}  // namespace

SHOWN(collectives) {
  std::vector<int> failures(kThreads, 99);
  const cudaError_t error =
      pointkernels::cuda::launch(collectives_kernel, 1, dim3(kThreads), 0, nullptr, failures.data());
  bool is_right = true;
  for (const int failed : failures) is_right = is_right && failed == 0;
  return outcome(error, is_right);
}
