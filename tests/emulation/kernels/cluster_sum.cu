// The sum of each row of a matrix by a cluster of blocks, through distributed shared memory.
#include <cooperative_groups.h>

#include <cstdint>

#include "../../../csrc/cuda/arch.cuh"
#include "../../../csrc/cuda/warp.cuh"
#include "../planted/plant.h"

namespace {

namespace cg = cooperative_groups;
using namespace pointkernels::cuda;

constexpr int kThreads = 96;
constexpr int kWarps = kThreads / kWarpSize;
constexpr unsigned kCluster = 4;

// Grid: a cluster of kCluster blocks of kThreads for each row. Shared: a sum per warp; dynamic, in the cluster's first
//   block: a sum per block. Global: no workspace.
// Invariant: each block's sum lies in the first block before its barrier is complete, so that the first block adds them
//   up in order of blocks, and the result depends on the shape alone.
__global__ void __launch_bounds__(kThreads) cluster_sum_kernel(const double* numbers, int64_t columns, double* sums) {
  __shared__ double warp_sums[kWarps];
  const auto cluster = cg::this_cluster();
  const int thread = static_cast<int>(threadIdx.x);
  const unsigned rank = cluster.block_rank();
  const int64_t row = blockIdx.x / kCluster;
  double sum = 0;
  for (int64_t c = rank * kThreads + thread; c < columns; c += kCluster * kThreads) sum += numbers[row * columns + c];
  sum = sum_over_lanes(sum, 1);
  if (lane_index() == 0) warp_sums[thread / kWarpSize] = sum;
  cluster.sync();  // every block has begun, and everyone's sums are in
  if (thread == 0) {
    sum = warp_sums[0];
    for (int w = 1; w < kWarps; ++w) sum += warp_sums[w];
    cluster.map_shared_rank(dynamic_shared<double>(), 0)[rank] = sum;
  }
  cluster.sync();
  if (rank != 0 || thread != 0) return;
  sum = 0;
  for (unsigned b = 0; b < kCluster; ++b) sum += dynamic_shared<double>()[b];
  sums[row] = sum;
}

}  // namespace

SHOWN(cluster_sum) {
  constexpr int64_t kRows = 3, kColumns = 1000;
  std::vector<double> numbers(kRows * kColumns), sums(kRows, -1);
  for (int64_t i = 0; i < kRows * kColumns; ++i) numbers[i] = static_cast<double>(i);
  const cudaError_t error = launch_clusters(cluster_sum_kernel, kRows * kCluster, kCluster, kThreads,
                                            kCluster * sizeof(double), numbers.data(), kColumns, sums.data());
  bool is_right = true;
  for (int64_t row = 0; row < kRows; ++row) {
    const int64_t first = row * kColumns, last = first + kColumns - 1;
    is_right = is_right && sums[row] == static_cast<double>((first + last) * kColumns / 2);
  }
  return outcome(error, is_right);
}
