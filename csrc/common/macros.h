// Marks functions that both the host compilers and nvcc compile.
#pragma once

#ifdef __CUDACC__
#define PK_HOST_DEVICE __host__ __device__
#else
#define PK_HOST_DEVICE
#endif
