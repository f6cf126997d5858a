// A grid that is one block short where the blocks do not divide the work evenly.
#include "plant.h"

namespace {

constexpr int kThreads = 32;
constexpr int kNumbers = 100;

__global__ void double_kernel(int* numbers) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < kNumbers) numbers[i] *= 2;
}

}  // namespace

PLANTED(off_by_one_grid) {
  std::vector<int> numbers(kNumbers, 1);
  const int64_t blocks = fixed ? pointkernels::cuda::divide_up(kNumbers, kThreads) : kNumbers / kThreads;
  const cudaError_t error =
      pointkernels::cuda::launch(double_kernel, blocks, dim3(kThreads), 0, nullptr, numbers.data());
  bool is_right = true;
  for (const int number : numbers) is_right = is_right && number == 2;
  return outcome(error, is_right);
}
