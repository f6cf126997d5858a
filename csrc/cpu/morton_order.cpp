#include "morton_order.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>

namespace pointkernels {

namespace {

constexpr int kCodeBits = 32;
constexpr int kDigitBits = 11;  // a pass over a table of 8 KiB, which stays in the first-level cache
constexpr int64_t kDigits = 1 << kDigitBits;
constexpr int kMostPasses = (kCodeBits + kDigitBits - 1) / kDigitBits;
// Up to so many rows the upper digit, or the upper two, tell enough points apart.
constexpr int64_t kOneDigitRows = 1 << 13, kTwoDigitRows = 1 << 16;

// Where the eight bits of a byte go when every `dims`-th bit of a code belongs to one coordinate.
std::array<uint32_t, 256> spread_table(int64_t dims) {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    for (int bit = 0; bit < 8; ++bit) {
      const int64_t place = bit * dims;
      if (place < kCodeBits) table[byte] |= (byte >> bit & 1u) << place;
    }
  }
  return table;
}

// Finite bounds of each coordinate, and cells per unit of length.
template <typename T>
struct Cells {
  T low[kMaxMortonDims];
  T per_unit[kMaxMortonDims];
  T last;  // the largest cell number

  Cells(const T* points, int64_t dims, const std::vector<int32_t>& order) {
    const int64_t bits = dims == 1 ? 16 : kCodeBits / dims;
    last = static_cast<T>((int64_t{1} << bits) - 1);
    T extent = measure(points, dims, order, [](T) { return true; });
    if (!std::isfinite(extent)) extent = measure(points, dims, order, [](T x) { return std::isfinite(x); });
    std::fill_n(per_unit, dims, extent > 0 ? last / 2 / extent : T(0));
  }

  // Sets `low` and returns half of the widest range, since the whole could overflow.
  template <typename Counts>
  T measure(const T* points, int64_t dims, const std::vector<int32_t>& order, const Counts& counts) {
    T high[kMaxMortonDims];
    std::fill_n(low, dims, std::numeric_limits<T>::max());
    std::fill_n(high, dims, std::numeric_limits<T>::lowest());
    for (const int32_t row : order) {
      for (int64_t d = 0; d < dims; ++d) {
        const T x = points[row * dims + d];
        if (!counts(x)) continue;
        low[d] = x < low[d] ? x : low[d];
        high[d] = x > high[d] ? x : high[d];
      }
    }
    T extent = 0;  // one for all coordinates keeps cells square
    for (int64_t d = 0; d < dims; ++d) extent = std::max(extent, high[d] / 2 - low[d] / 2);
    return extent;
  }

  uint32_t cell(T x, int64_t d) const {
    const T place = (x - low[d]) * per_unit[d];
    const T not_below = place > 0 ? place : T(0);  // nor NaN
    return static_cast<uint32_t>(static_cast<int32_t>(not_below < last ? not_below : last));
  }
};

}  // namespace

template <typename T>
void sort_along_morton_curve(const T* points, int64_t dims, std::vector<int32_t>& order) {
  const int64_t count = static_cast<int64_t>(order.size());
  const Cells<T> cells(points, dims, order);
  const std::array<uint32_t, 256> spread = spread_table(dims);
  const int used_bits = dims == 1 ? 16 : kCodeBits / static_cast<int>(dims) * static_cast<int>(dims);
  const int passes = count <= kOneDigitRows ? 1 : count <= kTwoDigitRows ? 2 : kMostPasses;
  const int ignored_bits = std::max(0, used_bits - passes * kDigitBits);
  std::unique_ptr<uint64_t[]> keys(new uint64_t[count]), sorted(new uint64_t[count]);  // the code above the row
  std::vector<std::array<uint32_t, kDigits>> digits(passes);
  for (int64_t i = 0; i < count; ++i) {
    uint32_t code = 0;
    for (int64_t d = 0; d < dims; ++d) {
      const uint32_t cell = cells.cell(points[order[i] * dims + d], d);
      code |= spread[cell & 255] << d;
      if (8 * dims < kCodeBits) code |= spread[cell >> 8] << (8 * dims + d);
    }
    code >>= ignored_bits;
    keys[i] = static_cast<uint64_t>(code) << 32 | static_cast<uint32_t>(order[i]);
    for (int pass = 0; pass < passes; ++pass) ++digits[pass][code >> (pass * kDigitBits) & (kDigits - 1)];
  }
  for (int pass = 0; pass < passes; ++pass) {
    std::array<uint32_t, kDigits>& next = digits[pass];
    if (std::find(next.begin(), next.end(), count) != next.end()) continue;  // one digit for all
    uint32_t before = 0;
    for (uint32_t& entry : next) {
      const uint32_t here = entry;
      entry = before;
      before += here;
    }
    const int shift = 32 + pass * kDigitBits;
    for (int64_t i = 0; i < count; ++i) sorted[next[keys[i] >> shift & (kDigits - 1)]++] = keys[i];
    keys.swap(sorted);
  }
  for (int64_t i = 0; i < count; ++i) order[i] = static_cast<int32_t>(keys[i]);
}

template void sort_along_morton_curve<float>(const float*, int64_t, std::vector<int32_t>&);
template void sort_along_morton_curve<double>(const double*, int64_t, std::vector<int32_t>&);

}  // namespace pointkernels
