// Runs blocks that are on the device at the same time, and tells them of each other: those of a cluster, or one alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "block.h"
#include "vector_types.h"

namespace emulation {

enum class Schedule { kForward, kReverse, kRandom };

class Cluster {
 public:
  // The cluster that is running. Only from within a kernel.
  static Cluster& current();

  // Runs `kernel` once for each thread of each of the blocks, which are numbered by their place in `indices`, and
  // returns the message of what went wrong, empty if nothing did.
  std::string run(const std::vector<uint3>& indices, const dim3& block, size_t dynamic_bytes, const Kernel& kernel,
                  Schedule schedule, std::mt19937_64& random);

  // --- from within a kernel ---

  unsigned blocks() const { return count_; }
  Schedule schedule() const { return schedule_; }
  // A thread arrives at the cluster's barrier, which is complete when all have. Barriers are numbered from 0.
  void arrive();
  bool has_completed(unsigned barrier) const { return barrier < completed_; }
  // Where block `rank` has what the running block has at `address`.
  void* map(void* address, unsigned rank, const Site& site);

 private:
  bool run_block(unsigned rank, std::mt19937_64& random);
  void enter(unsigned rank);

  std::vector<std::unique_ptr<Block>> blocks_;  // the first count_ are the cluster's, others wait for a larger one
  unsigned count_ = 0;
  Schedule schedule_ = Schedule::kForward;
  std::vector<unsigned> thread_order_;
  unsigned threads_ = 0;  // of all blocks
  unsigned arrived_ = 0;
  unsigned completed_ = 0;
};

}  // namespace emulation
