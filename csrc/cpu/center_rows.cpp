// Rows less their mean, on the CPU.
#include <algorithm>
#include <cmath>
#include <vector>

#include "parallel.h"

namespace pointkernels {

namespace {

// Rows are summed in pieces and the pieces in order, so that the sum does not depend on the number of threads.
constexpr int64_t kRows = 256;

template <typename T>
void center_rows_of(const Tensor& x, const bool* used, T* centered, T* mean) {
  const int64_t rows = x.size(0), channels = x.size(1), pieces = (rows + kRows - 1) / kRows;
  const T* values = x.const_data_ptr<T>();
  std::vector<T> sums(pieces * channels, T{0});
  std::vector<int64_t> counts(pieces, 0);
  parallel_for(pieces, [&](int64_t first, int64_t last) {
    for (int64_t piece = first; piece < last; ++piece) {
      T* sum = sums.data() + piece * channels;
      for (int64_t i = piece * kRows; i < std::min((piece + 1) * kRows, rows); ++i) {
        if (!used[i]) continue;
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
  parallel_for(pieces, [&](int64_t first, int64_t last) {
    for (int64_t i = first * kRows; i < std::min(last * kRows, rows); ++i) {
      for (int64_t c = 0; c < channels; ++c) {
        centered[i * channels + c] = used[i] ? values[i * channels + c] - mean[c] : T{0};
      }
    }
  });
}

std::tuple<Tensor, Tensor> center_rows(const Tensor& x, const Tensor& used) {
  check_floating(x, "x", 2);
  STD_TORCH_CHECK(
      used.scalar_type() == ScalarType::Bool && used.is_contiguous() && used.dim() == 1 && used.size(0) == x.size(0),
      "used must be a contiguous bool for each row of x");
  Tensor centered = torch::stable::empty_like(x), mean = torch::stable::new_empty(x, {x.size(1)});
  if (x.scalar_type() == ScalarType::Float) {
    center_rows_of(x, used.const_data_ptr<bool>(), centered.mutable_data_ptr<float>(), mean.mutable_data_ptr<float>());
  } else {
    center_rows_of(x, used.const_data_ptr<bool>(), centered.mutable_data_ptr<double>(),
                   mean.mutable_data_ptr<double>());
  }
  return {centered, mean};
}

}  // namespace

}  // namespace pointkernels

STABLE_TORCH_LIBRARY_IMPL(pointkernels, CPU, library) {
  library.impl("_center_rows", TORCH_BOX(&pointkernels::center_rows));
}
