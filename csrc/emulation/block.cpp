#include "block.h"

#include <cstring>
#include <sstream>

#include "cluster.h"
#include "counters.h"
#include "cuda_pipeline.h"
#include "races.h"
#include "shared_memory.h"

namespace emulation {

namespace {

Block* running_block = nullptr;

std::string hexadecimal(unsigned value) {
  std::ostringstream text;
  text << "0x" << std::hex << value;
  return text.str();
}

std::string numbered(const char* what, const dim3& shape, unsigned x, unsigned y, unsigned z) {
  std::ostringstream text;
  if (shape.y == 1 && shape.z == 1) {
    text << what << " " << x;
  } else {
    text << what << " (" << x << ", " << y << ", " << z << ")";
  }
  return text.str();
}

}  // namespace

bool operator==(const Site& a, const Site& b) {
  const auto same = [](const char* one, const char* other) { return one == other || std::strcmp(one, other) == 0; };
  return a.line == b.line && same(a.file, b.file) && same(a.operation, b.operation);
}

Block& Block::current() { return *running_block; }

void Block::start(const uint3& index, const dim3& shape, size_t dynamic_bytes, const Kernel& kernel, bool alone) {
  index_ = index;
  shape_ = shape;
  count_ = count_of(shape);
  kernel_ = &kernel;
  is_alone_ = alone;
  failure_.clear();
  // Exactly as long as asked for, so that AddressSanitizer sees its end; new[] aligns to 16 bytes.
  dynamic_owner_.reset(new unsigned char[dynamic_bytes]);
  dynamic_ = dynamic_owner_.get();
  dynamic_bytes_ = dynamic_bytes;
  poison_shared(dynamic_, dynamic_bytes);
  if (!alone && static_copy_ == nullptr) static_copy_ = new_static_copy();
  poison_shared(alone ? static_shared_begin() : static_copy_, static_shared_bytes());
  while (threads_.size() < count_) threads_.push_back(std::make_unique<Thread>());
  for (unsigned t = 0; t < count_; ++t) {
    Thread& thread = *threads_[t];
    thread.state = State::kReady;
    thread.site = Site{};
    thread.cluster_arrivals = thread.cluster_waits = 0;
    thread.copies.forget();
    thread.fiber.start(&Block::begin_thread);
  }
}

void Block::enter() {
  running_block = this;
  blockIdx = index_;
  if (!is_alone_) copy_shared(static_shared_begin(), static_copy_, static_shared_bytes());
  races::enter_block(rank_);
}

void Block::leave() {
  if (is_alone_) return;
  copy_shared(static_copy_, static_shared_begin(), static_shared_bytes());
  // Nobody may use the shared memory of a block that is gone.
  if (has_returned()) {
    poison_shared(static_copy_, static_shared_bytes());
    poison_shared(dynamic_, dynamic_bytes_);
  }
}

bool Block::run_round(const std::vector<unsigned>& order) {
  bool ran = false;
  for (const unsigned t : order) {
    if (threads_[t]->state != State::kReady) continue;
    resume(t);
    if (!failure_.empty()) return false;
    ran = true;
  }
  return ran;
}

void Block::begin_thread() {
  Block& block = *running_block;
  block.kernel_->call(block.kernel_->arguments);
  block.threads_[block.running_]->state = State::kReturned;
}

void Block::resume(unsigned thread) {
  running_ = thread;
  threadIdx = place_in(shape_, thread);
  counters::in_kernel(true);
  threads_[thread]->fiber.resume();
  counters::in_kernel(false);
}

bool Block::holds_shared(const void* address) const {
  const unsigned char* const byte = static_cast<const unsigned char*>(address);
  return (byte >= static_shared_begin() && byte < static_shared_end()) ||
         (byte >= dynamic_ && byte < dynamic_ + dynamic_bytes_);
}

bool Block::holds_registers(const void* address) const {
  const unsigned char* const byte = static_cast<const unsigned char*>(address);
  const auto* const received = reinterpret_cast<const unsigned char*>(threads_[running_]->received);
  return (byte >= received && byte < received + sizeof(Thread::received)) || threads_[running_]->fiber.holds(address);
}

unsigned Block::wait_at_barrier(const Site& site, bool predicate) {
  Thread& thread = *threads_[running_];
  thread.site = site;
  thread.predicate = predicate;
  thread.state = State::kAtBarrier;
  thread.fiber.suspend();
  return votes_;
}

void Block::arrive_at_cluster_barrier(const Site& site) {
  Thread& thread = *threads_[running_];
  if (thread.cluster_arrivals > thread.cluster_waits) fail("a second arrival at a cluster barrier in a row", site);
  ++thread.cluster_arrivals;
  races::arrive_at_cluster_barrier(running_);
  Cluster::current().arrive();
}

void Block::wait_at_cluster_barrier(const Site& site) {
  Thread& thread = *threads_[running_];
  if (thread.cluster_arrivals == thread.cluster_waits) fail("a wait at a cluster barrier without an arrival", site);
  if (!Cluster::current().has_completed(thread.cluster_waits)) {
    thread.site = site;
    thread.state = State::kAtClusterBarrier;
    thread.fiber.suspend();
  }
  ++thread.cluster_waits;
  races::wait_at_cluster_barrier(running_);
}

const uint64_t* Block::exchange(unsigned mask, uint64_t deposit, const Site& site, bool orders_memory) {
  Thread& thread = *threads_[running_];
  const unsigned own = running_ % kLanes;
  if ((mask >> own & 1) == 0) fail("the mask " + hexadecimal(mask) + " does not name the calling lane", site);
  thread.site = site;
  thread.mask = mask;
  thread.deposit = deposit;
  thread.state = State::kInCollective;
  complete_collective(running_ - own, mask, site, orders_memory);
  if (thread.state != State::kReady) thread.fiber.suspend();
  return thread.received;
}

// Called by each lane that arrives; only the last one finds all of them and sets them free.
void Block::complete_collective(unsigned first, unsigned mask, const Site& site, bool orders_memory) {
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    if ((mask >> lane & 1) == 0) continue;
    const auto named = [&] { return "the mask " + hexadecimal(mask) + " names lane " + std::to_string(lane); };
    if (first + lane >= count_) fail(named() + ", which is beyond the block", site);
    const Thread& other = *threads_[first + lane];
    if (other.state == State::kReturned) fail(named() + ", which has returned", site);
    // A lane in another collective may still come; if it does not, explain() tells.
    if (other.state != State::kInCollective || other.mask != mask || !(other.site == site)) return;
  }
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    if ((mask >> lane & 1) == 0) continue;
    Thread& receiver = *threads_[first + lane];
    receiver.state = State::kReady;
    for (unsigned from = 0; from < kLanes; ++from) {
      if (mask >> from & 1) receiver.received[from] = threads_[first + from]->deposit;
    }
  }
  counters::count_collective();
  if (orders_memory) races::order_lanes(first, mask);
}

unsigned Block::count_in(State state) const {
  unsigned count = 0;
  for (unsigned t = 0; t < count_; ++t) count += threads_[t]->state == state;
  return count;
}

bool Block::has_returned() const { return count_in(State::kReturned) == count_; }

bool Block::waits_for_others() const {
  return count_in(State::kAtClusterBarrier) + count_in(State::kReturned) == count_;
}

bool Block::release_barrier() {
  for (unsigned t = 0; t < count_; ++t) {
    if (threads_[t]->state != State::kAtBarrier || !(threads_[t]->site == threads_[0]->site)) return false;
  }
  votes_ = 0;
  for (unsigned t = 0; t < count_; ++t) {
    threads_[t]->state = State::kReady;
    votes_ += threads_[t]->predicate;
  }
  races::order_block();
  counters::count_barrier();
  return true;
}

void Block::release_cluster_barrier() {
  for (unsigned t = 0; t < count_; ++t) {
    if (threads_[t]->state == State::kAtClusterBarrier) threads_[t]->state = State::kReady;
  }
}

// The message names a thread that waits, since of one that does not come nobody knows where it should have come to.
std::string Block::explain() const {
  unsigned first_waiting = count_;
  unsigned last_at_barrier = count_;
  for (unsigned t = 0; t < count_; ++t) {
    const State state = threads_[t]->state;
    if (state == State::kInCollective) return message("a warp collective waits for lanes that do not come", t);
    if (state == State::kAtBarrier) last_at_barrier = t;
    if (state != State::kReturned && first_waiting == count_) first_waiting = t;
  }
  const unsigned returned = count_in(State::kReturned);
  const unsigned at_barrier = count_in(State::kAtBarrier);
  if (at_barrier == 0) {
    return message("a cluster barrier waits for threads of the cluster that do not come", first_waiting);
  }
  if (at_barrier + returned == count_ && returned > 0) {
    return message("a barrier is reached by " + std::to_string(at_barrier) + " of " + std::to_string(count_) +
                       " threads and the others have returned",
                   last_at_barrier);
  }
  for (unsigned t = first_waiting + 1; t < count_; ++t) {
    if (threads_[t]->state == State::kReturned || threads_[t]->site == threads_[first_waiting]->site) continue;
    const Site& other = threads_[first_waiting]->site;
    return message("threads wait at different barriers", t) + "; " + name_of(first_waiting) + " waits at " +
           other.file + ":" + std::to_string(other.line);
  }
  return message("a barrier waits for threads that do not come", last_at_barrier);
}

void Block::fail(const std::string& what, const Site& site) {
  threads_[running_]->site = site;
  fail(message(what, running_));
}

void Block::fail(const std::string& message) {
  failure_ = message;
  // The frames of the kernel are left as they are: run() returns at once and nobody resumes this fiber.
  threads_[running_]->fiber.suspend();
  __builtin_unreachable();
}

std::string Block::name() const { return numbered("block", gridDim, index_.x, index_.y, index_.z); }

std::string Block::name_of(unsigned thread) const {
  const uint3 place = place_in(shape_, thread);
  return numbered("thread", shape_, place.x, place.y, place.z);
}

std::string Block::message(const std::string& what, unsigned thread) const {
  const Site& site = threads_[thread]->site;
  std::ostringstream text;
  text << what << ": " << site.operation << " at " << site.file << ":" << site.line << ", " << name() << ", "
       << name_of(thread);
  return text.str();
}

unsigned wait_at_barrier(const Site& site, bool predicate) { return Block::current().wait_at_barrier(site, predicate); }

const uint64_t* exchange(unsigned mask, uint64_t deposit, const Site& site, bool orders_memory) {
  return Block::current().exchange(mask, deposit, site, orders_memory);
}

unsigned block_rank() { return Block::current().rank(); }

unsigned cluster_blocks() { return Cluster::current().blocks(); }

void arrive_at_cluster_barrier(const Site& site) { Block::current().arrive_at_cluster_barrier(site); }

void wait_at_cluster_barrier(const Site& site) { Block::current().wait_at_cluster_barrier(site); }

void* map_shared(void* address, unsigned rank, const Site& site) { return Cluster::current().map(address, rank, site); }

void* dynamic_shared() { return Block::current().dynamic_shared(); }

bool is_own_shared(const void* address) { return Block::current().holds_shared(address); }

void fail(const char* what, const Site& site) { Block::current().fail(what, site); }

AsyncCopies& async_copies() { return Block::current().running_copies(); }

bool copies_at_once() {
#ifdef PK_EMULATION_RACES
  return false;
#else
  return Cluster::current().schedule() == Schedule::kForward;
#endif
}

}  // namespace emulation
