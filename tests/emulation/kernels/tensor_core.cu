// A matrix product on the tensor cores, of numbers that TF32 holds exactly.
#include "tensor_core.cuh"

#include "../planted/plant.h"

namespace {

constexpr int kRows = 16, kInner = 24, kColumns = 8;

// Grid: one warp. a (kRows, kInner) by rows, b (kInner, kColumns) by rows, product (kRows, kColumns).
__global__ void __launch_bounds__(32) multiply_kernel(const float* a, const float* b, float* product) {
  const int g = static_cast<int>(threadIdx.x) / 4;
  const int t = static_cast<int>(threadIdx.x) % 4;
  float sum[4] = {};
  for (int k = 0; k < kInner; k += 8) {
    const uint32_t left[4] = {to_tf32(a[g * kInner + k + t]), to_tf32(a[(g + 8) * kInner + k + t]),
                              to_tf32(a[g * kInner + k + t + 4]), to_tf32(a[(g + 8) * kInner + k + t + 4])};
    const uint32_t right[2] = {to_tf32(b[(k + t) * kColumns + g]), to_tf32(b[(k + t + 4) * kColumns + g])};
    multiply_add_tf32(sum, left, right);
  }
  for (int i = 0; i < 4; ++i) product[(g + i / 2 * 8) * kColumns + 2 * t + i % 2] = sum[i];
}

}  // namespace

SHOWN(tensor_core) {
  std::vector<float> a(kRows * kInner), b(kInner * kColumns), product(kRows * kColumns);
  for (int i = 0; i < kRows * kInner; ++i) a[i] = static_cast<float>(i * 7 % 23 - 11);
  for (int i = 0; i < kInner * kColumns; ++i) b[i] = static_cast<float>(i * 5 % 19 - 9);
  // Rounded away: the half above ten bits of mantissa goes up, what is below it goes down.
  a[0] = 1 + 0x1p-11f;
  a[1] = 1 + 0x1.8p-12f;
  const cudaError_t error =
      pointkernels::cuda::launch(multiply_kernel, 1, dim3(32), 0, nullptr, a.data(), b.data(), product.data());
  a[0] = 1 + 0x1p-10f;
  a[1] = 1;
  bool is_right = true;
  for (int row = 0; row < kRows; ++row) {
    for (int column = 0; column < kColumns; ++column) {
      float expected = 0;  // sums of small integers and multiples of 2^-10 are exact
      for (int k = 0; k < kInner; ++k) expected += a[row * kInner + k] * b[k * kColumns + column];
      is_right = is_right && product[row * kColumns + column] == expected;
    }
  }
  return outcome(error, is_right);
}
