// The order of common/order.h as an order of unsigned integers.
//
// A squared distance is never negative (a sum of squares rounds to +0 or more), so its bits rank as it does; every NaN
// is mapped to the one value after infinity. A key puts the index below those bits, which ranks keys as precedes()
// ranks candidates and leaves no two of them equal.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "arch.cuh"

namespace pointkernels::cuda {

constexpr uint32_t kInfinityBits32 = 0x7f800000u;
constexpr uint64_t kInfinityBits64 = 0x7ff0000000000000u;
constexpr uint32_t kQuietNanBits32 = 0x7fc00000u;
constexpr uint64_t kQuietNanBits64 = 0x7ff8000000000000u;

__device__ inline uint32_t distance_bits(float distance) { return min(__float_as_uint(distance), kInfinityBits32 + 1); }

__device__ inline uint64_t distance_bits(double distance) {
  const uint64_t bits = static_cast<uint64_t>(__double_as_longlong(distance));
  return bits < kInfinityBits64 + 1 ? bits : kInfinityBits64 + 1;
}

// The unsigned integer that holds the bits of a T, and the value of infinity in it.
template <typename T>
struct Rank;
template <>
struct Rank<float> {
  using type = uint32_t;
  static constexpr type kInfinity = kInfinityBits32;
};
template <>
struct Rank<double> {
  using type = uint64_t;
  static constexpr type kInfinity = kInfinityBits64;
};

template <typename T>
struct Key;

template <>
struct Key<float> {
  uint64_t word;

  __device__ static Key of(float distance, uint32_t index) {
    return Key{static_cast<uint64_t>(distance_bits(distance)) << 32 | index};
  }
  // After every candidate, NaN included.
  __device__ static Key none() { return Key{~uint64_t{0}}; }
  __device__ bool is_none() const { return word == ~uint64_t{0}; }
  __device__ bool operator<(const Key& other) const { return word < other.word; }
  __device__ uint32_t index() const { return static_cast<uint32_t>(word); }
  // Of a NaN the quiet one that arithmetic gives, not the bits it ranks by.
  __device__ float distance() const {
    const uint32_t bits = static_cast<uint32_t>(word >> 32);
    return __uint_as_float(bits > kInfinityBits32 ? kQuietNanBits32 : bits);
  }
  __device__ Key from_lane(int lane) const {
    return Key{__shfl_sync(kFullWarp, static_cast<unsigned long long>(word), lane)};
  }
  __device__ Key from_lane_xor(int mask) const {
    return Key{__shfl_xor_sync(kFullWarp, static_cast<unsigned long long>(word), mask)};
  }
};

template <>
struct Key<double> {
  uint64_t bits;
  uint32_t position;

  __device__ static Key of(double distance, uint32_t index) { return Key{distance_bits(distance), index}; }
  __device__ static Key none() { return Key{~uint64_t{0}, ~uint32_t{0}}; }
  __device__ bool is_none() const { return bits == ~uint64_t{0}; }
  __device__ bool operator<(const Key& other) const {
    return bits < other.bits || (bits == other.bits && position < other.position);
  }
  __device__ uint32_t index() const { return position; }
  __device__ double distance() const {
    return __longlong_as_double(static_cast<long long>(bits > kInfinityBits64 ? kQuietNanBits64 : bits));
  }
  __device__ Key from_lane(int lane) const {
    return Key{__shfl_sync(kFullWarp, static_cast<unsigned long long>(bits), lane),
               __shfl_sync(kFullWarp, position, lane)};
  }
  __device__ Key from_lane_xor(int mask) const {
    return Key{__shfl_xor_sync(kFullWarp, static_cast<unsigned long long>(bits), mask),
               __shfl_xor_sync(kFullWarp, position, mask)};
  }
};

}  // namespace pointkernels::cuda
