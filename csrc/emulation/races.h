// Finds accesses to shared memory whose order is left to chance, in whatever order they happen to run.
//
// For each word of the blocks' shared memory it remembers who has read and written it, and where. Two accesses of
// different threads conflict unless both are reads or both atomic, or unless something orders them: __syncthreads()
// and its kin order all threads of the block, __syncwarp() the lanes that it names, the barrier of a cluster what comes
// before a thread's arrival and what comes after another's wait. The other collectives of a warp order nothing: CUDA
// promises no memory ordering for shuffles, votes, matches and reductions. Nothing else is taken for order, flags in
// shared memory neither. Also reported:
//   - a read of what no thread has written;
//   - an access to another block's shared memory before the first cluster barrier, when that block may not have begun,
//     or with no cluster barrier before that block ends.
//
// Only compiled in with PK_EMULATION_RACES, and with -fsanitize=thread for the kernels alone: the compiler then calls
// a function before every access to memory, and access_hooks.cpp provides these functions in place of ThreadSanitizer.
// Not seen: races on global memory, and what only a GPU's weaker memory order brings forth.
#pragma once

#include <cstddef>
#include <string>

namespace emulation::races {

enum class Kind : unsigned char { kRead, kWrite, kAtomic };

#ifdef PK_EMULATION_RACES

// --- for the scheduler; threads are numbered within their block

void start_cluster(unsigned blocks, unsigned block_threads);
// The shared memory of a block: where static shared memory lies while other blocks run (nullptr: there are none), and
// the dynamic one.
void cover(unsigned rank, const unsigned char* static_copy, const unsigned char* dynamic, size_t dynamic_bytes);
void enter_block(unsigned rank);
// Says what is wrong with accesses of other blocks, now that a block has ended; empty if nothing is.
std::string end_block(unsigned rank);

// Accesses up to here come before all that follow: of all threads of the running block; or of the lanes of a mask,
// which belong to the warp that begins with thread `first`.
void order_block();
void order_lanes(unsigned first, unsigned mask);
void arrive_at_cluster_barrier(unsigned thread);
void wait_at_cluster_barrier(unsigned thread);

// The running thread accesses `bytes` bytes; `place` is an address in the code right after the access. Ends the grid if
// that is a conflict. Ignores memory that is not shared.
void note(const void* address, size_t bytes, Kind kind, const void* place);

#else

inline void start_cluster(unsigned, unsigned) {}
inline void cover(unsigned, const unsigned char*, const unsigned char*, size_t) {}
inline void enter_block(unsigned) {}
inline std::string end_block(unsigned) { return {}; }
inline void order_block() {}
inline void order_lanes(unsigned, unsigned) {}
inline void arrive_at_cluster_barrier(unsigned) {}
inline void wait_at_cluster_barrier(unsigned) {}
inline void note(const void*, size_t, Kind, const void*) {}

#endif

}  // namespace emulation::races
