// One CUDA block on one CPU thread: a fiber for each of its threads.
//
// A thread runs until it waits, at a barrier or in a collective of its warp, or returns; the schedule decides who runs
// next. A kernel that is right gives the same result under every schedule. What cannot be right ends the grid with a
// message of file, line, block and thread, where a GPU would hang or go on with undefined values: a barrier that not
// all threads reach, or reach at different places; a collective whose mask does not name the caller, names a lane that
// has returned or is not there, or names lanes that never come.
//
// Stricter than CUDA: a mask may not name lanes that have returned, lanes must meet at the same line of the source, and
// no thread may have returned before a barrier.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "async_copies.h"
#include "fiber.h"
#include "threads.h"
#include "vector_types.h"

namespace emulation {

// A call of a kernel with its arguments.
struct Kernel {
  void (*call)(const void* arguments);
  const void* arguments;
};

bool operator==(const Site& a, const Site& b);

class Block {
 public:
  explicit Block(unsigned rank) : rank_(rank) {}

  // The block that is running. Only from within a kernel.
  static Block& current();

  // --- for the scheduler, cluster.cpp ---

  // Makes a block of this shape ready to run `kernel`, with poison in all shared memory. Static shared memory is in one
  // place for all blocks; a block that is not `alone` keeps a copy of its own while others run.
  void start(const uint3& index, const dim3& shape, size_t dynamic_bytes, const Kernel& kernel, bool alone);

  // Makes this the running block, or no longer.
  void enter();
  void leave();

  // Lets each thread that can run do so once, in this order; false: none can, or failure() says what went wrong.
  bool run_round(const std::vector<unsigned>& order);

  // If all threads wait at the block's barrier, sets them free and returns true.
  bool release_barrier();

  // Sets free those that wait at the cluster's barrier.
  void release_cluster_barrier();

  // Whether all threads have returned. If not, and none of them can ever run again, explain() is the message why.
  bool has_returned() const;
  std::string explain() const;

  // Whether all threads that have not returned wait for other blocks of the cluster.
  bool waits_for_others() const;

  const std::string& failure() const { return failure_; }

  // --- from within a kernel; see threads.h ---

  unsigned wait_at_barrier(const Site& site, bool predicate);
  void arrive_at_cluster_barrier(const Site& site);
  void wait_at_cluster_barrier(const Site& site);
  const uint64_t* exchange(unsigned mask, uint64_t deposit, const Site& site, bool orders_memory);
  [[noreturn]] void fail(const std::string& what, const Site& site);
  [[noreturn]] void fail(const std::string& message);  // with the place in it

  unsigned rank() const { return rank_; }
  unsigned threads() const { return count_; }
  unsigned running() const { return running_; }
  AsyncCopies& running_copies() { return threads_[running_]->copies; }
  std::string name() const;                    // "block 5", or "block (5, 0, 1)"
  std::string name_of(unsigned thread) const;  // "thread 5", or "thread (5, 0, 0)"
  unsigned char* dynamic_shared() { return dynamic_; }
  size_t dynamic_bytes() const { return dynamic_bytes_; }
  // Where the static shared memory of this block lies while other blocks run; nullptr for a block that is alone.
  unsigned char* static_copy() { return is_alone_ ? nullptr : static_copy_; }
  bool holds_shared(const void* address) const;  // of this block, while it runs
  // Of the running thread: its stack, and what the lanes of its collective have handed it. On a GPU that is registers.
  bool holds_registers(const void* address) const;

 private:
  enum class State { kReady, kAtBarrier, kAtClusterBarrier, kInCollective, kReturned };

  struct Thread {
    Fiber fiber;
    State state = State::kReady;
    Site site;
    unsigned mask = 0;
    uint64_t deposit = 0;
    uint64_t received[kLanes] = {};
    bool predicate = false;
    unsigned cluster_arrivals = 0;
    unsigned cluster_waits = 0;
    AsyncCopies copies;
  };

  static void begin_thread();
  void resume(unsigned thread);
  void complete_collective(unsigned first, unsigned mask, const Site& site, bool orders_memory);
  std::string message(const std::string& what, unsigned thread) const;
  unsigned count_in(State state) const;

  const unsigned rank_;                           // within its cluster
  std::vector<std::unique_ptr<Thread>> threads_;  // the first count_ are the block's, others wait for a larger one
  unsigned count_ = 0;
  uint3 index_{};
  dim3 shape_;
  bool is_alone_ = true;
  unsigned char* static_copy_ = nullptr;  // kept until the end of the program
  std::unique_ptr<unsigned char[]> dynamic_owner_;
  unsigned char* dynamic_ = nullptr;
  size_t dynamic_bytes_ = 0;
  const Kernel* kernel_ = nullptr;
  unsigned running_ = 0;
  unsigned votes_ = 0;  // threads whose predicate held at the last barrier
  std::string failure_;
};

}  // namespace emulation
