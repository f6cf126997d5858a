// Threads without work return before a barrier that the others wait at.
#include "plant.h"

namespace {

constexpr int kNumbers = 40;

template <bool kFixed>
__global__ void leave_kernel(int* numbers) {
  const int i = static_cast<int>(threadIdx.x);
  if (!kFixed && i >= kNumbers) return;
  __syncthreads();
  if (i < kNumbers) numbers[i] = i;
}

}  // namespace

PLANTED(exit_past_barrier) {
  std::vector<int> numbers(kNumbers);
  const auto kernel = fixed ? leave_kernel<true> : leave_kernel<false>;
  const cudaError_t error = pointkernels::cuda::launch(kernel, 1, dim3(64), 0, nullptr, numbers.data());
  return outcome(error, numbers.back() == kNumbers - 1);
}
