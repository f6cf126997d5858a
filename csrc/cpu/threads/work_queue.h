// How threads share units of work. Knows nothing of torch, so that ThreadSanitizer can run it (tests/cpu).
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

#include "spin_wait.h"

namespace pointkernels {

// Units of work [0, count), claimed in order by threads: one that wakes up late, shares its core or meets hard units
// gets fewer of them.
class WorkQueue {
 public:
  WorkQueue(int64_t count, int64_t threads)
      : count_(count), step_(std::clamp<int64_t>(count / (32 * threads), 1, 16)) {}

  int64_t count() const { return count_; }

  // Calls use(unit) for units that this thread claims, until none is left.
  template <typename Use>
  void each(const Use& use) {
    int64_t begin;
    while ((begin = next_.fetch_add(step_, std::memory_order_relaxed)) < count_) {
      const int64_t end = std::min(begin + step_, count_);
      const Done done{&done_, end - begin};
      for (int64_t unit = begin; unit < end; ++unit) use(unit);
    }
  }

  // After each(): returns when the units of the other threads are done, too, and what they wrote can be read. Whoever
  // claimed a unit is at work on it, so this ends however few threads there really are.
  void wait() const {
    for (int64_t waited = 0; done_.load(std::memory_order_acquire) < count_; ++waited) wait_a_turn(waited);
  }

 private:
  struct Done {  // also where use() throws
    std::atomic<int64_t>* total;
    int64_t units;
    ~Done() { total->fetch_add(units, std::memory_order_release); }
  };

  int64_t count_, step_;
  std::atomic<int64_t> next_{0}, done_{0};
};

// [0, count) in equal shares, one for each thread, each cut into pieces that are claimed: first one's own, then those
// that others have left.
class Shares {
 public:
  Shares(int64_t count, int64_t threads) : count_(count), shares_(threads) {}

  // Calls use(begin, end) for pieces that this thread claims, until none is left; `member` is below the number of
  // threads.
  template <typename Use>
  void each(int64_t member, const Use& use) {
    const int64_t threads = static_cast<int64_t>(shares_.size()), pieces = threads * kPieces;
    for (int64_t other = 0; other < threads; ++other) {
      const int64_t owner = (member + other) % threads;
      int64_t claimed;
      while ((claimed = shares_[owner].next.fetch_add(1, std::memory_order_relaxed)) < kPieces) {
        const int64_t piece = owner * kPieces + claimed;
        const int64_t begin = count_ * piece / pieces, end = count_ * (piece + 1) / pieces;
        if (begin < end) use(begin, end);
      }
    }
  }

 private:
  static constexpr int64_t kPieces = 8;

  struct alignas(64) Share {
    std::atomic<int64_t> next{0};
  };

  int64_t count_;
  std::vector<Share> shares_;
};

}  // namespace pointkernels
