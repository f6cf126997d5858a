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

// How much one launch may do. A GPU runs nothing else meanwhile, and one with a display ends what takes seconds. A step
// is one coordinate of a pair of points, or as much; a pair costs kStepsOfPair more. So many steps are predicted to
// take 15 to 45 ms on an H200 that all of its multiprocessors work on.
constexpr int64_t kMostSteps = int64_t{1} << 37;
#ifdef PK_EMULATION
inline int64_t most_steps() { return emulation::most_steps_of_a_launch(kMostSteps); }
#else
constexpr int64_t most_steps() { return kMostSteps; }
#endif
constexpr int64_t kStepsOfPair = 8;

constexpr int64_t at_least(int64_t number, int64_t least) { return number < least ? least : number; }

// The number of multiprocessors of the current device.
inline cudaError_t multiprocessors(int64_t& count) {
  int device = 0;
  int found = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&found, cudaDevAttrMultiProcessorCount, device);
  count = found;
  return error;
}

// Launches a kernel that takes the number of its first block last, in as many parts as its work needs.
template <typename Kernel, typename Arguments>
cudaError_t launch_in_parts(Kernel kernel, int64_t blocks, int64_t steps_of_block, dim3 threads, cudaStream_t stream,
                            const Arguments& arguments) {
  int64_t least = 0;  // fewer blocks would leave multiprocessors without work
  cudaError_t error = multiprocessors(least);
  const int64_t fitting = at_least(most_steps() / at_least(steps_of_block, 1), 4 * at_least(least, 1));
  const int64_t most = fitting < kMaxBlocks ? fitting : kMaxBlocks;
  for (int64_t first = 0; first < blocks && error == cudaSuccess; first += most) {
    const int64_t part = blocks - first < most ? blocks - first : most;
    error = launch(kernel, part, threads, 0, stream, arguments, first);
  }
  return error;
}

}  // namespace pointkernels::cuda
