// How threads share units of work. Knows nothing of torch, so that ThreadSanitizer can run it (tests/cpu).
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>

namespace pointkernels {

// Units of work [0, count), claimed in order by threads: one that wakes up late, shares its core or meets hard units
// gets fewer of them.
class Claims {
 public:
  Claims(int64_t count, int64_t threads) : count_(count), step_(std::clamp<int64_t>(count / (32 * threads), 1, 16)) {}

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
    constexpr int kSpins = 1000;
    for (int spin = 0; done_.load(std::memory_order_acquire) < count_; ++spin) {
      if (spin >= kSpins) std::this_thread::yield();
    }
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

}  // namespace pointkernels
