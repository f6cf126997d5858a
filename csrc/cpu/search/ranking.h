// From the candidates that a search admitted for a query to the row of its neighbours.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "../../common/distance.h"
#include "../../common/order.h"
#include "search_kernels.h"

namespace pointkernels {

// Where neighbours go: k in a row.
template <typename T>
struct NeighborRows {
  T* distances;  // or nullptr, to write none
  int64_t* indices;
};

template <typename T>
class Ranking {
 public:
  // `neighbor_count` neighbours at most, of which one may be excluded when `k` are written.
  Ranking(int64_t k, int64_t neighbor_count)
      : kernels_(search_kernels<T>()),
        k_(k),
        places_(kernels_.most_ranked + kBlock),
        sorted_(std::max(neighbor_count, kernels_.most_ranked)),
        order_(sorted_.size()) {}

  // Reduces `count` candidates to the first `kept` of their order and returns the last of these.
  Candidate<T> keep(T* distances, int32_t* ids, int64_t count, int64_t kept) {
    candidates_.resize(count);
    for (int64_t i = 0; i < count; ++i) candidates_[i] = {distances[i], ids[i]};
    std::nth_element(candidates_.begin(), candidates_.begin() + kept - 1, candidates_.end(), precedes<T>);
    for (int64_t i = 0; i < kept; ++i) {
      distances[i] = candidates_[i].distance;
      ids[i] = candidates_[i].index;
    }
    return candidates_[kept - 1];
  }

  // Puts the first `neighbor_count` of `count` candidates (numbers, no NaN) in order and returns how many there are.
  // `distances` must have room for kBlock more.
  int64_t rank(T* distances, int32_t* ids, int64_t count, int64_t neighbor_count) {
    found_ = std::min(count, neighbor_count);
    if (found_ == 0) return 0;
    if (count > kernels_.most_ranked) {
      keep(distances, ids, count, found_);
      count = found_;
    }
    if (count <= kernels_.most_ranked) {
      kernels_.rank(distances, ids, count, places_.data(), sorted_.data(), order_.data());
      return found_;
    }
    std::sort(candidates_.begin(), candidates_.begin() + found_, precedes<T>);
    take_candidates();
    return found_;
  }

  int64_t found() const { return found_; }
  void clear() { found_ = 0; }

  // Puts a candidate behind all others.
  void append(T distance, int64_t id) {
    sorted_[found_] = distance;
    order_[found_] = id;
    ++found_;
  }

  // Appends the candidates whose distance is NaN, in index order, until there are `neighbor_count`. If all others are
  // ranked, these are passed over, and no more than 2 * neighbor_count candidates are examined.
  void append_nan(const T* points, int64_t count, int64_t dims, const T* query, int64_t neighbor_count) {
    for (int64_t i = 0; i < count && found_ < neighbor_count; ++i) {
      const T distance = squared_distance(points + i * dims, query, dims);
      if (distance != distance) append(distance, i);
    }
  }

  // Writes row `row` of the results: what was found, without candidate `excluded`, then what stands for none.
  void write(int64_t excluded, const NeighborRows<T>& results, int64_t row) {
    int64_t written = std::min(found_, k_);
    if (excluded >= 0) {
      const int64_t at = std::find(order_.data(), order_.data() + found_, excluded) - order_.data();
      if (at < found_) {
        std::copy(order_.data() + at + 1, order_.data() + found_, order_.data() + at);
        std::copy(sorted_.data() + at + 1, sorted_.data() + found_, sorted_.data() + at);
        written = std::min(found_ - 1, k_);
      }
    }
    int64_t* const indices = results.indices + row * k_;
    std::fill(std::copy_n(order_.data(), written, indices), indices + k_, int64_t{-1});
    if (results.distances == nullptr) return;
    T* const distances = results.distances + row * k_;
    std::fill(std::copy_n(sorted_.data(), written, distances), distances + k_, std::numeric_limits<T>::infinity());
  }

 private:
  void take_candidates() {
    for (int64_t i = 0; i < found_; ++i) {
      sorted_[i] = candidates_[i].distance;
      order_[i] = candidates_[i].index;
    }
  }

  const SearchKernels<T>& kernels_;
  int64_t k_, found_ = 0;
  std::vector<int32_t> places_;
  std::vector<T> sorted_;
  std::vector<int64_t> order_;
  std::vector<Candidate<T>> candidates_;
};

// The groups of candidates whose minima bound the k-th distance. The k-th smallest minimum admits k different
// candidates; with at least 3 k groups only about 1.2 k candidates lie within it. Where there are no so many groups, or
// rows hardly longer, the distances themselves are bisected.
inline int64_t groups_for(int64_t neighbor_count, int64_t row) {
  constexpr int64_t kMaxGroups = 1024;
  int64_t groups = kLeaf;
  while (groups < 3 * neighbor_count && groups < kMaxGroups) groups *= 2;
  return 3 * neighbor_count <= groups && 2 * groups <= row ? groups : 0;
}

}  // namespace pointkernels
