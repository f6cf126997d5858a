// The built-in types and variables that tell a CUDA thread where it is.
#pragma once

struct uint3 {
  unsigned x, y, z;
};

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

// One thread runs at a time, so they are plain variables that the scheduler sets before it resumes a thread.
inline uint3 threadIdx{};
inline uint3 blockIdx{};
inline dim3 blockDim;
inline dim3 gridDim;
inline constexpr int warpSize = 32;

namespace emulation {

inline constexpr unsigned kLanes = 32;

inline unsigned count_of(const dim3& shape) { return shape.x * shape.y * shape.z; }

inline uint3 place_in(const dim3& shape, unsigned number) {
  return uint3{number % shape.x, number / shape.x % shape.y, number / (shape.x * shape.y)};
}

// This thread's number within its block, which decides its warp and its lane.
inline unsigned thread_number() { return (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x; }
inline unsigned lane() { return thread_number() % kLanes; }

}  // namespace emulation
