// Writes behind the end of an array in another block's shared memory.
#include <cooperative_groups.h>

#include "plant.h"

namespace {

constexpr unsigned kThreads = 33;

template <bool kFixed>
__global__ void give_kernel(int* numbers) {
  __shared__ int inbox[kThreads];
  const auto cluster = cooperative_groups::this_cluster();
  cluster.sync();
  int* volatile other = cluster.map_shared_rank(inbox, cluster.block_rank() ^ 1);  // hides what is pointed at
  int* const places = other;
  const unsigned to = threadIdx.x + 1;
  places[kFixed ? to % kThreads : to] = static_cast<int>(threadIdx.x);
  if (!kFixed && threadIdx.x == 0) places[0] = kThreads - 1;
  cluster.sync();
  numbers[threadIdx.x] = inbox[threadIdx.x];
}

}  // namespace

PLANTED(cluster_out_of_bounds) {
  std::vector<int> numbers(kThreads);
  const auto kernel = fixed ? give_kernel<true> : give_kernel<false>;
  const cudaError_t error = launch_clusters(kernel, 2, 2, kThreads, 0, numbers.data());
  return outcome(error, numbers[0] == kThreads - 1 && numbers[1] == 0);
}
