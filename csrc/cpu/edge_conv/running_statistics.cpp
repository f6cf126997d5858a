// The operator _update_running_statistics on the CPU (see library.cpp).
#include <algorithm>

#include "../../common/tensors.h"

namespace pointkernels {

namespace {

template <typename T>
void move_towards(T* running, T batch, double momentum) {
  *running = static_cast<T>(*running + momentum * (static_cast<double>(batch) - *running));
}

void update_running_statistics(const Tensor& running_mean, const Tensor& running_var, const Tensor& mean,
                               const Tensor& moved, const Tensor& var, const Tensor& count, double momentum) {
  check_floating(mean, "mean", 1);
  const int64_t channels = mean.size(0);
  for (const Tensor* vector : {&running_mean, &running_var, &moved, &var}) {
    check_like(*vector, "a statistic", 1, mean);
    STD_TORCH_CHECK(vector->size(0) == channels, "all statistics must have as many channels");
  }
  STD_TORCH_CHECK(count.scalar_type() == ScalarType::Double && count.numel() == 1, "count must be a float64 number");
  const double edges = *count.const_data_ptr<double>();
  if (!(edges > 0)) return;
  const double unbiased = edges / std::max(edges - 1, 1.0);
  const auto run_as = [&](auto zero) {
    using T = decltype(zero);
    T *means = running_mean.mutable_data_ptr<T>(), *vars = running_var.mutable_data_ptr<T>();
    for (int64_t c = 0; c < channels; ++c) {
      const T average = mean.const_data_ptr<T>()[c] + moved.const_data_ptr<T>()[c];
      const T variance = static_cast<T>(var.const_data_ptr<T>()[c] * unbiased);
      move_towards(means + c, average, momentum);
      move_towards(vars + c, variance, momentum);
    }
  };
  mean.scalar_type() == ScalarType::Float ? run_as(0.0f) : run_as(0.0);
}

}  // namespace

}  // namespace pointkernels

STABLE_TORCH_LIBRARY_IMPL(pointkernels, CPU, library) {
  library.impl("_update_running_statistics", TORCH_BOX(&pointkernels::update_running_statistics));
}
