// Reads the place after the last one of the dynamic shared memory, of which the launch asks for too little.
#include "../../../csrc/cuda/arch.cuh"
#include "plant.h"

namespace {

constexpr int kThreads = 32;

__global__ void next_kernel(int* numbers) {
  int* const tile = pointkernels::cuda::dynamic_shared<int>();
  tile[threadIdx.x] = numbers[threadIdx.x];
  if (threadIdx.x == 0) tile[kThreads] = -1;
  __syncthreads();
  numbers[threadIdx.x] = tile[threadIdx.x + 1];
}

}  // namespace

PLANTED(out_of_bounds_dynamic) {
  std::vector<int> numbers(kThreads);
  for (int i = 0; i < kThreads; ++i) numbers[i] = i;
  const size_t bytes = sizeof(int) * (fixed ? kThreads + 1 : kThreads);
  const cudaError_t error = pointkernels::cuda::launch(next_kernel, 1, dim3(kThreads), bytes, nullptr, numbers.data());
  return outcome(error, numbers[0] == 1 && numbers[kThreads - 1] == -1);
}
