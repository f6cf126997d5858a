// Small kernels, each with a bug beside a twin without it: planted_<name>(fixed) runs one of the two and says how it
// ended. Those in ../kernels have no bug and show what can be used: shown_<name>().
#pragma once

#include <cuda_runtime.h>

#include <vector>

#include "../../../csrc/cuda/launch.cuh"

enum Outcome { kRight = 0, kWrong = 1, kFailed = 2 };

#define PLANTED(name) extern "C" __attribute__((visibility("default"))) int planted_##name(bool fixed)
#define SHOWN(name) extern "C" __attribute__((visibility("default"))) int shown_##name()

inline Outcome outcome(cudaError_t error, bool is_right) {
  return error != cudaSuccess ? kFailed : is_right ? kRight : kWrong;
}

// As pointkernels::cuda::launch(), in clusters of `cluster` blocks.
template <typename... Parameters, typename... Arguments>
cudaError_t launch_clusters(void (*kernel)(Parameters...), unsigned blocks, unsigned cluster, unsigned threads,
                            size_t dynamic_shared_bytes, Arguments&&... arguments) {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim.x = cluster;
  attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(blocks);
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = dynamic_shared_bytes;
  config.attrs = &attribute;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...);
}
