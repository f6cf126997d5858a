// The same linear map for every row of a matrix, and its gradient, on the CPU.
#include "../memory/huge_pages.h"
#include "products.h"

namespace pointkernels {

namespace {

template <typename T>
Rows<T> rows_of(const Tensor& x) {
  return {x.const_data_ptr<T>(), x.size(0), x.size(1)};
}

template <typename T>
Tensor linear_of(const Tensor& x, const Tensor& weight) {
  const int64_t outputs = weight.size(0), channels = x.size(1);
  Tensor y = on_huge_pages(torch::stable::new_empty(x, {x.size(0), outputs}));
  multiply(rows_of<T>(x), Panels<T>(weight.const_data_ptr<T>(), channels, outputs, 1, channels),
           y.mutable_data_ptr<T>(), outputs);
  return y;
}

void check_arguments(const Tensor& x, const Tensor& weight) {
  check_floating(x, "x", 2);
  check_like(weight, "weight", 2, x);
  STD_TORCH_CHECK(weight.size(1) == x.size(1), "weight must have a column for each of x");
}

Tensor linear(const Tensor& x, const Tensor& weight) {
  check_arguments(x, weight);
  return (x.scalar_type() == ScalarType::Float ? linear_of<float> : linear_of<double>)(x, weight);
}

template <typename T>
std::tuple<Tensor, Tensor> linear_backward_of(const Tensor& grad, const Tensor& x, const Tensor& weight, bool for_x,
                                              bool for_weight) {
  const int64_t outputs = weight.size(0), channels = x.size(1);
  Tensor grad_x = for_x ? on_huge_pages(torch::stable::empty_like(x)) : torch::stable::new_empty(x, {0});
  if (for_x) {
    multiply(rows_of<T>(grad), Panels<T>(weight.const_data_ptr<T>(), outputs, channels, channels, 1),
             grad_x.mutable_data_ptr<T>(), channels);
  }
  Tensor grad_weight = for_weight ? torch::stable::empty_like(weight) : torch::stable::new_empty(x, {0});
  if (for_weight) {
    TransposedProduct<T> product(outputs, channels);
    product.add(rows_of<T>(grad), rows_of<T>(x));
    product.store(grad_weight.mutable_data_ptr<T>());
  }
  return {grad_x, grad_weight};
}

std::tuple<Tensor, Tensor> linear_backward(const Tensor& grad, const Tensor& x, const Tensor& weight, bool for_x,
                                           bool for_weight) {
  check_arguments(x, weight);
  check_like(grad, "grad", 2, x);
  STD_TORCH_CHECK(grad.size(0) == x.size(0) && grad.size(1) == weight.size(0),
                  "grad must have the shape of the result");
  const auto run = x.scalar_type() == ScalarType::Float ? linear_backward_of<float> : linear_backward_of<double>;
  return run(grad, x, weight, for_x, for_weight);
}

}  // namespace

}  // namespace pointkernels

STABLE_TORCH_LIBRARY_IMPL(pointkernels, CPU, library) {
  library.impl("_linear", TORCH_BOX(&pointkernels::linear));
  library.impl("_linear_backward", TORCH_BOX(&pointkernels::linear_backward));
}
