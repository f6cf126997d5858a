// Static shared memory: one place for all blocks, which run one after another. shared_memory.ld says where it lies.
//
// A limit that follows: the host code of a .cu file must not have static variables within functions, since they would
// lie there, too.
#pragma once

#include <cstddef>

#define __shared__ static

extern "C" {
extern unsigned char pk_shared_begin[] __attribute__((visibility("hidden")));
extern unsigned char pk_shared_end[] __attribute__((visibility("hidden")));
}

namespace emulation {

inline unsigned char* static_shared_begin() { return pk_shared_begin; }
inline unsigned char* static_shared_end() { return pk_shared_end; }
inline size_t static_shared_bytes() { return static_cast<size_t>(pk_shared_end - pk_shared_begin); }

// For all of a block's shared memory, also what AddressSanitizer forbids: the room between variables.
void poison_shared(unsigned char* begin, size_t bytes);
void copy_shared(unsigned char* to, const unsigned char* from, size_t bytes);

// A place for a copy of the static shared memory, where AddressSanitizer forbids the room between variables, too.
unsigned char* new_static_copy();

}  // namespace emulation
