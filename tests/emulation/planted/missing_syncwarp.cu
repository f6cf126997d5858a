// Lanes read what other lanes have written, with a vote between, which brings them together but orders no memory: the
// result is right in every schedule of the emulation, and on a GPU nearly always.
#include "plant.h"

namespace {

template <bool kFixed>
__global__ void neighbour_kernel(int* numbers) {
  __shared__ int tile[32];
  const int lane = static_cast<int>(threadIdx.x);
  tile[lane] = numbers[lane];
  if (__any_sync(0xffffffffu, numbers[lane] < 0)) return;
  if constexpr (kFixed) __syncwarp();
  numbers[lane] = tile[lane ^ 1];
}

}  // namespace

PLANTED(missing_syncwarp) {
  std::vector<int> numbers(32);
  for (int i = 0; i < 32; ++i) numbers[i] = i;
  const auto kernel = fixed ? neighbour_kernel<true> : neighbour_kernel<false>;
  const cudaError_t error = pointkernels::cuda::launch(kernel, 1, dim3(32), 0, nullptr, numbers.data());
  bool is_right = true;
  for (int i = 0; i < 32; ++i) is_right = is_right && numbers[i] == (i ^ 1);
  return outcome(error, is_right);
}
