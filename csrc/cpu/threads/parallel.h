// Loops over independent units of work on torch's own thread pool.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <utility>

#include "../../common/clouds.h"
#include "../../common/tensors.h"
#include "team.h"
#include "work_queue.h"

namespace pointkernels {

// Whether this thread is at work for a loop over all of them: loops within it are its own.
inline bool& within_threads() {
  static thread_local bool within = false;
  return within;
}

// The team that shares the loops of this thread, if it leads one.
inline Team*& team_here() {
  static thread_local Team* team = nullptr;
  return team;
}

// How many threads a loop that begins here may start.
inline int64_t threads_to_start() { return within_threads() ? 1 : torch::stable::get_num_threads(); }

// How many threads a loop that begins here may have.
inline int64_t threads_here() { return team_here() != nullptr ? team_here()->threads() : threads_to_start(); }

inline constexpr char kNoWorkSpace[] = "not enough memory for the work space of a thread";

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
  const int64_t threads = std::min(most, threads_to_start());
  if (threads <= 1) {
    guarded(0);
  } else {
    torch::stable::parallel_for(0, threads, 1, [&](int64_t member, int64_t) {
      within_threads() = true;
      guarded(member);
      within_threads() = false;
    });
  }
  STD_TORCH_CHECK(!failed.load(), kNoWorkSpace);
}

// Calls work() on each of up to `most` threads.
template <typename Work>
void on_threads(int64_t most, const Work& work) {
  on_members(most, [&](int64_t) { work(); });
}

// Calls work(begin, end) on pieces of [0, count), as the members of a team come for them. Loops within are their own.
template <typename Work>
void on_team(Team& team, int64_t count, const Work& work) {
  std::atomic<bool> failed{false};
  team.each(count, [&work, &failed](int64_t begin, int64_t end) {
    Team* const led = std::exchange(team_here(), nullptr);
    try {
      work(begin, end);
    } catch (const std::exception&) {
      failed.store(true, std::memory_order_relaxed);
    }
    team_here() = led;
  });
  STD_TORCH_CHECK(!failed.load(), kNoWorkSpace);
}

// Calls work(begin, end) on pieces of [0, count). A thread has the same part of equal counts each time, so that what it
// has written is still in its cache, but for pieces that others take from one that wakes up late or shares its core.
template <typename Work>
void parallel_for(int64_t count, const Work& work) {
  if (count <= 0) return;
  if (team_here() != nullptr) return on_team(*team_here(), count, work);
  const int64_t threads = std::min(count, threads_to_start());
  if (threads <= 1) return on_members(1, [&](int64_t) { work(0, count); });
  Shares shares(count, threads);
  on_members(threads, [&](int64_t member) { shares.each(member, work); });
}

// As parallel_for, but the last of [0, count) comes at the end: those who have nothing else left share the loops within
// it. With few of them a thread whose core is slower, or that woke up late, would keep the others waiting.
template <typename Work>
void parallel_for_last_together(int64_t count, const Work& work) {
  const int64_t threads = std::min(count, threads_to_start());
  if (threads <= 1) return parallel_for(count, work);
  Shares shares(count - 1, threads);
  Team team(threads);
  on_members(threads, [&](int64_t member) {
    shares.each(member, work);
    team.join(member, [&](Team& joined) {
      struct Leading {
        explicit Leading(Team& team) { team_here() = &team; }
        ~Leading() { team_here() = nullptr; }
      } const leading(joined);
      work(count - 1, count);
    });
  });
}

// The threads that so many nanoseconds of work are worth: a sleeping one takes about 100 microseconds to wake up
// (Linux, measured as an empty loop on two threads), and the call cannot end before.
inline int64_t threads_worth(double nanoseconds) { return static_cast<int64_t>(nanoseconds / 50'000); }

// Units of work for the threads of on_threads().
inline WorkQueue work_queue_of(int64_t count) { return WorkQueue(count, threads_here()); }

// Calls use(unit) for each unit of [0, count) on up to `most` threads, which claim them.
template <typename Use>
void parallel_each(int64_t count, int64_t most, const Use& use) {
  WorkQueue queue = work_queue_of(count);
  on_threads(std::min(count, most), [&] { queue.each(use); });
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
