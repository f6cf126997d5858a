// The blocks of a cluster add up what each has in its shared memory; the bug reads another block's sum before that
// block has come to the barrier behind which it is known.
#include <cooperative_groups.h>

#include "plant.h"

namespace {

constexpr unsigned kThreads = 64;
constexpr unsigned kCluster = 4;

template <bool kFixed>
__global__ void neighbour_sum_kernel(int* sums) {
  __shared__ int own;
  const auto cluster = cooperative_groups::this_cluster();
  const unsigned rank = cluster.block_rank();
  if (threadIdx.x == 0) own = 0;
  cluster.sync();
  atomicAdd(&own, static_cast<int>(rank));
  if constexpr (kFixed) {
    cluster.sync();
  } else {
    __syncthreads();
  }
  if (threadIdx.x == 0) sums[blockIdx.x] = *cluster.map_shared_rank(&own, (rank + 1) % kCluster);
  cluster.sync();
}

}  // namespace

PLANTED(cluster_race) {
  std::vector<int> sums(2 * kCluster);
  const auto kernel = fixed ? neighbour_sum_kernel<true> : neighbour_sum_kernel<false>;
  const cudaError_t error = launch_clusters(kernel, 2 * kCluster, kCluster, kThreads, 0, sums.data());
  bool is_right = true;
  for (unsigned b = 0; b < sums.size(); ++b)
    is_right = is_right && sums[b] == static_cast<int>((b + 1) % kCluster * kThreads);
  return outcome(error, is_right);
}
