#include "cluster.h"

#include <algorithm>
#include <numeric>

#include "counters.h"
#include "races.h"
#include "shared_memory.h"

namespace emulation {

namespace {

Cluster* running_cluster = nullptr;

std::vector<unsigned> ordered(unsigned count, Schedule schedule) {
  std::vector<unsigned> order(count);
  std::iota(order.begin(), order.end(), 0u);
  if (schedule == Schedule::kReverse) std::reverse(order.begin(), order.end());
  return order;
}

}  // namespace

Cluster& Cluster::current() { return *running_cluster; }

std::string Cluster::run(const std::vector<uint3>& indices, const dim3& shape, size_t dynamic_bytes,
                         const Kernel& kernel, Schedule schedule, std::mt19937_64& random) {
  running_cluster = this;
  schedule_ = schedule;
  count_ = static_cast<unsigned>(indices.size());
  threads_ = count_ * count_of(shape);
  arrived_ = completed_ = 0;
  thread_order_ = ordered(count_of(shape), schedule);
  while (blocks_.size() < count_) blocks_.push_back(std::make_unique<Block>(static_cast<unsigned>(blocks_.size())));
  races::start_cluster(count_, count_of(shape));
  for (unsigned rank = 0; rank < count_; ++rank) {
    Block& started = *blocks_[rank];
    started.start(indices[rank], shape, dynamic_bytes, kernel, count_ == 1);
    races::cover(rank, started.static_copy(), started.dynamic_shared(), dynamic_bytes);
  }
  std::vector<unsigned> order = ordered(count_, schedule);
  for (;;) {
    if (schedule == Schedule::kRandom) std::shuffle(order.begin(), order.end(), random);
    bool ran = false;
    for (const unsigned rank : order) {
      Block& next = *blocks_[rank];
      if (next.has_returned()) continue;
      next.enter();
      ran = run_block(rank, random) || ran;
      std::string failure = next.failure();
      if (failure.empty() && next.has_returned()) {
        counters::end_block();
        failure = races::end_block(rank);
      }
      next.leave();
      if (!failure.empty()) return failure;
    }
    if (!ran) break;
  }
  // A block that waits for others is not to blame while one waits in itself.
  for (const bool blameless : {false, true}) {
    for (const unsigned rank : order) {
      const Block& block = *blocks_[rank];
      if (!block.has_returned() && block.waits_for_others() == blameless) return block.explain();
    }
  }
  return {};
}

// Until no thread of the block can run; in the random schedule now and then only a part of that, where other blocks
// could go on in the meantime. Returns whether any ran.
bool Cluster::run_block(unsigned rank, std::mt19937_64& random) {
  Block& block = *blocks_[rank];
  bool ran = false;
  for (;;) {
    if (schedule_ == Schedule::kRandom) std::shuffle(thread_order_.begin(), thread_order_.end(), random);
    if (block.run_round(thread_order_) || (block.failure().empty() && block.release_barrier())) {
      ran = true;
      if (schedule_ == Schedule::kRandom && count_ > 1 && random() % 4 == 0) return true;
    } else {
      return ran || !block.failure().empty();
    }
  }
}

void Cluster::arrive() {
  if (++arrived_ < threads_) return;
  arrived_ = 0;
  ++completed_;
  for (unsigned rank = 0; rank < count_; ++rank) blocks_[rank]->release_cluster_barrier();
}

void* Cluster::map(void* address, unsigned rank, const Site& site) {
  Block& own = Block::current();
  if (rank >= count_) own.fail("the cluster has only " + std::to_string(count_) + " blocks", site);
  if (!own.holds_shared(address)) own.fail("the address is not one of this block's shared memory", site);
  if (rank == own.rank()) return address;
  Block& other = *blocks_[rank];
  unsigned char* const byte = static_cast<unsigned char*>(address);
  if (byte >= static_shared_begin() && byte <= static_shared_end()) {
    return other.static_copy() + (byte - static_shared_begin());
  }
  return other.dynamic_shared() + (byte - own.dynamic_shared());
}

}  // namespace emulation
