// Runs the blocks of a grid, one after another, or cluster after cluster.
#pragma once

#include <cstddef>
#include <cstdint>

#include "vector_types.h"

namespace emulation {

// Whether a block of `kernel` may have so much dynamic shared memory; and allows it more than every architecture gives
// without asking.
bool may_have_dynamic_shared(const void* kernel, size_t bytes);
void allow_dynamic_shared(const void* kernel, size_t bytes);

// Likewise clusters of more than eight blocks, which not every architecture with clusters has.
bool may_have_large_clusters(const void* kernel);
void allow_large_clusters(const void* kernel);

// What csrc/cuda/launch.cuh asks: how much one launch may do.
int64_t most_steps_of_a_launch(int64_t on_gpus);

// Runs call(arguments) for each thread of the grid, in clusters of this shape, which divides that of the grid, and
// returns whether it ended well; if not, emulated_failure() tells what happened. One grid at a time: a second caller
// waits.
bool run_grid(const dim3& grid, const dim3& cluster, const dim3& block, size_t dynamic_bytes,
              void (*call)(const void* arguments), const void* arguments);

}  // namespace emulation
