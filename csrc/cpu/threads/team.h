// Threads that share many short loops, one after the other, within one parallel region.
//
// One member leads: it runs the program and gives out loops; the others wait for loops by spinning. They notice one as
// soon as a cache line has come over from the leader's core, where a parallel region takes microseconds to begin and to
// end; that line holds all that they need to know of the loop. The leader needs no helper: a loop is cut into slots,
// each is taken by the first thread that comes for it, and the leader takes those that remain. So it never waits for a
// thread that was not started, or that was suspended between slots. Which thread takes which slot changes from run to
// run; results must not depend on it.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "spin_wait.h"

namespace pointkernels {

class Team {
 public:
  explicit Team(int64_t threads) : members_(threads > 1 ? threads : 1) {}

  // For each of the threads that take part, with a number of its own below threads(): the first to come leads and calls
  // lead(team), the others help until it is done.
  template <typename Lead>
  void join(int64_t member, const Lead& lead) {
    if (led_.exchange(true)) return help(member);
    const Dismissal dismissal{done_};
    leader_ = member;
    lead(*this);
  }

  int64_t threads() const { return static_cast<int64_t>(members_.size()); }

  // For the leader: calls work(begin, end), which must not throw, on pieces of [0, count). A member gets the same piece
  // of equal counts each time unless it is late, so what it works on stays in its cache.
  template <typename Work>
  void each(int64_t count, const Work& work) {
    if (threads() == 1) return work(0, count);
    static_assert(std::is_trivially_copyable_v<Work> && sizeof(Work) <= sizeof(task_.work), "capture less, by value");
    finished_.store(0, std::memory_order_relaxed);
    const uint64_t loop = task_.loop.load(std::memory_order_relaxed) + 1;
    task_.call = [](const void* context, int64_t begin, int64_t end) noexcept {
      (*static_cast<const Work*>(context))(begin, end);
    };
    task_.count = count;
    std::memcpy(task_.work, &work, sizeof(Work));
    task_.loop.store(loop, std::memory_order_release);
    const int64_t others = threads() * kSlots - take_slots(leader_, loop);
    for (int64_t waited = 0; finished_.load(std::memory_order_acquire) != others; ++waited) wait_a_turn(waited);
  }

 private:
  static constexpr int64_t kSlots = 8;  // of each member: what is left of them when it is late is shared

  struct alignas(64) Member {
    std::atomic<uint64_t> taken[kSlots] = {};  // the last loop of which somebody has taken this slot
  };

  struct alignas(64) Task {
    std::atomic<uint64_t> loop{0};  // how many have been given out; what follows is written before it
    int64_t count = 0;
    void (*call)(const void*, int64_t, int64_t) noexcept = nullptr;
    alignas(8) unsigned char work[40];
  };

  struct Dismissal {
    std::atomic<bool>& done;
    ~Dismissal() { done.store(true, std::memory_order_release); }
  };

  void help(int64_t member) {
    uint64_t last = 0;
    for (int64_t waited = 0; !done_.load(std::memory_order_acquire); ++waited) {
      const uint64_t loop = task_.loop.load(std::memory_order_acquire);
      if (loop == last) {
        wait_a_turn(waited);
        continue;
      }
      last = loop;
      waited = 0;
      const int64_t worked = take_slots(member, loop);
      if (worked > 0) finished_.fetch_add(worked, std::memory_order_release);
    }
  }

  // Its own slots first, then those that others have left. Returns how many.
  int64_t take_slots(int64_t member, uint64_t loop) {
    int64_t worked = 0;
    for (int64_t slot = 0; slot < kSlots; ++slot) worked += take(member, slot, loop);
    for (int64_t other = 1; other < threads(); ++other) {
      for (int64_t slot = kSlots - 1; slot >= 0; --slot) worked += take((member + other) % threads(), slot, loop);
    }
    return worked;
  }

  // A slot of an earlier loop cannot be taken: all of them were before the leader began the next. So whoever takes one
  // reads what the leader wrote for this very loop, which stays until the slot is finished.
  int64_t take(int64_t member, int64_t slot, uint64_t loop) {
    std::atomic<uint64_t>& taken = members_[member].taken[slot];
    uint64_t before = loop - 1;
    if (taken.load(std::memory_order_relaxed) != before) return 0;
    if (!taken.compare_exchange_strong(before, loop, std::memory_order_relaxed)) return 0;
    const int64_t slots = threads() * kSlots, number = member * kSlots + slot;
    const int64_t begin = task_.count * number / slots, end = task_.count * (number + 1) / slots;
    if (begin < end) task_.call(task_.work, begin, end);
    return 1;
  }

  std::vector<Member> members_;
  int64_t leader_ = 0;
  std::atomic<bool> led_{false}, done_{false};
  Task task_;
  alignas(64) std::atomic<int64_t> finished_{0};
};

}  // namespace pointkernels
