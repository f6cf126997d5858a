#include "shared_memory.h"

#include <cstdint>
#include <cstring>
#include <new>

#ifdef PK_EMULATION_SANITIZED
#include <sanitizer/asan_interface.h>
#endif

namespace emulation {

namespace {

// NaN as a floating number, -1 as a signed integer, far out of range as an index.
constexpr unsigned char kPoison = 0xff;
constexpr std::align_val_t kAlignment{64};  // as in shared_memory.ld

}  // namespace

#ifdef PK_EMULATION_SANITIZED

// AddressSanitizer checks memset() and memcpy() wherever they are called, but not the code of this file.
#define PK_BYTE_BY_BYTE __attribute__((optimize("no-tree-loop-distribute-patterns")))

PK_BYTE_BY_BYTE void poison_shared(unsigned char* begin, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) begin[i] = kPoison;
}

PK_BYTE_BY_BYTE void copy_shared(unsigned char* to, const unsigned char* from, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) to[i] = from[i];
}

unsigned char* new_static_copy() {
  unsigned char* const copy = static_cast<unsigned char*>(operator new[](static_shared_bytes(), kAlignment));
  const unsigned char* const original = static_shared_begin();
  for (size_t i = 0; i < static_shared_bytes();) {
    size_t end = i;
    while (end < static_shared_bytes() && __asan_address_is_poisoned(original + end)) ++end;
    if (end > i) __asan_poison_memory_region(copy + i, end - i);
    i = end + 1;
  }
  return copy;
}

#else

void poison_shared(unsigned char* begin, size_t bytes) { std::memset(begin, kPoison, bytes); }

void copy_shared(unsigned char* to, const unsigned char* from, size_t bytes) { std::memcpy(to, from, bytes); }

unsigned char* new_static_copy() {
  return static_cast<unsigned char*>(operator new[](static_shared_bytes(), kAlignment));
}

#endif

}  // namespace emulation
