// Inner loops of ordering points along a Morton curve, compiled once per instruction set. Plain loops: compilers turn
// them into vectors, and what they round to decides nothing but the order of points in memory.
#pragma once

#include <cstdint>

namespace {

using pointkernels::kBlock;

// A block of rows at a time, number by number, whatever coordinate it is of.
template <typename T, int64_t kDims>
void bounds_of(const T* points, int64_t count, T* low, T* high) {
  constexpr int64_t kNumbers = kBlock * kDims;
  const T infinity = static_cast<T>(__builtin_inf());
  T least[kNumbers], most[kNumbers];
  for (int64_t i = 0; i < kNumbers; ++i) {
    least[i] = infinity;
    most[i] = -infinity;
  }
  int64_t row = 0;
  for (; row + kBlock <= count; row += kBlock, points += kNumbers) {
    for (int64_t i = 0; i < kNumbers; ++i) {
      least[i] = points[i] < least[i] ? points[i] : least[i];
      most[i] = points[i] > most[i] ? points[i] : most[i];
    }
  }
  for (int64_t i = 0; i < (count - row) * kDims; ++i) {
    least[i] = points[i] < least[i] ? points[i] : least[i];
    most[i] = points[i] > most[i] ? points[i] : most[i];
  }
  for (int64_t d = 0; d < kDims; ++d) {
    low[d] = infinity;
    high[d] = -infinity;
    for (int64_t i = d; i < kNumbers; i += kDims) {
      low[d] = least[i] < low[d] ? least[i] : low[d];
      high[d] = most[i] > high[d] ? most[i] : high[d];
    }
  }
}

// Moves the bits of a cell's number kDims places apart: 32, 16, 10 or 8 of them.
template <int64_t kDims>
inline uint32_t spread_bits(uint32_t cell) {
  if constexpr (kDims == 2) {
    cell = (cell | cell << 8) & 0x00FF00FFu;
    cell = (cell | cell << 4) & 0x0F0F0F0Fu;
    cell = (cell | cell << 2) & 0x33333333u;
    cell = (cell | cell << 1) & 0x55555555u;
  } else if constexpr (kDims == 3) {
    cell = (cell | cell << 16) & 0x030000FFu;
    cell = (cell | cell << 8) & 0x0300F00Fu;
    cell = (cell | cell << 4) & 0x030C30C3u;
    cell = (cell | cell << 2) & 0x09249249u;
  } else if constexpr (kDims == 4) {
    cell = (cell | cell << 12) & 0x000F000Fu;
    cell = (cell | cell << 6) & 0x03030303u;
    cell = (cell | cell << 3) & 0x11111111u;
  }
  return cell;
}

template <typename T, int64_t kDims>
void morton_codes_of(const T* points, int64_t count, const T* low, T per_unit, int bits, uint32_t* codes) {
  const T last = static_cast<T>((int64_t{1} << bits) - 1);
  T origin[kDims];
  for (int64_t d = 0; d < kDims; ++d) origin[d] = low[d];
  for (int64_t i = 0; i < count; ++i) {
    uint32_t code = 0;
    for (int64_t d = 0; d < kDims; ++d) {
      T place = (points[i * kDims + d] - origin[d]) * per_unit;
      place = place > 0 ? place : T(0);  // nor NaN
      place = place < last ? place : last;
      code |= spread_bits<kDims>(static_cast<uint32_t>(static_cast<int32_t>(place))) << d;
    }
    codes[i] = code;
  }
}

template <typename T>
void bounds(const T* points, int64_t count, int64_t dims, T* low, T* high) {
  const auto run = dims == 1   ? bounds_of<T, 1>
                   : dims == 2 ? bounds_of<T, 2>
                   : dims == 3 ? bounds_of<T, 3>
                               : bounds_of<T, 4>;
  run(points, count, low, high);
}

template <typename T>
void morton_codes(const T* points, int64_t count, int64_t dims, const T* low, T per_unit, int bits, uint32_t* codes) {
  const auto run = dims == 1   ? morton_codes_of<T, 1>
                   : dims == 2 ? morton_codes_of<T, 2>
                   : dims == 3 ? morton_codes_of<T, 3>
                               : morton_codes_of<T, 4>;
  run(points, count, low, per_unit, bits, codes);
}

}  // namespace
