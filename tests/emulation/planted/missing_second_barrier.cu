// A loop that fills a tile, waits, and reads it, but does not wait again before it fills the tile anew.
#include "plant.h"

namespace {

constexpr int kThreads = 64;
constexpr int kRounds = 3;

template <bool kFixed>
__global__ void rotate_kernel(int* sums) {
  __shared__ int tile[kThreads];
  const int thread = static_cast<int>(threadIdx.x);
  int sum = 0;
  for (int round = 0; round < kRounds; ++round) {
    tile[thread] = thread * (round + 1);
    __syncthreads();
    sum += tile[(thread + 33) % kThreads];
    if constexpr (kFixed) __syncthreads();
  }
  sums[thread] = sum;
}

}  // namespace

PLANTED(missing_second_barrier) {
  std::vector<int> sums(kThreads);
  const auto kernel = fixed ? rotate_kernel<true> : rotate_kernel<false>;
  const cudaError_t error = pointkernels::cuda::launch(kernel, 1, dim3(kThreads), 0, nullptr, sums.data());
  bool is_right = true;
  for (int i = 0; i < kThreads; ++i) is_right = is_right && sums[i] == 6 * ((i + 33) % kThreads);
  return outcome(error, is_right);
}
