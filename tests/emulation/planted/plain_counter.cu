// Threads that add to a number in shared memory, not atomically.
#include "plant.h"

namespace {

template <bool kFixed>
__global__ void add_kernel(int* result) {
  __shared__ int sum;
  if (threadIdx.x == 0) sum = 0;
  __syncthreads();
  if constexpr (kFixed) {
    atomicAdd(&sum, 1);
  } else {
    sum += 1;
  }
  __syncthreads();
  if (threadIdx.x == 0) *result = sum;
}

}  // namespace

PLANTED(plain_counter) {
  int result = 0;
  const auto kernel = fixed ? add_kernel<true> : add_kernel<false>;
  const cudaError_t error = pointkernels::cuda::launch(kernel, 1, dim3(64), 0, nullptr, &result);
  return outcome(error, result == 64);
}
