// The operators _linear and _linear_backward on CUDA (see library.cpp).
#include <tuple>

#include "binding.h"
#include "linear.h"

namespace pointkernels::cuda {

namespace {

void check_arguments(const Tensor& x, const Tensor& weight) {
  check_floating(x, "x", 2);
  check_like(weight, "weight", 2, x);
  check_device(weight, "weight", x);
  STD_TORCH_CHECK(weight.size(1) == x.size(1), "weight must have a column for each of x");
}

// left (R, D) times a weight: by its rows if it is (D, C), or transposed if it is (C, D).
template <typename T>
void multiply(const Tensor& left, const Tensor& weight, bool transposed, const Tensor& result) {
  const ProductArguments<T> arguments{left.const_data_ptr<T>(),
                                      weight.const_data_ptr<T>(),
                                      transposed ? 1 : weight.size(1),
                                      transposed ? weight.size(1) : 1,
                                      left.size(0),
                                      left.size(1),
                                      result.size(1),
                                      result.mutable_data_ptr<T>()};
  STD_CUDA_CHECK(launch_product(arguments, current_stream(left)));
}

template <typename T>
void multiply_transposed(const Tensor& left, const Tensor& right, const Tensor& result) {
  const int64_t size = transposed_product_workspace(left.size(0), left.size(1), right.size(1));
  const Tensor workspace = torch::stable::new_empty(left, {size});
  const TransposedProductArguments<T> arguments{left.const_data_ptr<T>(),
                                                right.const_data_ptr<T>(),
                                                left.size(0),
                                                left.size(1),
                                                right.size(1),
                                                size > 0 ? workspace.mutable_data_ptr<T>() : nullptr,
                                                result.mutable_data_ptr<T>()};
  STD_CUDA_CHECK(launch_transposed_product(arguments, current_stream(left)));
}

Tensor linear(const Tensor& x, const Tensor& weight) {
  const DeviceGuard guard(x.get_device_index());
  check_arguments(x, weight);
  Tensor result = torch::stable::new_empty(x, {x.size(0), weight.size(0)});
  (is_float32(x) ? multiply<float> : multiply<double>)(x, weight, true, result);
  return result;
}

std::tuple<Tensor, Tensor> linear_backward(const Tensor& grad, const Tensor& x, const Tensor& weight, bool for_x,
                                           bool for_weight) {
  const DeviceGuard guard(x.get_device_index());
  check_arguments(x, weight);
  check_like(grad, "grad", 2, x);
  check_device(grad, "grad", x);
  STD_TORCH_CHECK(grad.size(0) == x.size(0) && grad.size(1) == weight.size(0),
                  "grad must have the shape of the result");
  Tensor grad_x = for_x ? torch::stable::empty_like(x) : torch::stable::new_empty(x, {0});
  Tensor grad_weight = for_weight ? torch::stable::empty_like(weight) : torch::stable::new_empty(x, {0});
  if (for_x) (is_float32(x) ? multiply<float> : multiply<double>)(grad, weight, false, grad_x);
  if (for_weight) (is_float32(x) ? multiply_transposed<float> : multiply_transposed<double>)(grad, x, grad_weight);
  return {grad_x, grad_weight};
}

}  // namespace

}  // namespace pointkernels::cuda

STABLE_TORCH_LIBRARY_IMPL(pointkernels, CUDA, library) {
  library.impl("_linear", TORCH_BOX(&pointkernels::cuda::linear));
  library.impl("_linear_backward", TORCH_BOX(&pointkernels::cuda::linear_backward));
}
