// Rows less their mean, on the CPU.
#include "../memory/huge_pages.h"
#include "row_mean.h"

namespace pointkernels {

namespace {

template <typename T>
void center_rows_of(const Tensor& x, const bool* used, T* centered, T* mean) {
  const int64_t rows = x.size(0), channels = x.size(1);
  const T* values = x.const_data_ptr<T>();
  mean_of_rows(values, rows, channels, used, mean);
  constexpr int64_t kRows = 256;
  parallel_for((rows + kRows - 1) / kRows, [&](int64_t first, int64_t last) {
    for (int64_t i = first * kRows; i < std::min(last * kRows, rows); ++i) {
      T* const row = centered + i * channels;
      if (used[i]) {
        for (int64_t c = 0; c < channels; ++c) row[c] = values[i * channels + c] - mean[c];
      } else {
        std::fill_n(row, channels, T{0});
      }
    }
  });
}

std::tuple<Tensor, Tensor> center_rows(const Tensor& x, const Tensor& used) {
  check_floating(x, "x", 2);
  STD_TORCH_CHECK(
      used.scalar_type() == ScalarType::Bool && used.is_contiguous() && used.dim() == 1 && used.size(0) == x.size(0),
      "used must be a contiguous bool for each row of x");
  Tensor centered = on_huge_pages(torch::stable::empty_like(x)), mean = torch::stable::new_empty(x, {x.size(1)});
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
