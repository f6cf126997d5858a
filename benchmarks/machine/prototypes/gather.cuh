// The neighbour sums of EdgeConv: for each row and channel the largest neighbour value, its place in the list, and the
// sums of the values and of their squares, both as differences from the cloud's first row.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "../../../csrc/cuda/arch.cuh"
#include "../../../csrc/cuda/launch.cuh"
#include "arithmetic.cuh"
#include "trial.h"

namespace prototypes {

constexpr int kTileChannels = 32;  // of a block
constexpr int kQuads = kTileChannels / 4;

struct GatherTask {
  const float* values;        // (clouds * size, channels)
  const uint16_t* neighbors;  // (clouds * size, k), within the cloud
  int size, channels, k;
  int splits;      // blocks that share the rows of a cloud
  float* largest;  // (clouds * size, channels), as all results
  float* sum;
  float* squares;
  uint8_t* slot;
};

// What one lane knows of one channel.
struct Channel {
  float largest = -INFINITY, sum = 0, squares = 0;
  uint32_t slot = 0;

  __device__ void add(float value, float pivot, uint32_t e) {
    const float difference = value - pivot;
    slot = value > largest ? e : slot;
    largest = fmaxf(largest, value);
    sum += difference;
    squares = fused(difference, difference, squares);
  }
};

// Grid: (cloud, 32 channels, split), the last fastest. Eight lanes have a row, each four of its channels.
// kTile: the cloud's 32 channels are first copied to dynamic shared memory of size * 128 bytes.
template <bool kTile, int kThreads>
__global__ void __launch_bounds__(kThreads) gather_quads_kernel(GatherTask task) {
  const int thread = static_cast<int>(threadIdx.x), quad = thread % kQuads;
  const int split = static_cast<int>(blockIdx.x) % task.splits;
  const int parts = task.channels / kTileChannels;
  const int part = static_cast<int>(blockIdx.x) / task.splits % parts;
  const int64_t first = static_cast<int64_t>(static_cast<int>(blockIdx.x) / task.splits / parts) * task.size;
  const int pitch = task.channels / 4;
  const float4* const given = reinterpret_cast<const float4*>(task.values) + first * pitch + part * kQuads;
  const float4* source = given;
  int stride = pitch;
  if constexpr (kTile) {
    float4* const tile = pointkernels::cuda::dynamic_shared<float4>();
    for (int i = thread; i < task.size * kQuads; i += kThreads) tile[i] = given[i / kQuads * pitch + i % kQuads];
    __syncthreads();
    source = tile;
    stride = kQuads;
  }
  const float4 pivot = given[quad];
  const int share = (task.size + task.splits - 1) / task.splits;
  const int end = min(task.size, (split + 1) * share);
  for (int row = split * share + thread / kQuads; row < end; row += kThreads / kQuads) {
    const uint16_t* const list = task.neighbors + (first + row) * task.k;
    Channel x, y, z, w;
#pragma unroll 4
    for (int e = 0; e < task.k; ++e) {
      const float4 value = source[static_cast<int>(list[e]) * stride + quad];
      const uint32_t slot = static_cast<uint32_t>(e);
      x.add(value.x, pivot.x, slot);
      y.add(value.y, pivot.y, slot);
      z.add(value.z, pivot.z, slot);
      w.add(value.w, pivot.w, slot);
    }
    const int64_t to = (first + row) * pitch + part * kQuads + quad;
    reinterpret_cast<float4*>(task.largest)[to] = make_float4(x.largest, y.largest, z.largest, w.largest);
    reinterpret_cast<float4*>(task.sum)[to] = make_float4(x.sum, y.sum, z.sum, w.sum);
    reinterpret_cast<float4*>(task.squares)[to] = make_float4(x.squares, y.squares, z.squares, w.squares);
    reinterpret_cast<uint32_t*>(task.slot)[to] = x.slot | y.slot << 8 | z.slot << 16 | w.slot << 24;
  }
}

// Grid as above. A warp has a row, each lane one of its channels, read from global memory.
__global__ static void __launch_bounds__(256) gather_plain_kernel(GatherTask task) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int split = static_cast<int>(blockIdx.x) % task.splits;
  const int parts = task.channels / kTileChannels;
  const int channel = static_cast<int>(blockIdx.x) / task.splits % parts * kTileChannels + lane;
  const int64_t first = static_cast<int64_t>(static_cast<int>(blockIdx.x) / task.splits / parts) * task.size;
  const float* const source = task.values + first * task.channels + channel;
  const int share = (task.size + task.splits - 1) / task.splits;
  const int end = min(task.size, (split + 1) * share);
  for (int row = split * share + warp; row < end; row += 8) {
    const uint16_t* const list = task.neighbors + (first + row) * task.k;
    Channel own;
#pragma unroll 4
    for (int e = 0; e < task.k; ++e) {
      own.add(source[static_cast<int>(list[e]) * task.channels], source[0], static_cast<uint32_t>(e));
    }
    const int64_t to = (first + row) * task.channels + channel;
    task.largest[to] = own.largest;
    task.sum[to] = own.sum;
    task.squares[to] = own.squares;
    task.slot[to] = static_cast<uint8_t>(own.slot);
  }
}

// The inputs and results of a trial.
struct GatherData {
  std::vector<float> values;
  std::vector<uint16_t> neighbors;
  DeviceArray<float> given, largest, sum, squares;
  DeviceArray<uint16_t> lists;
  DeviceArray<uint8_t> slot;

  GatherData(const std::vector<float>& given_values, const std::vector<uint16_t>& given_neighbors)
      : values(given_values),
        neighbors(given_neighbors),
        given(values),
        largest(std::vector<float>(values.size())),
        sum(std::vector<float>(values.size())),
        squares(std::vector<float>(values.size())),
        lists(neighbors),
        slot(std::vector<uint8_t>(values.size())) {}

  // All kernels add in the order of the list, so their results are those of the host to the last bit.
  bool is_right(const GatherTask& task, int clouds) {
    const std::vector<float> found_largest = largest.values(), found_sum = sum.values(), found = squares.values();
    const std::vector<uint8_t> found_slot = slot.values();
    for (const int cloud : checked_clouds(clouds)) {
      const size_t first = static_cast<size_t>(cloud) * task.size;
      for (size_t row = first; row < first + task.size; ++row) {
        for (int c = 0; c < task.channels; ++c) {
          const float pivot = values[first * task.channels + c];
          float most = -INFINITY, total = 0, total_squares = 0;
          int at = 0;
          for (int e = 0; e < task.k; ++e) {
            const float value = values[(first + neighbors[row * task.k + e]) * task.channels + c];
            if (value > most) most = value, at = e;
            total += value - pivot;
            total_squares = std::fma(value - pivot, value - pivot, total_squares);
          }
          const size_t to = row * task.channels + c;
          if (found_largest[to] != most || found_slot[to] != at) return false;
          if (found_sum[to] != total || found[to] != total_squares) return false;
        }
      }
    }
    return true;
  }
};

inline Trial gather_trial(const char* name, void (*kernel)(GatherTask), bool has_tile, int threads, int splits,
                          int clouds, int size, int channels, int k) {
  Numbers numbers(9);
  const size_t rows = static_cast<size_t>(clouds) * size;
  std::vector<uint16_t> neighbors(rows * k);
  for (uint16_t& neighbor : neighbors) neighbor = static_cast<uint16_t>(numbers.below(size));
  const auto data = kept<GatherData>(numbers.many(rows * channels), neighbors);
  const GatherTask task = {
      data->given.data(),   data->lists.data(), size, channels, k, splits, data->largest.data(), data->sum.data(),
      data->squares.data(), data->slot.data()};
  Trial trial;
  trial.group = "gather " + std::to_string(clouds) + " x " + std::to_string(size) + ", " + std::to_string(channels) +
                " channels, k = " + std::to_string(k);
  trial.name = name;
  trial.dynamic_shared_bytes = has_tile ? static_cast<size_t>(size) * kTileChannels * sizeof(float) : 0;
  const size_t bytes = trial.dynamic_shared_bytes;
  const int blocks = clouds * (channels / kTileChannels) * splits;
  trial.launch = [=](cudaStream_t stream) {
    const cudaError_t error =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
    if (error != cudaSuccess) return error;
    return pointkernels::cuda::launch(kernel, blocks, dim3(static_cast<unsigned>(threads)), bytes, stream, task);
  };
  trial.is_right = [=] { return data->is_right(task, clouds); };
  return trial;
}

inline std::vector<Trial> gather_trials(int clouds, int size, int channels, int k) {
  return {
      gather_trial("tile in shared memory, 512 threads", gather_quads_kernel<true, 512>, true, 512, 2, clouds, size,
                   channels, k),
      gather_trial("tile in shared memory, 1024 threads", gather_quads_kernel<true, 1024>, true, 1024, 2, clouds, size,
                   channels, k),
      gather_trial("global memory, four channels a lane", gather_quads_kernel<false, 256>, false, 256, 16, clouds, size,
                   channels, k),
      gather_trial("global memory, a channel a lane", gather_plain_kernel, false, 256, 16, clouds, size, channels, k),
  };
}

}  // namespace prototypes
