// What the backward pass of EdgeConv with two layers sums over edges, per unit of parallel work.
#pragma once

#include <algorithm>
#include <vector>

#include "two_layer_work.h"

namespace pointkernels {

// Sums over edges that units of parallel work take for themselves, in double.
struct UnitSums {
  std::vector<double> grad, deviation, weight, gram, activation;

  UnitSums(const TwoLayerShape& shape, bool dense2) {
    const int64_t hidden = shape.padded_hidden();
    grad.assign(hidden, 0.0);
    deviation.assign(hidden, 0.0);
    weight.assign(shape.outputs * hidden, 0.0);
    gram.assign(dense2 ? hidden * hidden : 0, 0.0);
    activation.assign(dense2 ? hidden : 0, 0.0);
  }

  void add(const UnitSums& other) {
    const auto sum = [](std::vector<double>& to, const std::vector<double>& from) {
      for (size_t n = 0; n < to.size(); ++n) to[n] += from[n];
    };
    sum(grad, other.grad);
    sum(deviation, other.deviation);
    sum(weight, other.weight);
    sum(gram, other.gram);
    sum(activation, other.activation);
  }
};

// Those of them that the loops take in T, and that are moved to doubles after some thousand edges.
template <typename T>
class UnitSpace {
 public:
  UnitSpace(const TwoLayerShape& shape, bool dense2)
      : weight_size_(shape.outputs * shape.padded_hidden()),
        gram_size_(dense2 ? shape.padded_hidden() * shape.padded_hidden() : 0),
        activation_size_(dense2 ? shape.padded_hidden() : 0),
        numbers_(weight_size_ + gram_size_ + activation_size_) {}

  void point_at(UnitSums& to, TwoLayerSums<T>& sums) {
    sums.grad_sum = to.grad.data();
    sums.grad_deviation = to.deviation.data();
    sums.grad_weight = numbers_.data();
    sums.gram = numbers_.data() + weight_size_;
    sums.activation_sum = sums.gram + gram_size_;
  }

  void move_to(UnitSums& to) {
    const T* from = numbers_.data();
    for (int64_t n = 0; n < weight_size_; ++n) to.weight[n] += from[n];
    from += weight_size_;
    for (int64_t n = 0; n < gram_size_; ++n) to.gram[n] += from[n];
    from += gram_size_;
    for (int64_t n = 0; n < activation_size_; ++n) to.activation[n] += from[n];
    std::fill(numbers_.begin(), numbers_.end(), T{0});
  }

 private:
  int64_t weight_size_, gram_size_, activation_size_;
  std::vector<T> numbers_;
};

}  // namespace pointkernels
