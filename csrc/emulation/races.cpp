#include "races.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "block.h"
#include "cluster.h"
#include "code_places.h"
#include "shared_memory.h"
#include "vector_types.h"

namespace emulation::races {

namespace {

constexpr uintptr_t kWordBytes = 4;

struct Access {
  const void* place;
  uint32_t clock;       // of the thread, see Order
  uint32_t interval;    // of its block
  uint32_t arrivals;    // of the thread
  uint16_t thread;      // counted over the cluster
  unsigned char bytes;  // which of the word's, as a mask
  Kind kind;
};

struct Word {
  uint64_t cluster = 0;  // that the rest belongs to
  unsigned char written = 0;
  std::vector<Access> accesses;
};

struct Region {
  uintptr_t begin = 0;
  uintptr_t end = 0;
  std::vector<Word> words;

  void cover(const void* first, size_t bytes) {
    begin = reinterpret_cast<uintptr_t>(first);
    end = begin + bytes;
    const size_t count = (bytes + kWordBytes - 1) / kWordBytes;
    if (words.size() < count) words.resize(count);
  }
  bool holds(uintptr_t address) const { return address >= begin && address < end; }
};

struct Memory {
  Region statics, dynamic;
};

// What orders one thread's accesses. It knows of the lanes of its warp: everything that lane l did at or before time
// clocks[l] comes before what the thread does now (vector clocks; Flanagan, Freund: FastTrack, 2009). Its own entry is
// its clock. Of the others it knows by barriers: the block's, counted by `intervals`, and the cluster's.
struct Order {
  uint32_t clocks[kLanes];
  uint32_t arrivals;
  uint32_t waits;
};

std::vector<Memory> memories;     // by rank
std::vector<Order> orders;        // by thread
std::vector<uint32_t> intervals;  // by rank: barriers so far
std::vector<bool> ended;          // by rank
unsigned block_threads = 0;
unsigned running_rank = 0;
uint64_t cluster_number = 0;

unsigned rank_of(unsigned thread) { return thread / block_threads; }
unsigned lane_of(unsigned thread) { return thread % block_threads % kLanes; }
unsigned warp_of(unsigned thread) { return thread % block_threads / kLanes; }
uint32_t& clock_of(unsigned thread) { return orders[thread].clocks[lane_of(thread)]; }

bool comes_before_now(const Access& access, unsigned thread) {
  if (access.thread == thread || access.arrivals < orders[thread].waits) return true;
  const unsigned rank = rank_of(thread);
  if (rank_of(access.thread) != rank) return false;
  if (access.interval < intervals[rank]) return true;
  return warp_of(access.thread) == warp_of(thread) && orders[thread].clocks[lane_of(access.thread)] >= access.clock;
}

const char* name_of(Kind kind) {
  return kind == Kind::kRead ? "read" : kind == Kind::kWrite ? "write" : "atomic operation";
}

std::string described(const Access& access) {
  const Block& current = Block::current();
  std::string text = std::string(name_of(access.kind)) + " at " + file_and_line(access.place) + " by " +
                     current.name_of(access.thread % block_threads);
  if (memories.size() > 1) text += " of the cluster's block " + std::to_string(rank_of(access.thread));
  return text;
}

[[noreturn]] void report(const std::string& what) { Block::current().fail(what + ", " + Block::current().name()); }

void note_word(Word& word, const Access& access) {
  bool must_look_for_covered = false;
  for (const Access& earlier : word.accesses) {
    const bool may_conflict =
        (earlier.bytes & access.bytes) != 0 &&
        (earlier.kind == Kind::kWrite || access.kind == Kind::kWrite || earlier.kind != access.kind);
    const bool comes_before = comes_before_now(earlier, access.thread);
    if (may_conflict && !comes_before) {
      report("a race on shared memory: " + described(access) + " and " + described(earlier) +
             ", with no barrier between them");
    }
    must_look_for_covered = must_look_for_covered || comes_before;
  }
  // What conflicts with this access and comes after it also comes after those that come before this one, so that those
  // need no test of their own any more where this one conflicts with all that they conflict with.
  const auto is_covered = [&](const Access& earlier) {
    return (earlier.bytes & ~access.bytes) == 0 && (access.kind == Kind::kWrite || access.kind == earlier.kind) &&
           comes_before_now(earlier, access.thread);
  };
  if (must_look_for_covered) {
    word.accesses.erase(std::remove_if(word.accesses.begin(), word.accesses.end(), is_covered), word.accesses.end());
  }
  word.accesses.push_back(access);
}

// The word at an address and the block that it belongs to; no word outside shared memory.
struct Location {
  Region* region = nullptr;
  uintptr_t offset = 0;
  unsigned rank = 0;
};

Location locate(uintptr_t address) {
  if (memories.empty()) return {};  // the host's part of a source, before its first launch
  const uintptr_t statics = reinterpret_cast<uintptr_t>(static_shared_begin());
  Memory& own = memories[running_rank];
  if (address >= statics && address < statics + static_shared_bytes()) {
    return {&own.statics, address - statics, running_rank};
  }
  if (own.dynamic.holds(address)) return {&own.dynamic, address - own.dynamic.begin, running_rank};
  if (memories.size() == 1) return {};
  for (unsigned rank = 0; rank < memories.size(); ++rank) {
    for (Region* const region : {&memories[rank].statics, &memories[rank].dynamic}) {
      if (region->holds(address)) return {region, address - region->begin, rank};
    }
  }
  return {};
}

}  // namespace

void start_cluster(unsigned blocks, unsigned threads) {
  ++cluster_number;
  block_threads = threads;
  running_rank = 0;
  memories.resize(blocks);
  intervals.assign(blocks, 0);
  ended.assign(blocks, false);
  orders.assign(static_cast<size_t>(blocks) * threads, Order{});
  for (unsigned t = 0; t < blocks * threads; ++t) clock_of(t) = 1;
}

void cover(unsigned rank, const unsigned char* static_copy, const unsigned char* dynamic, size_t dynamic_bytes) {
  memories[rank].statics.cover(static_copy != nullptr ? static_copy : static_shared_begin(), static_shared_bytes());
  memories[rank].dynamic.cover(dynamic, dynamic_bytes);
}

void enter_block(unsigned rank) { running_rank = rank; }

std::string end_block(unsigned rank) {
  ended[rank] = true;
  if (memories.size() == 1) return {};
  uint32_t waits = 0;
  for (unsigned t = rank * block_threads; t < (rank + 1) * block_threads; ++t) waits = std::max(waits, orders[t].waits);
  for (const Region* const region : {&memories[rank].statics, &memories[rank].dynamic}) {
    for (const Word& word : region->words) {
      if (word.cluster != cluster_number) continue;
      for (const Access& access : word.accesses) {
        if (rank_of(access.thread) == rank || access.arrivals < waits) continue;
        return "a block ends with no cluster barrier after an access to its shared memory: " + described(access) +
               ", " + Block::current().name();
      }
    }
  }
  return {};
}

void order_block() { ++intervals[running_rank]; }

void order_lanes(unsigned first, unsigned mask) {
  Order* const lanes = &orders[running_rank * block_threads + first];
  uint32_t joined[kLanes] = {};
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    if ((mask >> lane & 1) == 0) continue;
    for (unsigned l = 0; l < kLanes; ++l) joined[l] = std::max(joined[l], lanes[lane].clocks[l]);
  }
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    if ((mask >> lane & 1) == 0) continue;
    std::copy(joined, joined + kLanes, lanes[lane].clocks);
    ++lanes[lane].clocks[lane];
  }
}

void arrive_at_cluster_barrier(unsigned thread) { ++orders[running_rank * block_threads + thread].arrivals; }

void wait_at_cluster_barrier(unsigned thread) { ++orders[running_rank * block_threads + thread].waits; }

void note(const void* address, size_t bytes, Kind kind, const void* place) {
  const Location location = locate(reinterpret_cast<uintptr_t>(address));
  if (location.region == nullptr) return;
  Region& region = *location.region;
  const unsigned thread = running_rank * block_threads + Block::current().running();
  Access access{
      place, clock_of(thread), intervals[running_rank], orders[thread].arrivals, static_cast<uint16_t>(thread), 0,
      kind};
  if (location.rank != running_rank) {
    const std::string whose = " the shared memory of another block: ";
    if (orders[thread].waits == 0) report("before any cluster barrier, an access to" + whose + described(access));
    if (ended[location.rank]) report("after that block has ended, an access to" + whose + described(access));
  }
  const uintptr_t end = std::min<uintptr_t>(location.offset + bytes, region.end - region.begin);
  bool has_value = kind == Kind::kWrite;
  for (uintptr_t at = location.offset; at < end;) {
    const uintptr_t first = at % kWordBytes;
    const uintptr_t last = std::min(kWordBytes, first + (end - at));
    access.bytes = static_cast<unsigned char>(((1u << last) - 1) & ~((1u << first) - 1));
    Word& word = region.words[at / kWordBytes];
    if (word.cluster != cluster_number) {
      word.cluster = cluster_number;
      word.written = 0;
      word.accesses.clear();
    }
    has_value = has_value || (word.written & access.bytes) != 0;
    if (kind != Kind::kRead) word.written |= access.bytes;
    note_word(word, access);
    at += last - first;
  }
  // Copies of structures read the padding in them, so only an access without any written byte is reported.
  if (!has_value) report("a read of shared memory that no thread has written: " + described(access));
}

}  // namespace emulation::races
