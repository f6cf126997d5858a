// The inner loops for AVX-512 F, BW, DQ and VL (Intel Skylake-SP, AMD Zen 4 and later). See isa.h.
#if defined(__x86_64__)

#define POINTKERNELS_AVX512
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,popcnt"))), \
                             apply_to = function)
#else
// GCC's own AVX-512 header starts some intrinsics from a deliberately undefined register and then warns about it.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,popcnt")
#endif

#include "isa_table.h"

namespace pointkernels {

const IsaKernels<float> kAvx512Float = isa_table<float>();
const IsaKernels<double> kAvx512Double = isa_table<double>();

}  // namespace pointkernels

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif  // __x86_64__
