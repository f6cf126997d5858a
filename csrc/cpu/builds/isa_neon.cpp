// The inner loops for Arm, whose 64-bit machines all have these vectors. See isa.h.
#if defined(__aarch64__)

#define POINTKERNELS_NEON

#include "isa_table.h"

namespace pointkernels {

const IsaKernels<float> kNeonFloat = isa_table<float>();
const IsaKernels<double> kNeonDouble = isa_table<double>();

}  // namespace pointkernels

#endif  // __aarch64__
