// The two warps of a block wait at barriers in different branches.
#include "plant.h"

namespace {

template <bool kFixed>
__global__ void branch_kernel(int* numbers) {
  if (kFixed || threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  numbers[threadIdx.x] = 1;
}

}  // namespace

PLANTED(divergent_barrier) {
  std::vector<int> numbers(64);
  const auto kernel = fixed ? branch_kernel<true> : branch_kernel<false>;
  const cudaError_t error = pointkernels::cuda::launch(kernel, 1, dim3(64), 0, nullptr, numbers.data());
  return outcome(error, numbers[0] == 1 && numbers[63] == 1);
}
