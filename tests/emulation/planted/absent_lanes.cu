// Half a warp takes part in a shuffle whose mask names all of it.
#include "plant.h"

namespace {

template <bool kFixed>
__global__ void half_kernel(int* numbers) {
  const int lane = static_cast<int>(threadIdx.x);
  if (lane < 16) numbers[lane] = __shfl_xor_sync(kFixed ? 0x0000ffffu : 0xffffffffu, lane, 1);
  __syncthreads();
}

}  // namespace

PLANTED(absent_lanes) {
  std::vector<int> numbers(32);
  const auto kernel = fixed ? half_kernel<true> : half_kernel<false>;
  const cudaError_t error = pointkernels::cuda::launch(kernel, 1, dim3(32), 0, nullptr, numbers.data());
  return outcome(error, numbers[0] == 1 && numbers[15] == 14);
}
