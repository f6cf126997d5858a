// Large results and work space on huge pages.
//
// Systems hand out memory page by page at the first touch: 1.7 microseconds for 4 KiB, of huge pages 0.2 (Linux 6.18,
// in a virtual machine), and two threads that fill pages wait for each other. C libraries take large blocks from the
// system anew for each call, or give back what it has freed, and have no huge page where they lie. For a call of some
// milliseconds that is a good part of its time.
#pragma once

#include <cstdint>

#include "../common/tensors.h"

namespace pointkernels {

inline constexpr int64_t kHugePage = int64_t{1} << 21;

// Asks the system for huge pages wherever whole ones lie within `bytes` from `data` on, so that no more memory is
// taken; where it refuses, nothing is lost.
void advise_huge_pages(void* data, int64_t bytes);

// Returns a result that nobody has written yet, elsewhere if it is large: on pages of its own, huge ones where they
// fit. Once it is freed, the next result of its size takes them over, with nothing left to fill. Its storage cannot be
// resized.
Tensor on_huge_pages(Tensor result);

// Gives the system back what is kept for results to come, and returns how many bytes that was.
int64_t release_kept_pages();

}  // namespace pointkernels
