// The mean of rows that are used, on the CPU.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "../threads/parallel.h"

namespace pointkernels {

// Mean (channels) of the rows of values (rows, channels) that are used (all with nullptr); 0 where it is not finite.
// Rows are summed in pieces and the pieces in order, so that it does not depend on the number of threads.
template <typename T>
void mean_of_rows(const T* values, int64_t rows, int64_t channels, const bool* used, T* mean) {
  constexpr int64_t kRows = 256;
  const int64_t pieces = (rows + kRows - 1) / kRows;
  std::vector<T> sums(pieces * channels, T{0});
  std::vector<int64_t> counts(pieces, 0);
  parallel_for(pieces, [&](int64_t first, int64_t last) {
    for (int64_t piece = first; piece < last; ++piece) {
      T* sum = sums.data() + piece * channels;
      for (int64_t i = piece * kRows; i < std::min((piece + 1) * kRows, rows); ++i) {
        if (used != nullptr && !used[i]) continue;
        ++counts[piece];
        for (int64_t c = 0; c < channels; ++c) sum[c] += values[i * channels + c];
      }
    }
  });
  std::vector<double> totals(channels, 0.0);
  int64_t count = 0;
  for (int64_t piece = 0; piece < pieces; ++piece) {
    count += counts[piece];
    for (int64_t c = 0; c < channels; ++c) totals[c] += sums[piece * channels + c];
  }
  for (int64_t c = 0; c < channels; ++c) {
    const T average = static_cast<T>(totals[c] / static_cast<double>(std::max<int64_t>(count, 1)));
    mean[c] = std::isfinite(average) ? average : T{0};
  }
}

}  // namespace pointkernels
