// Measures what a GPU can do at best: bandwidths, arithmetic, barriers, launches. Prints one JSON object.
//
// Each number is the median of several runs between two events. Loops are long enough that the launch does not count,
// and their results are written where the compiler cannot know that nobody reads them.
#include <cooperative_groups.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

namespace {

namespace cg = cooperative_groups;

constexpr int kRuns = 9;
constexpr int kBarriers = 2000;
constexpr int kClusterBlocks = 8;  // the largest cluster that every device with clusters grants
constexpr int kLaunches = 500;
constexpr int kArithmeticSteps = 4096;
constexpr int kChains = 8;  // independent, so that latency is hidden

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

__global__ void empty_kernel() {}

__global__ void copy_kernel(const float4* from, float4* to, int64_t count) {
  const int64_t threads = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += threads) {
    to[i] = from[i];
  }
}

// Every block reads the whole buffer, each from another place on, past the first-level cache.
__global__ void read_kernel(const float4* from, int count, float* result) {
  float4 sum = {0, 0, 0, 0};
  int place = static_cast<int>((static_cast<int64_t>(blockIdx.x) * count / gridDim.x + threadIdx.x) % count);
  for (int step = 0; step < count / static_cast<int>(blockDim.x); ++step) {
    const float4 value = __ldcg(from + place);
    sum.x += value.x, sum.y += value.y, sum.z += value.z, sum.w += value.w;
    place += static_cast<int>(blockDim.x);
    if (place >= count) place -= count;
  }
  if (sum.x + sum.y + sum.z + sum.w == -1) *result = sum.x;
}

__global__ void multiply_add_kernel(float* result, float factor) {
  float chain[kChains];
  for (int c = 0; c < kChains; ++c) chain[c] = static_cast<float>(threadIdx.x + c);
  for (int step = 0; step < kArithmeticSteps; ++step) {
#pragma unroll
    for (int c = 0; c < kChains; ++c) chain[c] = __fmaf_rn(chain[c], factor, 0.5f);
  }
  float sum = 0;
  for (int c = 0; c < kChains; ++c) sum += chain[c];
  if (sum == -1) *result = sum;
}

__global__ void block_barrier_kernel() {
#pragma unroll 16
  for (int step = 0; step < kBarriers; ++step) __syncthreads();
}

__global__ void cluster_barrier_kernel() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  for (int step = 0; step < kBarriers; ++step) cg::this_cluster().sync();
#endif
}

__global__ void grid_barrier_kernel() {
  const cg::grid_group grid = cg::this_grid();
  for (int step = 0; step < kBarriers; ++step) grid.sync();
}

// One warp finds its largest number again and again, each time from the result of the last: a step of farthest point
// sampling within a warp.
__global__ void warp_maximum_kernel(unsigned* result, unsigned start) {
  unsigned value = start + threadIdx.x;
  for (int step = 0; step < kBarriers; ++step) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    const unsigned largest = __reduce_max_sync(0xffffffffu, value);
#else
    unsigned largest = value;
    for (int lanes = 16; lanes > 0; lanes /= 2) largest = max(largest, __shfl_xor_sync(0xffffffffu, largest, lanes));
#endif
    const unsigned winners = __ballot_sync(0xffffffffu, value == largest);
    value = largest - (static_cast<unsigned>(__ffs(static_cast<int>(winners))) + threadIdx.x) % 32;
  }
  if (value == ~0u) *result = value;
}

class Stopwatch {
 public:
  Stopwatch() {
    check(cudaStreamCreate(&stream_), "stream");
    check(cudaEventCreate(&start_), "event");
    check(cudaEventCreate(&end_), "event");
  }

  cudaStream_t stream() const { return stream_; }

  // Median seconds of a piece of work, after one run to warm up.
  double seconds(const std::function<void()>& work) {
    std::vector<double> runs;
    for (int run = 0; run <= kRuns; ++run) {
      check(cudaEventRecord(start_, stream_), "record");
      work();
      check(cudaGetLastError(), "launch");
      check(cudaEventRecord(end_, stream_), "record");
      check(cudaEventSynchronize(end_), "run");
      float milliseconds = 0;
      check(cudaEventElapsedTime(&milliseconds, start_, end_), "time");
      if (run > 0) runs.push_back(milliseconds / 1e3);
    }
    std::sort(runs.begin(), runs.end());
    return runs[runs.size() / 2];
  }

 private:
  cudaStream_t stream_;
  cudaEvent_t start_, end_;
};

template <typename T>
T* allocate(size_t count) {
  void* memory = nullptr;
  check(cudaMalloc(&memory, count * sizeof(T)), "memory");
  check(cudaMemset(memory, 0x3f, count * sizeof(T)), "memory");
  return static_cast<T*>(memory);
}

double graph_launch_seconds(Stopwatch& watch) {
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  check(cudaStreamBeginCapture(watch.stream(), cudaStreamCaptureModeGlobal), "capture");
  for (int n = 0; n < kLaunches; ++n) empty_kernel<<<1, 32, 0, watch.stream()>>>();
  check(cudaStreamEndCapture(watch.stream(), &graph), "capture");
  check(cudaGraphInstantiate(&executable, graph, 0), "graph");
  return watch.seconds([&] { check(cudaGraphLaunch(executable, watch.stream()), "graph"); }) / kLaunches;
}

// 0 where the device has no clusters.
double cluster_barrier_seconds(Stopwatch& watch, int major) {
  if (major < 9) return 0;
  cudaLaunchAttribute attribute;
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim.x = kClusterBlocks;
  attribute.val.clusterDim.y = 1;
  attribute.val.clusterDim.z = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(kClusterBlocks);
  config.blockDim = dim3(512);
  config.stream = watch.stream();
  config.attrs = &attribute;
  config.numAttrs = 1;
  return watch.seconds([&] { check(cudaLaunchKernelEx(&config, cluster_barrier_kernel), "cluster"); }) / kBarriers;
}

}  // namespace

int main() {
  cudaDeviceProp device;
  check(cudaGetDeviceProperties(&device, 0), "device");
  Stopwatch watch;
  const int multiprocessors = device.multiProcessorCount;
  float* const result = allocate<float>(1);

  // Bring the clocks up before anything is measured.
  for (int n = 0; n < 50; ++n) multiply_add_kernel<<<multiprocessors * 8, 512, 0, watch.stream()>>>(result, 0.999f);
  check(cudaStreamSynchronize(watch.stream()), "warm-up");

  size_t free_bytes = 0, total_bytes = 0;
  check(cudaMemGetInfo(&free_bytes, &total_bytes), "memory");
  const int64_t copied = static_cast<int64_t>(std::min(free_bytes / 4, size_t{2} << 30) / sizeof(float4));
  float4* const from = allocate<float4>(static_cast<size_t>(copied));
  float4* const to = allocate<float4>(static_cast<size_t>(copied));
  const double kernel_copy =
      watch.seconds([&] { copy_kernel<<<multiprocessors * 16, 512, 0, watch.stream()>>>(from, to, copied); });
  const double memory_copy = watch.seconds([&] {
    check(cudaMemcpyAsync(to, from, copied * sizeof(float4), cudaMemcpyDeviceToDevice, watch.stream()), "copy");
  });
  const double copy_bytes = 2.0 * static_cast<double>(copied) * sizeof(float4);

  // A quarter of the cache, so that it surely stays there.
  const int cached = std::max(device.l2CacheSize / 4 / static_cast<int>(sizeof(float4)) / 1024 * 1024, 1024);
  const int readers = multiprocessors * 2;
  const double l2 = watch.seconds([&] { read_kernel<<<readers, 1024, 0, watch.stream()>>>(from, cached, result); });

  const int workers = multiprocessors * 8;
  const double arithmetic =
      watch.seconds([&] { multiply_add_kernel<<<workers, 256, 0, watch.stream()>>>(result, 0.999f); });
  const double block = watch.seconds([&] { block_barrier_kernel<<<1, 512, 0, watch.stream()>>>(); }) / kBarriers;
  const double cluster = cluster_barrier_seconds(watch, device.major);
  const double grid = watch.seconds([&] {
    check(cudaLaunchCooperativeKernel(reinterpret_cast<void*>(grid_barrier_kernel), dim3(multiprocessors), dim3(256),
                                      nullptr, 0, watch.stream()),
          "grid barrier");
  }) / kBarriers;
  const double warp = watch.seconds([&] {
    warp_maximum_kernel<<<1, 32, 0, watch.stream()>>>(reinterpret_cast<unsigned*>(result), 1u << 20);
  }) / kBarriers;
  const double launch = watch.seconds([&] {
    for (int n = 0; n < kLaunches; ++n) empty_kernel<<<1, 32, 0, watch.stream()>>>();
  }) / kLaunches;
  const double graph = graph_launch_seconds(watch);

  std::printf("{\"name\": \"%s\", \"multiprocessors\": %d, \"l2_bytes\": %d, \"memory_bytes\": %zu,\n", device.name,
              multiprocessors, device.l2CacheSize, total_bytes);
  std::printf(" \"copy_bandwidth\": %.6g, \"memcpy_bandwidth\": %.6g, \"l2_bandwidth\": %.6g,\n",
              copy_bytes / kernel_copy, copy_bytes / memory_copy,
              static_cast<double>(readers) * cached * sizeof(float4) / l2);
  std::printf(" \"multiply_adds\": %.6g,\n",
              static_cast<double>(workers) * 256 * kChains * kArithmeticSteps / arithmetic);
  std::printf(" \"block_barrier\": %.6g, \"cluster_barrier\": %.6g, \"grid_barrier\": %.6g, \"warp_maximum\": %.6g,\n",
              block, cluster, grid, warp);
  std::printf(" \"launch\": %.6g, \"graph_launch\": %.6g}\n", launch, graph);
  return 0;
}
