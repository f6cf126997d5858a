#include "morton_order.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "../simd/isa.h"
#include "farthest_point_sampling.h"

namespace pointkernels {

namespace {

constexpr int kCodeBits = 32;
constexpr int kDigitBits = 11;  // a pass over a table of 8 KiB, which stays in the first-level cache
constexpr int64_t kDigits = 1 << kDigitBits;
constexpr int kMostPasses = (kCodeBits + kDigitBits - 1) / kDigitBits;
// Up to so many rows the upper digit, or the upper two, tell enough points apart.
constexpr int64_t kOneDigitRows = 1 << 13, kTwoDigitRows = 1 << 17;
// A thread has at least so many rows, which take it ten times as long as it takes to start.
constexpr int64_t kThreadRows = 1 << 13;
constexpr int64_t kCodesAtOnce = 256;
constexpr int64_t kSampledKeys = 64;  // for each run

using Places = std::array<uint32_t, kDigits>;

int bits_of_a_coordinate(int64_t dims) { return dims == 1 ? 16 : kCodeBits / static_cast<int>(dims); }

// Rows or keys cut into pieces of about equal length, each of which a thread can have.
struct Pieces {
  Team& team;
  int64_t count, number;

  int64_t begin(int64_t piece) const { return count * piece / number; }
  int64_t end(int64_t piece) const { return begin(piece + 1); }

  template <typename Work>
  void each(const Work& work) const {
    team.each(number, [&work](int64_t first, int64_t last) {
      for (int64_t piece = first; piece < last; ++piece) work(piece);
    });
  }
};

// Where the cells begin, and how many there are in a unit of length: one number, which keeps them square.
template <typename T>
struct Cells {
  T low[kMaxMortonDims];
  T per_unit;

  Cells(const T* points, int64_t rows, int64_t dims, const Pieces& pieces) {
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
      measure_finite(points, rows, dims, high);
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

  void measure_finite(const T* points, int64_t rows, int64_t dims, T* high) {
    std::fill_n(low, dims, std::numeric_limits<T>::max());
    std::fill_n(high, dims, std::numeric_limits<T>::lowest());
    for (int64_t i = 0; i < rows * dims; ++i) {
      if (!std::isfinite(points[i])) continue;
      low[i % dims] = std::min(low[i % dims], points[i]);
      high[i % dims] = std::max(high[i % dims], points[i]);
    }
  }
};

uint32_t digit(uint64_t key, int number) { return key >> (32 + number * kDigitBits) & (kDigits - 1); }

// The codes of the chosen rows [begin, end) above the rows themselves.
template <typename T>
void make_keys(const T* points, int64_t dims, const Cells<T>& cells, const int32_t* chosen, int64_t begin, int64_t end,
               int ignored_bits, uint64_t* keys) {
  T gathered[kCodesAtOnce * kMaxMortonDims];
  uint32_t codes[kCodesAtOnce];
  for (int64_t next; begin < end; begin = next) {
    next = std::min(begin + kCodesAtOnce, end);
    const T* from = points + begin * dims;
    if (chosen != nullptr) {
      for (int64_t i = begin; i < next; ++i)
        std::copy_n(points + chosen[i] * dims, dims, gathered + (i - begin) * dims);
      from = gathered;
    }
    isa_kernels<T>().sampling->morton_codes(from, next - begin, dims, cells.low, cells.per_unit,
                                            bits_of_a_coordinate(dims), codes);
    for (int64_t i = begin; i < next; ++i) {
      const uint32_t row = chosen != nullptr ? chosen[i] : static_cast<uint32_t>(i);
      keys[i] = static_cast<uint64_t>(codes[i - begin] >> ignored_bits) << 32 | row;
    }
  }
}

// Deals all keys out into as many runs as there are pieces, each above the one before, for a thread to sort by itself:
// threads that put single keys side by side would pass the cache lines of their borders to and fro. The keys between
// two runs are quantiles of a sample, so runs are about equally long whatever the points are like. Returns where they
// begin, and the end.
std::vector<int64_t> deal_into_runs(const uint64_t* keys, const Pieces& pieces, uint64_t* runs) {
  const int64_t number = pieces.number;
  std::vector<uint64_t> sample(number * kSampledKeys), first(number + 1);  // first key of each run
  for (int64_t i = 0; i < number * kSampledKeys; ++i) sample[i] = keys[pieces.count * i / (number * kSampledKeys)];
  std::sort(sample.begin(), sample.end());
  for (int64_t run = 1; run < number; ++run) first[run] = sample[run * kSampledKeys];
  first[number] = std::numeric_limits<uint64_t>::max();  // no key: rows have 31 bits
  // One run after the other, without branches that depend on a key.
  std::vector<int64_t> found(number * number);  // by each piece for each run
  pieces.each([&](int64_t piece) {
    int64_t* const own = &found[piece * number];
    own[0] = pieces.end(piece) - pieces.begin(piece);
    for (int64_t run = 1; run < number; ++run) {
      const uint64_t low = first[run], width = first[run + 1] - low;
      int64_t within = 0;
      for (int64_t i = pieces.begin(piece); i < pieces.end(piece); ++i) within += keys[i] - low < width;
      own[run] = within;
      own[0] -= within;
    }
  });
  std::vector<int64_t> begin, from(number * number);
  int64_t place = 0;
  for (int64_t run = 0; run < number; ++run) {
    begin.push_back(place);
    for (int64_t piece = 0; piece < number; ++piece) {
      from[piece * number + run] = place;
      place += found[piece * number + run];
    }
  }
  begin.push_back(place);
  pieces.each([&](int64_t piece) {
    for (int64_t run = 0; run < number; ++run) {
      const uint64_t low = first[run], width = first[run + 1] - low;
      uint64_t* to = runs + from[piece * number + run];
      const uint64_t* const end = to + found[piece * number + run];
      for (const uint64_t* key = keys + pieces.begin(piece); to != end; ++key) {
        *to = *key;
        to += *key - low < width;
      }
    }
  });
  return begin;
}

// Radix sort; order receives the rows, and the keys are lost.
void sort_keys(uint64_t* keys, uint64_t* other, int64_t count, int passes, int32_t* order) {
  Places places[kMostPasses] = {};
  for (int64_t i = 0; i < count; ++i) {
    for (int pass = 0; pass < passes; ++pass) ++places[pass][digit(keys[i], pass)];
  }
  for (int pass = 0; pass < passes; ++pass) {
    Places& next = places[pass];
    std::exclusive_scan(next.begin(), next.end(), next.begin(), uint32_t{0});
    if (pass + 1 < passes) {
      for (int64_t i = 0; i < count; ++i) other[next[digit(keys[i], pass)]++] = keys[i];
      std::swap(keys, other);
    } else {
      for (int64_t i = 0; i < count; ++i) order[next[digit(keys[i], pass)]++] = static_cast<int32_t>(keys[i]);
    }
  }
}

}  // namespace

template <typename T>
void sort_along_morton_curve(const T* points, int64_t rows, int64_t dims, const int32_t* chosen, int64_t count,
                             int32_t* order, uint64_t* scratch, Team& team) {
  const Pieces pieces{team, count, std::clamp<int64_t>(count / kThreadRows, 1, team.threads())};
  const Cells<T> cells(points, rows, dims, pieces);
  const int used_bits = bits_of_a_coordinate(dims) * static_cast<int>(dims);
  const int passes = count <= kOneDigitRows ? 1 : count <= kTwoDigitRows ? 2 : kMostPasses;
  const int ignored_bits = std::max(0, used_bits - passes * kDigitBits);
  uint64_t *keys = scratch, *other = scratch + count;
  pieces.each([&](int64_t piece) {
    make_keys(points, dims, cells, chosen, pieces.begin(piece), pieces.end(piece), ignored_bits, keys);
  });
  std::vector<int64_t> runs{0, count};
  if (pieces.number > 1) {
    runs = deal_into_runs(keys, pieces, other);
    std::swap(keys, other);
  }
  pieces.each([&](int64_t run) {
    sort_keys(keys + runs[run], other + runs[run], runs[run + 1] - runs[run], passes, order + runs[run]);
  });
}

template void sort_along_morton_curve<float>(const float*, int64_t, int64_t, const int32_t*, int64_t, int32_t*,
                                             uint64_t*, Team&);
template void sort_along_morton_curve<double>(const double*, int64_t, int64_t, const int32_t*, int64_t, int32_t*,
                                              uint64_t*, Team&);

}  // namespace pointkernels
