// A block writes into the shared memory of another one that may not have begun.
#include <cooperative_groups.h>

#include "plant.h"

namespace {

template <bool kFixed>
__global__ void send_kernel(int* numbers) {
  __shared__ int inbox[32];
  const auto cluster = cooperative_groups::this_cluster();
  if constexpr (kFixed) cluster.sync();
  cluster.map_shared_rank(inbox, cluster.block_rank() ^ 1)[threadIdx.x] = static_cast<int>(cluster.thread_rank());
  cluster.sync();
  numbers[blockIdx.x * 32 + threadIdx.x] = inbox[threadIdx.x];
}

}  // namespace

PLANTED(cluster_early) {
  std::vector<int> numbers(64);
  const auto kernel = fixed ? send_kernel<true> : send_kernel<false>;
  const cudaError_t error = launch_clusters(kernel, 2, 2, 32, 0, numbers.data());
  return outcome(error, numbers[0] == 32 && numbers[33] == 1);
}
