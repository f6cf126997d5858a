// The functions that code compiled with -fsanitize=thread calls: at every access to memory, at the beginning and the
// end of every function, and once at the start. Names and meanings are those of the ThreadSanitizer runtime, which is
// not linked.
#include <cstddef>

#include "counters.h"
#include "races.h"

using emulation::races::Kind;

namespace {

// One of the two is compiled in.
inline __attribute__((always_inline)) void accessed(const void* address, size_t bytes, Kind kind, const void* place) {
  emulation::races::note(address, bytes, kind, place);
  emulation::counters::note(address, bytes, kind, place);
}

}  // namespace

#define PK_HOOK(name, bytes, kind) \
  void __tsan_##name##bytes(void* address) { accessed(address, bytes, kind, __builtin_return_address(0)); }

#define PK_HOOKS(bytes)                       \
  PK_HOOK(read, bytes, Kind::kRead)           \
  PK_HOOK(write, bytes, Kind::kWrite)         \
  PK_HOOK(unaligned_read, bytes, Kind::kRead) \
  PK_HOOK(unaligned_write, bytes, Kind::kWrite)

extern "C" {

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}

PK_HOOK(read, 1, Kind::kRead)
PK_HOOK(write, 1, Kind::kWrite)
PK_HOOKS(2)
PK_HOOKS(4)
PK_HOOKS(8)
PK_HOOKS(16)

void __tsan_read_range(void* address, size_t bytes) {
  accessed(address, bytes, Kind::kRead, __builtin_return_address(0));
}
void __tsan_write_range(void* address, size_t bytes) {
  accessed(address, bytes, Kind::kWrite, __builtin_return_address(0));
}
}
