// Loops over independent units of work on torch's own thread pool.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <atomic>
#include <cstdint>
#include <exception>

#include "../common/clouds.h"
#include "../common/tensors.h"

namespace pointkernels {

// Calls work(begin, end) on pieces of [0, count). An exception must not leave a pool thread, so it is reported here.
template <typename Work>
void parallel_for(int64_t count, const Work& work) {
  std::atomic<bool> failed{false};
  torch::stable::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    try {
      work(begin, end);
    } catch (const std::exception&) {
      failed.store(true, std::memory_order_relaxed);
    }
  });
  STD_TORCH_CHECK(!failed.load(), "not enough memory for the work space of a thread");
}

// On a CPU the extents can be read, so memory is safe whatever they say.
inline void check_extents(const Clouds& clouds) {
  int64_t end = 0;
  for (int64_t cloud = 0; cloud < clouds.count; ++cloud) {
    const int64_t first = clouds.first(cloud), size = clouds.size(cloud);
    STD_TORCH_CHECK(first >= end && size >= 0 && size <= clouds.rows - first, "cloud ", cloud, " must lie within the ",
                    clouds.rows, " rows, after the cloud before it, got rows ", first, " to ", first + size);
    end = first + size;
  }
}

}  // namespace pointkernels
