// Stands in for CUDA's header of this name: of cooperative groups, the cluster of blocks with its distributed shared
// memory.
#pragma once

#include <cuda_runtime.h>

#include "threads.h"

namespace cooperative_groups {

class cluster_group {
 public:
  static unsigned block_rank() { return emulation::block_rank(); }
  static unsigned num_blocks() { return emulation::cluster_blocks(); }
  static unsigned num_threads() { return num_blocks() * emulation::count_of(blockDim); }
  static unsigned thread_rank() { return block_rank() * emulation::count_of(blockDim) + emulation::thread_number(); }

  static void sync(PK_CALLER) {
    emulation::arrive_at_cluster_barrier(PK_SITE("cluster.sync"));
    emulation::wait_at_cluster_barrier(PK_SITE("cluster.sync"));
  }
  struct arrival_token {};
  static arrival_token barrier_arrive(PK_CALLER) {
    emulation::arrive_at_cluster_barrier(PK_SITE("cluster.barrier_arrive"));
    return {};
  }
  static void barrier_wait(PK_CALLER) { emulation::wait_at_cluster_barrier(PK_SITE("cluster.barrier_wait")); }
  static void barrier_wait(arrival_token&&, PK_CALLER) {
    emulation::wait_at_cluster_barrier(PK_SITE("cluster.barrier_wait"));
  }

  // The same variable, in the shared memory of another block.
  template <typename T>
  static T* map_shared_rank(T* address, int rank, PK_CALLER) {
    return static_cast<T*>(
        emulation::map_shared(address, static_cast<unsigned>(rank), PK_SITE("cluster.map_shared_rank")));
  }
};

inline cluster_group this_cluster() { return {}; }

}  // namespace cooperative_groups
