// Counts what costs time on a GPU and can be told without one: launches, memory requests of warps and the sectors and
// wavefronts that they take, atomics, barriers and collectives. Deterministic in the forward schedule.
//
// Threads run one after another here, so the lanes of a request are found afterwards: the n-th time that a thread makes
// the access at some place in the code belongs to the n-th times of its warp's other lanes there. Where lanes have gone
// different ways before, other lanes meet than on a GPU; such requests lack lanes and are counted as divergent. A place
// is one of the host compiler's code, at -O1: what it keeps in registers or reads twice, nvcc may not.
//
// Sectors are the 32-byte pieces of global memory that a request touches: 4 are the least for 32 lanes of 4 bytes. A
// shared request takes as many wavefronts as the fullest of 32 banks has different words in it; requests of 8 and 16
// bytes a lane go in two and four parts, as on the hardware. Lanes of an atomic request that meet at one address take
// turns. Clusters are not counted right: another block's shared memory counts as global. What PK_COUNT in a kernel
// counts comes to all these.
//
// Only compiled in with PK_EMULATION_COUNTERS, with -fsanitize=thread for the kernels (see access_hooks.cpp).
#pragma once

#include <cstddef>
#include <cstdint>

#include "races.h"

namespace emulation::counters {

#ifdef PK_EMULATION_COUNTERS

void start_grid(const void* kernel, const void* arguments);
void end_block();
// Whether a thread of a kernel runs, or the host, whose accesses do not count.
void in_kernel(bool is_in_it);
void count_memset();
void count_barrier();
void count_collective();
// So many steps of the algorithm, by a name that lives as long as the program.
void count_work(const char* what, uint64_t number);
void note(const void* address, size_t bytes, races::Kind kind, const void* place);

#else

inline void start_grid(const void*, const void*) {}
inline void end_block() {}
inline void in_kernel(bool) {}
inline void count_memset() {}
inline void count_barrier() {}
inline void count_collective() {}
inline void count_work(const char*, uint64_t) {}
inline void note(const void*, size_t, races::Kind, const void*) {}

#endif

}  // namespace emulation::counters
