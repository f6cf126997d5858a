#include "morton_order.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "farthest_point_sampling.h"
#include "parallel.h"

namespace pointkernels {

namespace {

constexpr int kCodeBits = 32;
constexpr int kDigitBits = 11;  // a pass over a table of 8 KiB, which stays in the first-level cache
constexpr int64_t kDigits = 1 << kDigitBits;
constexpr int kMostPasses = (kCodeBits + kDigitBits - 1) / kDigitBits;
// Up to so many rows the upper digit, or the upper two, tell enough points apart.
constexpr int64_t kOneDigitRows = 1 << 13, kTwoDigitRows = 1 << 16;
// A thread has at least so many rows, which take it ten times as long as it takes to start.
constexpr int64_t kThreadRows = 1 << 13;
constexpr int64_t kCodesAtOnce = 256;

int bits_of_a_coordinate(int64_t dims) { return dims == 1 ? 16 : kCodeBits / static_cast<int>(dims); }

// Rows or keys cut into pieces of about equal length, each of which a thread can have.
struct Pieces {
  int64_t count, number;

  int64_t begin(int64_t piece) const { return count * piece / number; }
  int64_t end(int64_t piece) const { return begin(piece + 1); }

  template <typename Work>
  void each(const Work& work) const {
    parallel_for(number, [&](int64_t first, int64_t last) {
      for (int64_t piece = first; piece < last; ++piece) work(piece);
    });
  }
};

// Where the cells begin, and how many there are in a unit of length: one number, which keeps them square.
template <typename T>
struct Cells {
  T low[kMaxMortonDims];
  T per_unit;

  Cells(const T* points, int64_t rows, int64_t dims, const std::vector<int32_t>& order, const Pieces& pieces) {
    T high[kMaxMortonDims];
    std::vector<T> bounds(pieces.number * 2 * dims);
    pieces.each([&](int64_t piece) {
      const int64_t begin = rows * piece / pieces.number, end = rows * (piece + 1) / pieces.number;
      T* const own = bounds.data() + piece * 2 * dims;
      isa_kernels<T>().sampling->bounds(points + begin * dims, end - begin, dims, own, own + dims);
    });
    std::copy_n(bounds.begin(), dims, low);
    std::copy_n(bounds.begin() + dims, dims, high);
    for (int64_t piece = 1; piece < pieces.number; ++piece) {
      const T* own = bounds.data() + piece * 2 * dims;
      for (int64_t d = 0; d < dims; ++d) {
        low[d] = std::min(low[d], own[d]);
        high[d] = std::max(high[d], own[dims + d]);
      }
    }
    T extent = widest(high, dims);
    if (!std::isfinite(extent)) {
      measure_finite(points, dims, order, high);
      extent = widest(high, dims);
    }
    const T last = static_cast<T>((int64_t{1} << bits_of_a_coordinate(dims)) - 1);
    per_unit = extent > 0 ? last / 2 / extent : T(0);
  }

 private:
  // Half of the widest range, since the whole could overflow.
  T widest(const T* high, int64_t dims) const {
    T extent = 0;
    for (int64_t d = 0; d < dims; ++d) extent = std::max(extent, high[d] / 2 - low[d] / 2);
    return extent;
  }

  void measure_finite(const T* points, int64_t dims, const std::vector<int32_t>& order, T* high) {
    std::fill_n(low, dims, std::numeric_limits<T>::max());
    std::fill_n(high, dims, std::numeric_limits<T>::lowest());
    for (const int32_t row : order) {
      for (int64_t d = 0; d < dims; ++d) {
        const T x = points[row * dims + d];
        if (!std::isfinite(x)) continue;
        low[d] = std::min(low[d], x);
        high[d] = std::max(high[d], x);
      }
    }
  }
};

// The codes of the rows order[begin, end) above the rows themselves.
template <typename T>
void make_keys(const T* points, int64_t dims, const Cells<T>& cells, const std::vector<int32_t>& order, int64_t begin,
               int64_t end, bool all_rows, int ignored_bits, uint64_t* keys) {
  T gathered[kCodesAtOnce * kMaxMortonDims];
  uint32_t codes[kCodesAtOnce];
  for (int64_t next; begin < end; begin = next) {
    next = std::min(begin + kCodesAtOnce, end);
    const T* from = points + begin * dims;
    if (!all_rows) {
      for (int64_t i = begin; i < next; ++i) std::copy_n(points + order[i] * dims, dims, gathered + (i - begin) * dims);
      from = gathered;
    }
    isa_kernels<T>().sampling->morton_codes(from, next - begin, dims, cells.low, cells.per_unit,
                                            bits_of_a_coordinate(dims), codes);
    for (int64_t i = begin; i < next; ++i) {
      keys[i] = static_cast<uint64_t>(codes[i - begin] >> ignored_bits) << 32 | static_cast<uint32_t>(order[i]);
    }
  }
}

// One pass of a radix sort: put(i, place) for every key, by the digit of its code that begins at bit `shift`.
template <typename Put>
void sort_by_digit(const uint64_t* keys, const Pieces& pieces, int shift, std::vector<uint32_t>& places,
                   const Put& put) {
  const auto digit = [&](int64_t i) { return keys[i] >> shift & (kDigits - 1); };
  pieces.each([&](int64_t piece) {
    uint32_t* own = places.data() + piece * kDigits;
    std::fill_n(own, kDigits, 0);
    for (int64_t i = pieces.begin(piece); i < pieces.end(piece); ++i) ++own[digit(i)];
  });
  uint32_t before = 0;
  for (int64_t d = 0; d < kDigits; ++d) {
    for (int64_t piece = 0; piece < pieces.number; ++piece) {
      const uint32_t here = places[piece * kDigits + d];
      places[piece * kDigits + d] = before;
      before += here;
    }
  }
  pieces.each([&](int64_t piece) {
    uint32_t* own = places.data() + piece * kDigits;
    for (int64_t i = pieces.begin(piece); i < pieces.end(piece); ++i) put(i, own[digit(i)]++);
  });
}

}  // namespace

template <typename T>
void sort_along_morton_curve(const T* points, int64_t rows, int64_t dims, std::vector<int32_t>& order,
                             int64_t threads) {
  const int64_t count = static_cast<int64_t>(order.size());
  const Pieces pieces{count, std::clamp<int64_t>(count / kThreadRows, 1, threads)};
  const Cells<T> cells(points, rows, dims, order, pieces);
  const int used_bits = bits_of_a_coordinate(dims) * static_cast<int>(dims);
  const int passes = count <= kOneDigitRows ? 1 : count <= kTwoDigitRows ? 2 : kMostPasses;
  const int ignored_bits = std::max(0, used_bits - passes * kDigitBits);
  std::unique_ptr<uint64_t[]> keys(new uint64_t[count]), sorted;
  std::vector<uint32_t> places(pieces.number * kDigits);
  pieces.each([&](int64_t piece) {
    make_keys(points, dims, cells, order, pieces.begin(piece), pieces.end(piece), count == rows, ignored_bits,
              keys.get());
  });
  if (passes > 1) sorted.reset(new uint64_t[count]);
  for (int pass = 0; pass + 1 < passes; ++pass) {
    const uint64_t* from = keys.get();
    uint64_t* to = sorted.get();
    sort_by_digit(from, pieces, 32 + pass * kDigitBits, places,
                  [&](int64_t i, uint32_t place) { to[place] = from[i]; });
    keys.swap(sorted);
  }
  const uint64_t* from = keys.get();
  int32_t* to = order.data();
  sort_by_digit(from, pieces, 32 + (passes - 1) * kDigitBits, places,
                [&](int64_t i, uint32_t place) { to[place] = static_cast<int32_t>(from[i]); });
}

template void sort_along_morton_curve<float>(const float*, int64_t, int64_t, std::vector<int32_t>&, int64_t);
template void sort_along_morton_curve<double>(const double*, int64_t, int64_t, std::vector<int32_t>&, int64_t);

}  // namespace pointkernels
