// Where EdgeConv has its node products [u | v] from, and how it shares out the windows of a batch.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>

#include "parallel.h"
#include "products.h"

namespace pointkernels {

// Either given, or x weight^T, multiplied window by window.
template <typename T>
class EdgeConvNodes {
 public:
  explicit EdgeConvNodes(const Tensor& nodes) : nodes_(nodes.const_data_ptr<T>()), columns_(nodes.size(1)) {}
  EdgeConvNodes(const Tensor& x, const Tensor& weight)
      : columns_(weight.size(0)),
        x_{x.const_data_ptr<T>(), x.size(0), x.size(1)},
        weight_(Panels<T>(weight.const_data_ptr<T>(), x.size(1), columns_, 1, x.size(1))) {}

  // Numbers that of_rows() needs room for.
  int64_t scratch(int64_t rows) const { return nodes_ != nullptr ? 0 : rows * columns_; }

  const T* of_rows(int64_t begin, int64_t count, T* scratch) const {
    if (nodes_ != nullptr) return nodes_ + begin * columns_;
    multiply(Rows<T>{x_.data + begin * x_.channels, count, x_.channels}, *weight_, scratch);
    return scratch;
  }

 private:
  const T* nodes_ = nullptr;
  int64_t columns_;
  Rows<T> x_{nullptr, 0, 0};
  std::optional<Panels<T>> weight_;
};

// Fewer windows than threads: all threads work on one after the other.
template <typename Work>
void for_each_window(int64_t windows, const Work& work) {
  if (windows < static_cast<int64_t>(torch::stable::get_num_threads())) {
    work(0, windows);
  } else {
    parallel_for(windows, work);
  }
}

inline void check_edge_conv_weight(const Tensor& x, const Tensor& weight, const Tensor& bn_weight) {
  check_floating(x, "x", 2);
  check_like(weight, "weight", 2, x);
  STD_TORCH_CHECK(weight.size(1) == x.size(1) && weight.size(0) == 2 * bn_weight.size(0),
                  "weight must have a column for each of x and twice as many rows as bn_weight entries");
}

}  // namespace pointkernels
