// The last block writes past the end of the result.
#include "plant.h"

namespace {

constexpr int kThreads = 32;
constexpr int kNumbers = 100;

template <bool kFixed>
__global__ void fill_kernel(int* numbers) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (!kFixed || i < kNumbers) numbers[i] = i;
}

}  // namespace

PLANTED(out_of_bounds_global) {
  std::vector<int> numbers(kNumbers);
  const auto kernel = fixed ? fill_kernel<true> : fill_kernel<false>;
  const int64_t blocks = pointkernels::cuda::divide_up(kNumbers, kThreads);
  const cudaError_t error = pointkernels::cuda::launch(kernel, blocks, dim3(kThreads), 0, nullptr, numbers.data());
  return outcome(error, numbers.back() == kNumbers - 1);
}
