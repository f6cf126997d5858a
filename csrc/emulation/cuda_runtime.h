// Stands in for CUDA's header of this name, so that a host compiler can build the kernels and a CPU run them; the
// include path decides which of the two a .cu file gets. Used by tests only. README.md says what is emulated.
#pragma once

#include <cstddef>
#include <cstdint>

#define PK_EMULATION 1
// The architecture whose paths are compiled, 900 for sm_90.
#ifndef __CUDA_ARCH__
#define __CUDA_ARCH__ 900
#endif

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __noinline__
#define __align__(bytes) alignas(bytes)
#define __launch_bounds__(...)

#include "arithmetic.h"
#include "atomics.h"
#include "runtime.h"
#include "shared_memory.h"
#include "threads.h"
#include "vector_types.h"
#include "warp.h"
