// Large results and work space on huge pages.
//
// Systems hand out memory page by page at the first touch: 1.7 microseconds for 4 KiB, of huge pages 0.2 (Linux 6.18,
// in a virtual machine), and two threads that fill pages wait for each other. C libraries take large blocks from the
// system anew for each call, or give back what it has freed, and have no huge page where they lie: gathering 8 x 1,024
// x 20 rows of 64 channels took 24 ms without huge pages, and takes 7 with them.
#pragma once

#include <cstdint>

#include "../../common/tensors.h"

namespace pointkernels {

inline constexpr int64_t kHugePage = int64_t{1} << 21;

// Asks the system for huge pages wherever whole ones lie within `bytes` from `data` on, all of which is about to be
// written, so that no more memory is taken; where it refuses, nothing is lost.
void advise_huge_pages(void* data, int64_t bytes);

// Returns a result that nobody has written yet, on huge pages as far as they fit.
Tensor on_huge_pages(Tensor result);

}  // namespace pointkernels
