// What intrinsics ask of the block that is running, for the thread that calls them.
#pragma once

#include <cstdint>

// The parameters by which an intrinsic learns where it was called, and what it makes of them.
#define PK_CALLER const char *file = __builtin_FILE(), int line = __builtin_LINE()
#define PK_SITE(operation) \
  emulation::Site { operation, file, line }

// For arch.cuh: ends the grid unless the condition holds.
#define PK_EMULATION_CHECK(condition) \
  ((condition) ? static_cast<void>(0) \
               : emulation::fail("a device check fails", emulation::Site{"(" #condition ")", __FILE__, __LINE__}))

namespace emulation {

// A call of an operation that threads wait in, or that failed.
struct Site {
  const char* operation = nullptr;
  const char* file = nullptr;
  int line = 0;
};

// Returns for how many threads of the block the predicate holds.
unsigned wait_at_barrier(const Site& site, bool predicate);

// Waits for all lanes of `mask` and returns what each deposited, by lane. `orders_memory`: accesses of these lanes
// before the call come before those after it, which holds for __syncwarp() and for no other collective.
const uint64_t* exchange(unsigned mask, uint64_t deposit, const Site& site, bool orders_memory = false);

// --- clusters; a block that was launched without one is a cluster of its own

unsigned block_rank();
unsigned cluster_blocks();
void arrive_at_cluster_barrier(const Site& site);
void wait_at_cluster_barrier(const Site& site);
void* map_shared(void* address, unsigned rank, const Site& site);

// --- memory

// The dynamic shared memory of the block.
void* dynamic_shared();
bool is_own_shared(const void* address);

// Ends the grid with a message of what is wrong, and where.
[[noreturn]] void fail(const char* what, const Site& site);

}  // namespace emulation

inline void __syncthreads(PK_CALLER) { emulation::wait_at_barrier(PK_SITE("__syncthreads"), false); }

inline int __syncthreads_count(int predicate, PK_CALLER) {
  return static_cast<int>(emulation::wait_at_barrier(PK_SITE("__syncthreads_count"), predicate != 0));
}

inline int __syncthreads_or(int predicate, PK_CALLER) {
  return emulation::wait_at_barrier(PK_SITE("__syncthreads_or"), predicate != 0) != 0;
}

inline int __syncthreads_and(int predicate, PK_CALLER) {
  return emulation::wait_at_barrier(PK_SITE("__syncthreads_and"), predicate == 0) == 0;
}
