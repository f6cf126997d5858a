// Sums of tiles that are copied asynchronously, the next one while the last is being added up.
#include <cuda_pipeline.h>

#include "../planted/plant.h"

namespace {

constexpr int kThreads = 64;
constexpr int kTiles = 5;

// Grid: one block of kThreads. Shared: two tiles. Invariant: before tile t is read, all copies but those of tile t + 1
// are complete, and nobody reads the tile that these go to.
__global__ void __launch_bounds__(kThreads) sum_tiles_kernel(const float* numbers, float* sums) {
  __shared__ float tiles[2][kThreads];
  const int thread = static_cast<int>(threadIdx.x);
  __pipeline_memcpy_async(&tiles[0][thread], &numbers[thread], sizeof(float));
  __pipeline_commit();
  float sum = 0;
  for (int t = 0; t < kTiles; ++t) {
    if (t + 1 < kTiles) {
      __pipeline_memcpy_async(&tiles[(t + 1) % 2][thread], &numbers[(t + 1) * kThreads + thread], sizeof(float));
    }
    __pipeline_commit();
    __pipeline_wait_prior(1);
    __syncthreads();
    sum += tiles[t % 2][kThreads - 1 - thread];
    __syncthreads();
  }
  sums[thread] = sum;
}

}  // namespace

SHOWN(async_tiles) {
  std::vector<float> numbers(kTiles * kThreads), sums(kThreads);
  for (int i = 0; i < kTiles * kThreads; ++i) numbers[i] = static_cast<float>(i);
  const cudaError_t error =
      pointkernels::cuda::launch(sum_tiles_kernel, 1, dim3(kThreads), 0, nullptr, numbers.data(), sums.data());
  bool is_right = true;
  for (int i = 0; i < kThreads; ++i) {
    is_right = is_right && sums[i] == static_cast<float>(kTiles * (kThreads - 1 - i) + kThreads * 10);
  }
  return outcome(error, is_right);
}
