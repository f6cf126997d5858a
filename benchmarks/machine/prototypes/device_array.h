// An array in the device's memory, which is the host's where the device is emulated.
#pragma once

#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

namespace prototypes {

template <typename T>
class DeviceArray {
 public:
#ifdef PK_EMULATION
  explicit DeviceArray(std::vector<T> values) : memory_(std::move(values)) {}
  T* data() { return memory_.data(); }
  std::vector<T> values() const { return memory_; }

 private:
  std::vector<T> memory_;
#else
  explicit DeviceArray(const std::vector<T>& values) : count_(values.size()) {
    check(cudaMalloc(&memory_, count_ * sizeof(T)));
    check(cudaMemcpy(memory_, values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice));
  }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  ~DeviceArray() { cudaFree(memory_); }

  T* data() { return static_cast<T*>(memory_); }

  // Waits for everything that was launched.
  std::vector<T> values() const {
    check(cudaDeviceSynchronize());
    std::vector<T> copy(count_);
    check(cudaMemcpy(copy.data(), memory_, count_ * sizeof(T), cudaMemcpyDeviceToHost));
    return copy;
  }

 private:
  static void check(cudaError_t error) {
    if (error == cudaSuccess) return;
    std::fprintf(stderr, "memory: %s\n", cudaGetErrorString(error));
    std::exit(1);
  }

  size_t count_;
  void* memory_ = nullptr;
#endif
};

}  // namespace prototypes
