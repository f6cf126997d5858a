// Kernels whose counts are known by hand. count_all() runs each on a block of two warps.
#include <cuda_runtime.h>

#include <cstdint>
#include <vector>

#include "../../../csrc/cuda/launch.cuh"

namespace {

constexpr int kThreads = 64;  // two warps

__global__ void coalesced_kernel(const float* from, float* to) { to[threadIdx.x] = from[threadIdx.x] + 1; }

__global__ void strided_kernel(const float* from, float* to) { to[threadIdx.x] = from[threadIdx.x * 32] + 1; }

__global__ void same_address_kernel(const float* from, float* to) { to[threadIdx.x] = from[blockIdx.x] + 1; }

__global__ void diverging_kernel(const float* from, float* to) {
  if (threadIdx.x % 2 == 0) to[threadIdx.x] = from[threadIdx.x] + 1;
}

__global__ void bank_conflicts_kernel(float* to) {
  __shared__ float tile[kThreads * 32];
  tile[threadIdx.x * 32] = static_cast<float>(threadIdx.x);
  __syncthreads();
  to[threadIdx.x] = tile[threadIdx.x * 32];
}

__global__ void no_conflicts_kernel(float* to) {
  __shared__ float tile[kThreads];
  tile[threadIdx.x] = static_cast<float>(threadIdx.x);
  __syncthreads();
  to[threadIdx.x] = tile[0];
}

__global__ void atomics_kernel(float* to) {
  __shared__ uint32_t counter;
  if (threadIdx.x == 0) counter = 0;
  __syncthreads();
  atomicAdd(&counter, 1u);
  __syncthreads();
  to[threadIdx.x] = static_cast<float>(counter);
}

// 16 bytes a lane: four sectors of eight lanes each, and four wavefronts.
__global__ void vectors_kernel(const float4* from, float4* to) {
  __shared__ float4 tile[kThreads];
  tile[threadIdx.x] = from[threadIdx.x];
  __syncthreads();
  to[threadIdx.x] = tile[threadIdx.x];
}

__global__ void doubles_kernel(const double* from, double* to) {
  __shared__ double tile[kThreads];
  tile[threadIdx.x] = from[threadIdx.x];
  __syncthreads();
  to[threadIdx.x] = tile[threadIdx.x];
}

// Four lanes meet at each of eight counters.
__global__ void global_atomics_kernel(unsigned* counters) { atomicAdd(&counters[threadIdx.x % 8], 1u); }

template <typename... Parameters, typename... Arguments>
int run(void (*kernel)(Parameters...), Arguments... arguments) {
  return pointkernels::cuda::launch(kernel, 1, dim3(kThreads), 0, nullptr, arguments...);
}

// Where a sector begins.
float* aligned(std::vector<float>& values) {
  return reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(values.data()) + 31) / 32 * 32);
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int count_all() {
  std::vector<float> in(kThreads * 32 + 8, 1.0f), out(kThreads + 8);
  const float* const a = aligned(in);
  float* const b = aligned(out);
  std::vector<float> results(kThreads * 4 + 8);
  float* const wide = aligned(results);
  int error = run(coalesced_kernel, a, b) | run(strided_kernel, a, b) | run(same_address_kernel, a, b);
  error |= run(diverging_kernel, a, b) | run(bank_conflicts_kernel, b) | run(no_conflicts_kernel, b);
  error |= run(atomics_kernel, b) | run(atomics_kernel, b);
  error |= run(vectors_kernel, reinterpret_cast<const float4*>(a), reinterpret_cast<float4*>(wide));
  error |= run(doubles_kernel, reinterpret_cast<const double*>(a), reinterpret_cast<double*>(wide));
  error |= run(global_atomics_kernel, reinterpret_cast<unsigned*>(b));
  return error | cudaMemsetAsync(b, 0, 4, nullptr);
}
