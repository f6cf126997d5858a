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

// Whether this thread is at work for a loop over all of them: loops within it are its own.
inline bool& within_threads() {
  static thread_local bool within = false;
  return within;
}

// How many threads a loop that begins here may have.
inline int64_t threads_here() { return within_threads() ? 1 : torch::stable::get_num_threads(); }

// Calls work(member) on each of up to `most` threads, numbered below that; the same thread has the same number each
// time. They start when they have woken up, and it returns when all have ended. Some may not come, and their numbers
// neither. An exception must not leave a pool thread, so it is reported here.
template <typename Work>
void on_members(int64_t most, const Work& work) {
  std::atomic<bool> failed{false};
  const auto guarded = [&](int64_t member) {
    try {
      work(member);
    } catch (const std::exception&) {
      failed.store(true, std::memory_order_relaxed);
    }
  };
  const int64_t threads = std::min(most, threads_here());
  if (threads <= 1) {
    guarded(0);
  } else {
    torch::stable::parallel_for(0, threads, 1, [&](int64_t member, int64_t) {
      within_threads() = true;
      guarded(member);
      within_threads() = false;
    });
  }
  STD_TORCH_CHECK(!failed.load(), "not enough memory for the work space of a thread");
}

// Calls work() on each of up to `most` threads.
template <typename Work>
void on_threads(int64_t most, const Work& work) {
  on_members(most, [&](int64_t) { work(); });
}

// Calls work(begin, end) on pieces of [0, count). A thread has the same part of equal counts each time, so that what it
// has written is still in its cache, but for pieces that others take from one that wakes up late or shares its core.
template <typename Work>
void parallel_for(int64_t count, const Work& work) {
  const int64_t threads = std::min(count, threads_here());
  if (count <= 0) return;
  if (threads <= 1) return on_members(1, [&](int64_t) { work(0, count); });
  Shares shares(count, threads);
  on_members(threads, [&](int64_t member) { shares.each(member, work); });
}

// The threads that so many nanoseconds of work are worth: a sleeping one takes about 100 microseconds to wake up
// (Linux, measured as an empty loop on two threads), and the call cannot end before.
inline int64_t threads_worth(double nanoseconds) { return static_cast<int64_t>(nanoseconds / 50'000); }

// Units of work for the threads of on_threads().
inline Claims claims_of(int64_t count) { return Claims(count, threads_here()); }

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
