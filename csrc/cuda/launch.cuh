// The one way in which kernels are launched.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>

namespace pointkernels::cuda {

// Grids are one-dimensional: x holds 2^31 - 1 blocks, y and z only 65,535.
constexpr int64_t kMaxBlocks = std::numeric_limits<int32_t>::max();

constexpr int64_t divide_up(int64_t number, int64_t by) { return (number + by - 1) / by; }

// cudaLaunchKernelEx is an ordinary function template, which a host compiler can parse where it cannot parse <<<>>>.
template <typename... Parameters, typename... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), int64_t blocks, dim3 threads, size_t dynamic_shared_bytes,
                   cudaStream_t stream, Arguments&&... arguments) {
  if (blocks <= 0 || blocks > kMaxBlocks) return cudaErrorInvalidConfiguration;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = threads;
  config.dynamicSmemBytes = dynamic_shared_bytes;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...);
}

}  // namespace pointkernels::cuda
