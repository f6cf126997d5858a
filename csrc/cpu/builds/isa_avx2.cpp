// The inner loops for AVX2 with FMA (Intel Haswell, AMD Zen and later). See isa.h.
#if defined(__x86_64__)

#define POINTKERNELS_AVX2
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,popcnt"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,popcnt")
#endif

#include "isa_table.h"

namespace pointkernels {

const IsaKernels<float> kAvx2Float = isa_table<float>();
const IsaKernels<double> kAvx2Double = isa_table<double>();

}  // namespace pointkernels

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif  // __x86_64__
