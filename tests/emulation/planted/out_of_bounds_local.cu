// Writes to the place after the last one of an array of the thread's own, after a barrier.
#include "plant.h"

namespace {

constexpr int kThreads = 32;
constexpr int kOwn = 8;

template <bool kFixed>
__global__ void own_kernel(int* numbers) {
  int own[kOwn];
  int* volatile pointer = own;  // hides from the compiler what is pointed at
  for (int i = 0; i < kOwn; ++i) pointer[i] = static_cast<int>(threadIdx.x);
  __syncthreads();
  pointer[kFixed ? kOwn - 1 : kOwn] = 1;
  __syncthreads();
  numbers[threadIdx.x] = pointer[0];
}

}  // namespace

PLANTED(out_of_bounds_local) {
  std::vector<int> numbers(kThreads);
  const auto kernel = fixed ? own_kernel<true> : own_kernel<false>;
  const cudaError_t error = pointkernels::cuda::launch(kernel, 1, dim3(kThreads), 0, nullptr, numbers.data());
  return outcome(error, numbers[5] == 5);
}
