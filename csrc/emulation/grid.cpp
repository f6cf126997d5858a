#include "grid.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "cluster.h"
#include "export.h"

namespace emulation {

namespace {

Schedule current_schedule = Schedule::kForward;
uint64_t current_seed = 0;
int64_t most_steps = 0;  // as on a GPU
std::string failure;
std::mutex one_grid;

// CUDA programming guide, compute capabilities.
constexpr size_t kDefaultSharedBytes = 48 << 10;
std::map<const void*, size_t> allowed_bytes;
std::set<const void*> in_large_clusters;

}  // namespace

int64_t most_steps_of_a_launch(int64_t on_gpus) { return most_steps > 0 ? most_steps : on_gpus; }

bool may_have_dynamic_shared(const void* kernel, size_t bytes) {
  const auto allowed = allowed_bytes.find(kernel);
  return bytes <= (allowed == allowed_bytes.end() ? kDefaultSharedBytes : allowed->second);
}

void allow_dynamic_shared(const void* kernel, size_t bytes) { allowed_bytes[kernel] = bytes; }

bool may_have_large_clusters(const void* kernel) { return in_large_clusters.count(kernel) > 0; }

void allow_large_clusters(const void* kernel) { in_large_clusters.insert(kernel); }

bool run_grid(const dim3& grid, const dim3& cluster, const dim3& block, size_t dynamic_bytes,
              void (*call)(const void* arguments), const void* arguments) {
  const std::lock_guard<std::mutex> lock(one_grid);
  static Cluster emulated;  // keeps its fibers from grid to grid
  std::mt19937_64 random(current_seed);
  const dim3 clusters(grid.x / cluster.x, grid.y / cluster.y, grid.z / cluster.z);
  std::vector<unsigned> order(count_of(clusters));
  std::iota(order.begin(), order.end(), 0u);
  if (current_schedule == Schedule::kReverse) std::reverse(order.begin(), order.end());
  if (current_schedule == Schedule::kRandom) std::shuffle(order.begin(), order.end(), random);
  gridDim = grid;
  blockDim = block;
  failure.clear();
  std::vector<uint3> indices(count_of(cluster));
  for (const unsigned number : order) {
    const uint3 base = place_in(clusters, number);
    for (unsigned rank = 0; rank < indices.size(); ++rank) {
      const uint3 offset = place_in(cluster, rank);
      indices[rank] = {base.x * cluster.x + offset.x, base.y * cluster.y + offset.y, base.z * cluster.z + offset.z};
    }
    failure = emulated.run(indices, block, dynamic_bytes, Kernel{call, arguments}, current_schedule, random);
    if (!failure.empty()) return false;
  }
  return true;
}

}  // namespace emulation

// How all further grids are run: in which order blocks, and within a block threads, take their turns. 0: forward, 1:
// reverse, 2: random; each grid starts anew from `seed`.
PK_EXPORT void emulated_set_schedule(int schedule, uint64_t seed) {
  emulation::current_schedule = static_cast<emulation::Schedule>(schedule);
  emulation::current_seed = seed;
}

// From how many steps on further calls are cut into several launches (csrc/cuda/launch.cuh).
PK_EXPORT void emulated_set_most_steps(int64_t steps) { emulation::most_steps = steps; }

// What was wrong with the last grid; empty if nothing.
PK_EXPORT const char* emulated_failure() { return emulation::failure.c_str(); }
