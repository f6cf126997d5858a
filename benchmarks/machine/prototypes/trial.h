// One way to compute something, on an input of its own: how to launch it, and whether its result is right.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "device_array.h"

namespace prototypes {

struct Trial {
  std::string group;  // trials of the same group are alternatives to each other
  std::string name;
  std::function<cudaError_t(cudaStream_t)> launch;
  std::function<bool()> is_right;   // after a launch
  size_t dynamic_shared_bytes = 0;  // of a block; the device may not have as much
};

// The same numbers in [0, 1) on every machine; multiples of 2^-20.
class Numbers {
 public:
  explicit Numbers(uint64_t seed) : state_(seed * 2 + 1) {}

  uint32_t bits() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>(state_ >> 44);
  }
  float next() { return static_cast<float>(bits()) * 0x1p-20f; }
  int below(int bound) { return static_cast<int>(bits() % static_cast<uint32_t>(bound)); }

  std::vector<float> many(size_t count) {
    std::vector<float> numbers(count);
    for (float& number : numbers) number = next();
    return numbers;
  }

 private:
  uint64_t state_;
};

// A value that lives until the program ends, as the inputs of trials do: the programs here are short.
template <typename T, typename... Arguments>
T* kept(Arguments&&... arguments) {
  return new T(std::forward<Arguments>(arguments)...);
}

// The first and the last: the references of all would take longer than everything that is timed.
inline std::vector<int> checked_clouds(int clouds) {
  return clouds == 1 ? std::vector<int>{0} : std::vector<int>{0, clouds - 1};
}

}  // namespace prototypes
