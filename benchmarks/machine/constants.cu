// Measures what a GPU can do at best: bandwidths, arithmetic, barriers, launches. Prints one JSON object.
//
// Each number is the median of several runs between two events. Loops are long enough that the launch does not count,
// and their results are written where the compiler cannot know that nobody reads them.
#include <cooperative_groups.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "clusters.cuh"
#include "latencies.cuh"
#include "stopwatch.cuh"
#include "tensor_cores.cuh"

namespace {

namespace cg = cooperative_groups;
using machine::allocate;
using machine::check;
using machine::Stopwatch;

constexpr int kBarriers = 2000;
constexpr int kLaunches = 500;
constexpr int kArithmeticSteps = 4096;
constexpr int kChains = 8;  // independent, so that latency is hidden

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

double graph_launch_seconds(Stopwatch& watch) {
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  check(cudaStreamBeginCapture(watch.stream(), cudaStreamCaptureModeGlobal), "capture");
  for (int n = 0; n < kLaunches; ++n) empty_kernel<<<1, 32, 0, watch.stream()>>>();
  check(cudaStreamEndCapture(watch.stream(), &graph), "capture");
  check(cudaGraphInstantiate(&executable, graph, 0), "graph");
  return watch.seconds([&] { check(cudaGraphLaunch(executable, watch.stream()), "graph"); }) / kLaunches;
}

// Seconds from the end of a kernel to the beginning of the next in a graph, on all multiprocessors: what a node takes
// beyond the cycles for which it holds them. Of two graphs, so that the launch itself does not count.
double node_gap_seconds(Stopwatch& watch, int multiprocessors, double clock_rate) {
  constexpr long long kCycles = 4000;
  const auto graph_seconds = [&](int nodes) {
    cudaGraph_t graph;
    cudaGraphExec_t executable;
    check(cudaStreamBeginCapture(watch.stream(), cudaStreamCaptureModeGlobal), "capture");
    for (int n = 0; n < nodes; ++n) machine::spin_kernel<<<multiprocessors, 128, 0, watch.stream()>>>(kCycles);
    check(cudaStreamEndCapture(watch.stream(), &graph), "capture");
    check(cudaGraphInstantiate(&executable, graph, 0), "graph");
    return watch.seconds([&] { check(cudaGraphLaunch(executable, watch.stream()), "graph"); });
  };
  constexpr int kFew = 100, kMany = 500;
  return (graph_seconds(kMany) - graph_seconds(kFew)) / (kMany - kFew) - kCycles / clock_rate;
}

// Latency of a dependent step, and cycles of a multiprocessor for each of those that several warps issue.
template <typename Step>
void print_chain(Stopwatch& watch, const char* name, unsigned* result) {
  const double alone = machine::median_cycles(
      watch, [&](long long* cycles) { machine::chain_kernel<Step, 1><<<1, 32, 0, watch.stream()>>>(cycles, result); });
  std::printf(" \"%s_latency\": %.6g,", name, alone / machine::kSteps);
  for (const int warps : {4, 8, 16}) {
    const double together = machine::median_cycles(watch, [&](long long* cycles) {
      machine::chain_kernel<Step, machine::kIndependent><<<1, 32 * warps, 0, watch.stream()>>>(cycles, result);
    });
    std::printf(" \"%s_of_%d_warps\": %.6g,", name, warps,
                together / (machine::kSteps * machine::kIndependent * warps));
  }
  std::printf("\n");
}

template <int kOwn>
double list_step_cycles(Stopwatch& watch, unsigned* result) {
  prototypes::Numbers numbers(kOwn);
  std::vector<float4> list(32 * kOwn);
  for (float4& entry : list) {
    entry.x = numbers.next(), entry.y = numbers.next(), entry.z = numbers.next(), entry.w = 3;
  }
  prototypes::DeviceArray<float4> given(list);
  return machine::median_cycles(watch,
                                [&](long long* cycles) {
                                  machine::list_steps_kernel<kOwn>
                                      <<<1, 32, 0, watch.stream()>>>(given.data(), cycles, result);
                                }) /
         machine::kSteps;
}

// Steps within a multiprocessor, in its cycles.
void print_cycles(Stopwatch& watch, int major, unsigned* result) {
  print_chain<machine::WarpMaximum>(watch, "warp_maximum", result);
  print_chain<machine::Shuffle>(watch, "shuffle", result);
  const unsigned long long* const chain = machine::pointer_chain();
  const double shared = machine::median_cycles(
      watch, [&](long long* cycles) { machine::shared_chase_kernel<<<1, 32, 0, watch.stream()>>>(cycles, result); });
  const double cached = machine::median_cycles(watch, [&](long long* cycles) {
    machine::cached_chase_kernel<<<1, 1, 0, watch.stream()>>>(chain, cycles, result);
  });
  std::printf(" \"shared_latency\": %.6g, \"l2_latency\": %.6g, \"distant_shared_latency\": %.6g,\n",
              shared / machine::kSteps, cached / machine::kSteps, machine::distant_latency(watch, major, result));
  std::printf(" \"list_step_of_32\": %.6g, \"list_step_of_64\": %.6g, \"list_step_of_128\": %.6g,\n",
              list_step_cycles<1>(watch, result), list_step_cycles<2>(watch, result),
              list_step_cycles<4>(watch, result));
  for (const int threads : {128, 256, 512, 1024}) {
    const double barriers = machine::median_cycles(
        watch, [&](long long* cycles) { machine::barrier_kernel<<<1, threads, 0, watch.stream()>>>(cycles); });
    std::printf(" \"barrier_of_%d\": %.6g,", threads, barriers / machine::kSteps);
  }
  std::printf("\n");
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
  const double cluster = machine::cluster_barrier(watch, device.major, 8);
  const double large_cluster = machine::cluster_barrier(watch, device.major, 16);
  constexpr long long kSpin = 10'000'000;
  const double clock_rate = kSpin / watch.seconds([&] { machine::spin_kernel<<<1, 32, 0, watch.stream()>>>(kSpin); });
  const int gatherers = multiprocessors * 2;
  const double gather =
      watch.seconds([&] { machine::shared_gather_kernel<<<gatherers, 1024, 0, watch.stream()>>>(result); });
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
  print_cycles(watch, device.major, reinterpret_cast<unsigned*>(result));
  std::printf(" \"cluster_barrier_of_16\": %.6g, \"clock_rate\": %.6g, \"shared_gather_bandwidth\": %.6g,\n",
              large_cluster, clock_rate,
              static_cast<double>(gatherers) * 1024 * machine::kGathers * sizeof(float4) / gather);
  std::printf(" \"mma_tf32\": %.6g, \"mma_bf16\": %.6g,\n", machine::product_rate<machine::Tf32>(watch, device, result),
              machine::product_rate<machine::Bf16>(watch, device, result));
  std::printf(" \"launch\": %.6g, \"graph_launch\": %.6g, \"node_gap\": %.6g}\n", launch, graph,
              node_gap_seconds(watch, multiprocessors, clock_rate));
  return 0;
}
