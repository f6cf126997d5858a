// The part of the CUDA runtime that launchers use. Memory of the device is memory of the host, and a launch returns
// when the grid has ended. The limits of a launch are those of the architecture in __CUDA_ARCH__.
#pragma once

#include <cstddef>
#include <cstring>
#include <tuple>
#include <utility>

#include "counters.h"
#include "grid.h"
#include "vector_types.h"

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorLaunchFailure = 719,
  cudaErrorNotSupported = 801,
  cudaErrorInvalidClusterSize = 912,
};

using cudaStream_t = struct CUstream_st*;

enum cudaLaunchAttributeID { cudaLaunchAttributeIgnore = 0, cudaLaunchAttributeClusterDimension = 4 };

union cudaLaunchAttributeValue {
  struct {
    unsigned x, y, z;
  } clusterDim;
};

struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  cudaLaunchAttributeValue val;
};

struct cudaLaunchConfig_t {
  dim3 gridDim;
  dim3 blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
  cudaLaunchAttribute* attrs;
  unsigned numAttrs;
};

enum cudaFuncAttribute {
  cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
  cudaFuncAttributeNonPortableClusterSizeAllowed = 14,
};
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount = 16, cudaDevAttrMaxSharedMemoryPerBlockOptin = 97 };

namespace emulation {

// CUDA programming guide, compute capabilities: shared memory that a block may ask for.
inline constexpr size_t kOptInSharedBytes =
    (__CUDA_ARCH__ < 800                                                     ? 64
     : __CUDA_ARCH__ == 860 || __CUDA_ARCH__ == 890 || __CUDA_ARCH__ >= 1200 ? 99
     : __CUDA_ARCH__ < 900                                                   ? 163
                                                                             : 227)
    << 10;

}  // namespace emulation

inline cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}

inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  // A small device, so that kernels that fill the device have several rounds of work.
  *value = attribute == cudaDevAttrMultiProcessorCount ? 3 : static_cast<int>(emulation::kOptInSharedBytes);
  return cudaSuccess;
}

inline cudaError_t cudaMemsetAsync(void* address, int value, size_t bytes, cudaStream_t) {
  emulation::counters::count_memset();
  std::memset(address, value, bytes);
  return cudaSuccess;
}

template <typename Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute attribute, int value) {
  const void* const address = reinterpret_cast<const void*>(kernel);
  if (attribute == cudaFuncAttributeNonPortableClusterSizeAllowed) {
    if (value != 0) emulation::allow_large_clusters(address);
    return cudaSuccess;
  }
  if (value < 0 || static_cast<size_t>(value) > emulation::kOptInSharedBytes) return cudaErrorInvalidValue;
  emulation::allow_dynamic_shared(address, static_cast<size_t>(value));
  return cudaSuccess;
}

inline cudaError_t cudaGetLastError() { return cudaSuccess; }  // every call has returned its error itself

namespace emulation {

// The shape of the clusters that a launch asks for, or why it cannot have them. Other attributes are not emulated.
inline cudaError_t cluster_of(const cudaLaunchConfig_t& config, const void* kernel, dim3& cluster) {
  for (unsigned a = 0; a < config.numAttrs; ++a) {
    const cudaLaunchAttribute& attribute = config.attrs[a];
    if (attribute.id == cudaLaunchAttributeIgnore) continue;
    if (attribute.id != cudaLaunchAttributeClusterDimension || __CUDA_ARCH__ < 900) return cudaErrorNotSupported;
    const auto& shape = attribute.val.clusterDim;
    cluster = dim3(shape.x, shape.y, shape.z);
    const unsigned blocks = count_of(cluster);
    if (blocks == 0 || blocks > (may_have_large_clusters(kernel) ? 16u : 8u)) return cudaErrorInvalidClusterSize;
    const dim3& grid = config.gridDim;
    if (grid.x % shape.x != 0 || grid.y % shape.y != 0 || grid.z % shape.z != 0) return cudaErrorInvalidClusterSize;
  }
  return cudaSuccess;
}

}  // namespace emulation

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  const dim3& grid = config->gridDim;
  const unsigned threads = emulation::count_of(config->blockDim);
  const void* const address = reinterpret_cast<const void*>(kernel);
  if (emulation::count_of(grid) == 0 || grid.y > 65535 || grid.z > 65535 || threads == 0 || threads > 1024) {
    return cudaErrorInvalidConfiguration;
  }
  if (!emulation::may_have_dynamic_shared(address, config->dynamicSmemBytes)) return cudaErrorInvalidValue;
  dim3 cluster;
  const cudaError_t error = emulation::cluster_of(*config, address, cluster);
  if (error != cudaSuccess) return error;
  using Values = std::tuple<Parameters...>;
  const std::pair<void (*)(Parameters...), Values> call(kernel, Values(std::forward<Arguments>(arguments)...));
  const auto run = [](const void* pair) {
    const auto& [function, values] = *static_cast<decltype(call)*>(pair);
    std::apply(function, values);
  };
  emulation::counters::start_grid(address, &call);
  const bool ended_well = emulation::run_grid(grid, cluster, config->blockDim, config->dynamicSmemBytes, run, &call);
  return ended_well ? cudaSuccess : cudaErrorLaunchFailure;
}
