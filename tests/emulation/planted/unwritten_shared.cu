// A counter in shared memory that nobody sets to zero.
#include "plant.h"

namespace {

template <bool kFixed>
__global__ void count_kernel(int* result) {
  __shared__ int count;
  if (kFixed && threadIdx.x == 0) count = 0;
  __syncthreads();
  atomicAdd(&count, 1);
  __syncthreads();
  if (threadIdx.x == 0) *result = count;
}

}  // namespace

PLANTED(unwritten_shared) {
  int result = 0;
  const auto kernel = fixed ? count_kernel<true> : count_kernel<false>;
  const cudaError_t error = pointkernels::cuda::launch(kernel, 1, dim3(96), 0, nullptr, &result);
  return outcome(error, result == 96);
}
