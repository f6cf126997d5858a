// What the measuring programs share: errors end them, and work is timed between two events.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

namespace machine {

constexpr int kRuns = 9;

inline void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

inline double median(std::vector<double> numbers) {
  std::sort(numbers.begin(), numbers.end());
  return numbers[numbers.size() / 2];
}

class Stopwatch {
 public:
  Stopwatch() {
    check(cudaStreamCreate(&stream_), "stream");
    check(cudaEventCreate(&start_), "event");
    check(cudaEventCreate(&end_), "event");
  }

  cudaStream_t stream() const { return stream_; }

  // Seconds of one run.
  double once(const std::function<void()>& work) {
    check(cudaEventRecord(start_, stream_), "record");
    work();
    check(cudaGetLastError(), "launch");
    check(cudaEventRecord(end_, stream_), "record");
    check(cudaEventSynchronize(end_), "run");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, start_, end_), "time");
    return milliseconds / 1e3;
  }

  // Median seconds of a piece of work, after one run to warm up.
  double seconds(const std::function<void()>& work) {
    std::vector<double> runs;
    for (int run = 0; run <= kRuns; ++run) {
      const double taken = once(work);
      if (run > 0) runs.push_back(taken);
    }
    return median(runs);
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

}  // namespace machine
