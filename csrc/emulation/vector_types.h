// The built-in types and variables that tell a CUDA thread where it is.
#pragma once

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

#define PK_VECTOR(type, element, bytes)                                                \
  struct alignas(bytes) type##2 { element x, y; };                                     \
  struct type##3 { element x, y, z; };                                                 \
  struct alignas(2 * bytes > 16 ? 16 : 2 * bytes) type##4 { element x, y, z, w; };     \
  inline type##2 make_##type##2(element x, element y) { return {x, y}; }               \
  inline type##3 make_##type##3(element x, element y, element z) { return {x, y, z}; } \
  inline type##4 make_##type##4(element x, element y, element z, element w) { return {x, y, z, w}; }

PK_VECTOR(int, int, 8)
PK_VECTOR(uint, unsigned, 8)
PK_VECTOR(float, float, 8)
PK_VECTOR(double, double, 16)

#undef PK_VECTOR

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
