// Writes to the place after the last one of a static array in shared memory.
#include "plant.h"

namespace {

constexpr int kThreads = 33;

template <bool kFixed>
__global__ void shift_kernel(int* numbers) {
  __shared__ int tile[kThreads];
  int* volatile pointer = tile;  // hides from the compiler what is pointed at
  int* const places = pointer;
  const unsigned to = threadIdx.x + 1;
  places[kFixed ? to % kThreads : to] = numbers[threadIdx.x];
  if (!kFixed && threadIdx.x == 0) places[0] = numbers[kThreads - 1];
  __syncthreads();
  numbers[threadIdx.x] = places[threadIdx.x];
}

}  // namespace

PLANTED(out_of_bounds_shared) {
  std::vector<int> numbers(kThreads);
  for (int i = 0; i < kThreads; ++i) numbers[i] = i;
  const auto kernel = fixed ? shift_kernel<true> : shift_kernel<false>;
  const cudaError_t error = pointkernels::cuda::launch(kernel, 1, dim3(kThreads), 0, nullptr, numbers.data());
  return outcome(error, numbers[0] == kThreads - 1 && numbers[1] == 0);
}
