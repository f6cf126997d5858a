// What blocks of a cluster pay for each other. 0 where the device has no clusters of that size.
#pragma once

#include <cooperative_groups.h>
#include <cuda_runtime.h>

#include "latencies.cuh"
#include "stopwatch.cuh"

namespace machine {

constexpr int kClusterBarriers = 2000;

__global__ static void __launch_bounds__(512) cluster_barrier_kernel() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  for (int step = 0; step < kClusterBarriers; ++step) cooperative_groups::this_cluster().sync();
#endif
}

// The first block of two follows pointers through the shared memory of the second.
__global__ static void distant_chase_kernel(long long* cycles, unsigned* result) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  __shared__ unsigned long long cells[kSteps];
  const cooperative_groups::cluster_group cluster = cooperative_groups::this_cluster();
  unsigned long long* const distant = cluster.map_shared_rank(cells, 1);
  cluster.sync();
  if (cluster.block_rank() == 0) {
    for (unsigned i = threadIdx.x; i < kSteps; i += blockDim.x) {
      distant[i] = reinterpret_cast<unsigned long long>(distant + (i + 37) % kSteps);
    }
  }
  cluster.sync();
  if (cluster.block_rank() == 0) {
    const unsigned long long* at = distant;
    count_cycles(cycles, [&] {
      for (int step = 0; step < kSteps; ++step) at = reinterpret_cast<const unsigned long long*>(*at);
    });
    if (at == nullptr) *result = 1;
  }
  cluster.sync();  // the second block's memory must be there until the end
#else
  static_cast<void>(cycles), static_cast<void>(result);
#endif
}

struct ClusterLaunch {
  cudaLaunchAttribute attribute = {};
  cudaLaunchConfig_t config = {};

  ClusterLaunch(int blocks, int threads, cudaStream_t stream) {
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim.x = static_cast<unsigned>(blocks);
    attribute.val.clusterDim.y = 1;
    attribute.val.clusterDim.z = 1;
    config.gridDim = dim3(static_cast<unsigned>(blocks));
    config.blockDim = dim3(static_cast<unsigned>(threads));
    config.stream = stream;
    config.attrs = &attribute;
    config.numAttrs = 1;
  }
  ClusterLaunch(const ClusterLaunch&) = delete;  // config points into it
  ClusterLaunch& operator=(const ClusterLaunch&) = delete;
};

// Seconds.
inline double cluster_barrier(Stopwatch& watch, int major, int blocks) {
  if (major < 9) return 0;
  const ClusterLaunch launch(blocks, 512, watch.stream());
  if (blocks > 8) {  // more than every device with clusters grants
    check(cudaFuncSetAttribute(cluster_barrier_kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1), "cluster");
  }
  int clusters = 0;
  if (cudaOccupancyMaxActiveClusters(&clusters, cluster_barrier_kernel, &launch.config) != cudaSuccess) {
    cudaGetLastError();  // or the next launch would find it
    return 0;
  }
  if (clusters == 0) return 0;
  return watch.seconds([&] { check(cudaLaunchKernelEx(&launch.config, cluster_barrier_kernel), "cluster"); }) /
         kClusterBarriers;
}

// Cycles.
inline double distant_latency(Stopwatch& watch, int major, unsigned* result) {
  if (major < 9) return 0;
  const ClusterLaunch launch(2, 32, watch.stream());
  return median_cycles(watch,
                       [&](long long* cycles) {
                         check(cudaLaunchKernelEx(&launch.config, distant_chase_kernel, cycles, result), "cluster");
                       }) /
         kSteps;
}

}  // namespace machine
