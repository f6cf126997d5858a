#include "counters.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "block.h"
#include "code_places.h"
#include "export.h"

// The library's own image, by the linker.
extern "C" {
extern const unsigned char __ehdr_start __attribute__((visibility("hidden")));
extern const unsigned char _end __attribute__((visibility("hidden")));
}

namespace emulation::counters {

namespace {

using races::Kind;

constexpr size_t kSectorBytes = 32, kBanks = 32, kWordBytes = 4;
constexpr size_t kMostArgumentBytes = 4096;  // of a kernel

struct Counts {
  uint64_t launches = 0, blocks = 0, barriers = 0, collectives = 0, atomics = 0, global_atomics = 0, atomic_turns = 0;
  uint64_t global_requests = 0, global_sectors = 0, shared_requests = 0, shared_wavefronts = 0, divergent_requests = 0;
};

struct Lane {
  uintptr_t address;
  unsigned lane;
};

struct Request {
  std::vector<Lane> lanes;
};

// What the running block has done at one place in the code.
struct Place {
  bool is_shared;
  Kind kind;
  size_t bytes;
  std::vector<uint32_t> times;                 // by thread
  std::vector<std::vector<Request>> requests;  // by warp
};

struct Kernel {
  std::string name;
  Counts counts;
  std::map<std::string, uint64_t> work;
};

std::vector<Kernel> kernels;  // in the order of their first launches
std::map<const void*, size_t> numbers;
uint64_t memsets = 0;
size_t running = 0;  // its number
bool is_in_kernel = false;
const unsigned char* parameters = nullptr;
std::map<std::pair<const void*, bool>, Place> places;  // a place may meet shared and global memory

bool lies_in(const void* address, const void* begin, size_t bytes) {
  const uintptr_t at = reinterpret_cast<uintptr_t>(address), from = reinterpret_cast<uintptr_t>(begin);
  return at >= from && at < from + bytes;
}

size_t sectors_of(const Request& request, size_t bytes) {
  std::set<uintptr_t> sectors;
  for (const Lane& lane : request.lanes) {
    for (uintptr_t s = lane.address / kSectorBytes; s <= (lane.address + bytes - 1) / kSectorBytes; ++s) {
      sectors.insert(s);
    }
  }
  return sectors.size();
}

size_t wavefronts_of(const Request& request, size_t bytes) {
  const unsigned parts = static_cast<unsigned>(std::max<size_t>(bytes / kWordBytes, 1));
  size_t wavefronts = 0;
  for (unsigned part = 0; part < parts; ++part) {
    std::set<uintptr_t> words;
    for (const Lane& lane : request.lanes) {
      if (lane.lane * parts / kLanes != part) continue;
      for (uintptr_t w = lane.address / kWordBytes; w <= (lane.address + bytes - 1) / kWordBytes; ++w) words.insert(w);
    }
    size_t of_bank[kBanks] = {};
    for (const uintptr_t word : words) ++of_bank[word % kBanks];
    wavefronts += *std::max_element(of_bank, of_bank + kBanks);
  }
  return wavefronts;
}

// How many lanes an atomic request has on the address that most of them share: they take turns.
size_t turns_of(const Request& request) {
  std::map<uintptr_t, size_t> lanes;
  size_t most = 0;
  for (const Lane& lane : request.lanes) most = std::max(most, ++lanes[lane.address]);
  return most;
}

}  // namespace

void start_grid(const void* kernel, const void* arguments) {
  if (numbers.count(kernel) == 0) {
    numbers[kernel] = kernels.size();
    kernels.push_back({function_name(kernel), {}, {}});
  }
  running = numbers[kernel];
  ++kernels[running].counts.launches;
  parameters = static_cast<const unsigned char*>(arguments);
  places.clear();
}

void end_block() {
  Counts& counts = kernels[running].counts;
  ++counts.blocks;
  const unsigned threads = Block::current().threads();
  for (const auto& [key, place] : places) {
    for (unsigned warp = 0; warp < place.requests.size(); ++warp) {
      const size_t alive = std::min(kLanes, threads - warp * kLanes);
      for (const Request& request : place.requests[warp]) {
        counts.divergent_requests += request.lanes.size() < alive;
        if (place.kind == Kind::kAtomic) {
          ++counts.atomics;
          counts.global_atomics += !place.is_shared;
          counts.atomic_turns += turns_of(request);
        } else if (place.is_shared) {
          ++counts.shared_requests;
          counts.shared_wavefronts += wavefronts_of(request, place.bytes);
        } else {
          ++counts.global_requests;
          counts.global_sectors += sectors_of(request, place.bytes);
        }
      }
    }
  }
  places.clear();
}

void in_kernel(bool is_in_it) { is_in_kernel = is_in_it; }

void count_memset() { ++memsets; }

void count_barrier() { ++kernels[running].counts.barriers; }

void count_collective() { ++kernels[running].counts.collectives; }

void count_work(const char* what, uint64_t number) { kernels[running].work[what] += number; }

void note(const void* address, size_t bytes, Kind kind, const void* place) {
  if (!is_in_kernel) return;
  const Block& block = Block::current();
  const bool is_shared = block.holds_shared(address);
  if (!is_shared) {
    // Registers, parameters, and the variables that say where a thread is.
    if (block.holds_registers(address) || lies_in(address, parameters, kMostArgumentBytes)) return;
    if (lies_in(address, &__ehdr_start, static_cast<size_t>(&_end - &__ehdr_start))) return;
  }
  Place& found = places.try_emplace({place, is_shared}, Place{is_shared, kind, bytes, {}, {}}).first->second;
  const unsigned thread = block.running(), warp = thread / kLanes;
  if (found.times.size() <= thread) found.times.resize(thread + 1, 0);
  if (found.requests.size() <= warp) found.requests.resize(warp + 1);
  const uint32_t time = found.times[thread]++;
  std::vector<Request>& requests = found.requests[warp];
  if (requests.size() <= time) requests.resize(time + 1);
  requests[time].lanes.push_back({reinterpret_cast<uintptr_t>(address), thread % kLanes});
}

}  // namespace emulation::counters

// All counts since the last reset, as JSON: memsets, and the kernels in the order of their first launches.
PK_EXPORT const char* emulated_counters() {
  using namespace emulation::counters;
  static std::string& text = *new std::string;
  std::ostringstream out;
  out << "{\"memsets\": " << memsets << ", \"kernels\": [";
  const char* separator = "";
  for (const Kernel& kernel : kernels) {
    const Counts& c = kernel.counts;
    if (c.launches == 0) continue;
    out << separator << "{\"name\": \"" << kernel.name << "\", \"launches\": " << c.launches
        << ", \"blocks\": " << c.blocks << ", \"global_requests\": " << c.global_requests
        << ", \"global_sectors\": " << c.global_sectors << ", \"shared_requests\": " << c.shared_requests
        << ", \"shared_wavefronts\": " << c.shared_wavefronts << ", \"divergent_requests\": " << c.divergent_requests
        << ", \"atomics\": " << c.atomics << ", \"global_atomics\": " << c.global_atomics
        << ", \"atomic_turns\": " << c.atomic_turns << ", \"barriers\": " << c.barriers
        << ", \"collectives\": " << c.collectives << ", \"work\": {";
    const char* comma = "";
    for (const auto& [what, number] : kernel.work) {
      out << comma << '"' << what << "\": " << number;
      comma = ", ";
    }
    out << "}}";
    separator = ", ";
  }
  out << "]}";
  text = out.str();
  return text.c_str();
}

PK_EXPORT void emulated_reset_counters() {
  using namespace emulation::counters;
  memsets = 0;
  for (Kernel& kernel : kernels) {
    kernel.counts = {};
    kernel.work.clear();
  }
}
