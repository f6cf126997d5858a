#include "huge_pages.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace pointkernels {

#if defined(__linux__) && defined(MADV_HUGEPAGE)

namespace {

// The C library takes what is larger from the system anew for each call (glibc; musl and others from less on).
constexpr int64_t kAlwaysNew = int64_t{32} << 20;
constexpr int64_t kSmallPage = 4096;
constexpr int kPopulateWrite = 23;  // MADV_POPULATE_WRITE of Linux 5.14, which older headers lack

int64_t rounded_down(int64_t address, int64_t page) { return address / page * page; }
int64_t rounded_up(int64_t address, int64_t page) { return rounded_down(address + page - 1, page); }

// Where the system refuses, nothing is lost.
void advise(int64_t begin, int64_t end, int advice) {
  if (begin < end) (void)madvise(reinterpret_cast<void*>(begin), end - begin, advice);
}

}  // namespace

void advise_huge_pages(void* data, int64_t bytes) {
  const int64_t begin = reinterpret_cast<int64_t>(data), end = begin + bytes;
  const int64_t first_huge = rounded_up(begin, kHugePage), last_huge = rounded_down(end, kHugePage);
  advise(first_huge, last_huge, MADV_HUGEPAGE);
  if (bytes <= kAlwaysNew) return;
  // Small pages before and behind the huge ones, in one call each: they cost a third of what they cost one by one.
  advise(rounded_up(begin, kSmallPage), first_huge, kPopulateWrite);
  advise(last_huge, rounded_down(end, kSmallPage), kPopulateWrite);
}

#else

void advise_huge_pages(void*, int64_t) {}

#endif

Tensor on_huge_pages(Tensor result) {
  advise_huge_pages(result.mutable_data_ptr(), result.numel() * result.element_size());
  return result;
}

}  // namespace pointkernels
