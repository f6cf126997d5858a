// Loops over independent units of work on torch's own thread pool.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>

#include "../common/clouds.h"
#include "../common/tensors.h"
#include "claims.h"

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

// Calls work() on each of up to `most` threads. They start when they have woken up, and it returns when all have ended.
template <typename Work>
void on_threads(int64_t most, const Work& work) {
  const int64_t threads = std::min(most, static_cast<int64_t>(torch::stable::get_num_threads()));
  parallel_for(std::max<int64_t>(threads, 1), [&](int64_t, int64_t) { work(); });
}

// The threads that so many nanoseconds of work are worth: a sleeping one takes about 100 microseconds to wake up
// (Linux, measured as an empty loop on two threads), and the call cannot end before.
inline int64_t threads_worth(double nanoseconds) { return static_cast<int64_t>(nanoseconds / 50'000); }

// Units of work for the threads of on_threads().
inline Claims claims_of(int64_t count) { return Claims(count, torch::stable::get_num_threads()); }

// Calls use(unit) for each unit of [0, count) on up to `most` threads, which claim them.
template <typename Use>
void parallel_each(int64_t count, int64_t most, const Use& use) {
  Claims claims = claims_of(count);
  on_threads(std::min(count, most), [&] { claims.each(use); });
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
