// Reads the destination of an asynchronous copy without having waited for it.
#include <cuda_pipeline.h>

#include "plant.h"

namespace {

constexpr int kThreads = 32;

template <bool kFixed>
__global__ void copy_kernel(const int4* source, int4* target) {
  __shared__ int4 tile[kThreads];
  const int thread = static_cast<int>(threadIdx.x);
  __pipeline_memcpy_async(&tile[thread], &source[thread], sizeof(int4));
  __pipeline_commit();
  __pipeline_wait_prior(kFixed ? 0 : 1);
  __syncthreads();
  target[thread] = tile[kThreads - 1 - thread];
}

}  // namespace

PLANTED(missing_wait) {
  std::vector<int4> source(kThreads), target(kThreads);
  for (int i = 0; i < kThreads; ++i) source[i].x = source[i].w = i;
  const auto kernel = fixed ? copy_kernel<true> : copy_kernel<false>;
  const cudaError_t error =
      pointkernels::cuda::launch(kernel, 1, dim3(kThreads), 0, nullptr, source.data(), target.data());
  return outcome(error, target[0].x == kThreads - 1 && target[kThreads - 1].w == 0);
}
