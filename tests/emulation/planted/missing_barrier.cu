// Warps read what other warps have written, without a barrier between.
#include "plant.h"

namespace {

constexpr int kThreads = 64;

template <bool kFixed>
__global__ void mirror_kernel(int* numbers) {
  __shared__ int tile[kThreads];
  const int thread = static_cast<int>(threadIdx.x);
  tile[thread] = numbers[thread];
  if constexpr (kFixed) __syncthreads();
  numbers[thread] = tile[kThreads - 1 - thread];
}

}  // namespace

PLANTED(missing_barrier) {
  std::vector<int> numbers(kThreads);
  for (int i = 0; i < kThreads; ++i) numbers[i] = i;
  const auto kernel = fixed ? mirror_kernel<true> : mirror_kernel<false>;
  const cudaError_t error = pointkernels::cuda::launch(kernel, 1, dim3(kThreads), 0, nullptr, numbers.data());
  bool is_right = true;
  for (int i = 0; i < kThreads; ++i) is_right = is_right && numbers[i] == kThreads - 1 - i;
  return outcome(error, is_right);
}
