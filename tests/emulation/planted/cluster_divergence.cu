// One block of a cluster leaves out a cluster barrier.
#include <cooperative_groups.h>

#include "plant.h"

namespace {

template <bool kFixed>
__global__ void wait_kernel(int* numbers) {
  const auto cluster = cooperative_groups::this_cluster();
  if (kFixed || cluster.block_rank() != 1) cluster.sync();
  numbers[blockIdx.x] = 1;
}

}  // namespace

PLANTED(cluster_divergence) {
  std::vector<int> numbers(4);
  const auto kernel = fixed ? wait_kernel<true> : wait_kernel<false>;
  const cudaError_t error = launch_clusters(kernel, 4, 4, 32, 0, numbers.data());
  return outcome(error, numbers[0] == 1 && numbers[3] == 1);
}
