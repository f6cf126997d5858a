// A block reads another one's shared memory, and that one does not wait for it before it ends.
#include <cooperative_groups.h>

#include "../../../csrc/cuda/arch.cuh"
#include "plant.h"

namespace {

template <bool kFixed>
__global__ void borrow_kernel(int* numbers) {
  int* const tile = pointkernels::cuda::dynamic_shared<int>();
  const auto cluster = cooperative_groups::this_cluster();
  tile[threadIdx.x] = static_cast<int>(cluster.thread_rank());
  cluster.sync();
  if (cluster.block_rank() == 0) numbers[threadIdx.x] = cluster.map_shared_rank(tile, 1)[threadIdx.x];
  if constexpr (kFixed) cluster.sync();
}

}  // namespace

PLANTED(cluster_exit) {
  std::vector<int> numbers(32);
  const auto kernel = fixed ? borrow_kernel<true> : borrow_kernel<false>;
  const cudaError_t error = launch_clusters(kernel, 2, 2, 32, 32 * sizeof(int), numbers.data());
  return outcome(error, numbers[0] == 32 && numbers[31] == 63);
}
