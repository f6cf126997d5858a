// The two forms in which farthest point sampling holds a cloud. Both offer the same operations on places, which are
// their own numbering of the points; points with a NaN coordinate have no part in them.
#pragma once

#include <algorithm>
#include <limits>
#include <memory>
#include <vector>

#include "farthest_point_sampling.h"
#include "morton_order.h"
#include "parallel.h"

namespace pointkernels {

// The entry of a sample, of a point that is none, and of the places that fill up the last block: below every distance.
template <typename T>
constexpr T kTaken = -std::numeric_limits<T>::infinity();

// A round is shared among threads from so many vectors of branches on, half a million points: below that it takes some
// ten microseconds (9 at 100,000 points, measured), and threads gain less than it costs to start and to wait for them.
inline constexpr int64_t kFewestSharedVectors = 64;

// Points in the order of the cloud; every sample passes over all of them.
template <typename T>
class FlatCloud {
 public:
  FlatCloud(const T* points, int64_t count, int64_t dims, const std::vector<int32_t>& rows)
      : kernels_(*isa_kernels<T>().sampling),
        dims_(dims),
        blocks_((count + kBlock - 1) / kBlock),
        packed_(blocks_ * kBlock * dims),
        smallest_(blocks_ * kBlock, kTaken<T>) {
    isa_kernels<T>().pack(points, count, dims, packed_.data());
    for (const int32_t row : rows) smallest_[row] = std::numeric_limits<T>::infinity();
  }

  int64_t row(int64_t place) const { return place; }
  int64_t place(int64_t row) const { return row; }
  T distance(int64_t place) const { return smallest_[place]; }
  void take(int64_t place) { smallest_[place] = kTaken<T>; }

  // Lowers all entries by `count` samples (count x D); maxima (kSampleGroups) receives the largest of each group.
  void lower(const T* samples, int64_t count, T* maxima) {
    kernels_.lower(packed_.data(), blocks_, dims_, samples, count, smallest_.data(), maxima);
  }
  int64_t collect(T bound, int32_t* places) const { return kernels_.collect(smallest_.data(), blocks_, bound, places); }
  // Lowers by one sample and returns the place of the largest entry, the lowest row of equals.
  int64_t lower_and_find_farthest(const T* sample) {
    return kernels_.lower_and_find_farthest(packed_.data(), blocks_, dims_, sample, smallest_.data());
  }

 private:
  const SamplingKernels<T>& kernels_;
  int64_t dims_, blocks_;
  std::vector<T> packed_, smallest_;
};

// Points along a Morton curve under a tree of boxes (see SampleTree); a sample touches the leaves that it can change.
template <typename T>
class TreeCloud {
 public:
  TreeCloud(const T* points, int64_t point_count, int64_t dims, std::vector<int32_t> rows, int64_t threads)
      : kernels_(*isa_kernels<T>().sampling), dims_(dims), rows_(std::move(rows)) {
    sort_along_morton_curve(points, point_count, dims, rows_, threads);
    const int64_t count = static_cast<int64_t>(rows_.size());
    branch_vectors_ = (count + kSampleFan * kSampleBranchPoints - 1) / (kSampleFan * kSampleBranchPoints);
    const int64_t branches = branch_vectors_ * kSampleFan, leaves = branches * kSampleFan;
    const int64_t used_leaves = (count + kSampleLeafPoints - 1) / kSampleLeafPoints;
    rows_.resize(used_leaves * kSampleLeafPoints, -1);
    packed_.reset(new T[rows_.size() * dims]);
    smallest_.reset(new T[rows_.size()]);
    // A box that holds nothing is nowhere, and its farthest entry is below every distance.
    leaf_boxes_ = empty_boxes(leaves);
    branch_boxes_ = empty_boxes(branches);
    leaf_farthest_.assign(leaves, kTaken<T>);
    branch_farthest_.assign(branches, kTaken<T>);
    const SampleTree<T> tree = this->tree();
    parallel_for((used_leaves + kSampleFan - 1) / kSampleFan, [&](int64_t first, int64_t last) {
      for (int64_t branch = first; branch < last; ++branch) kernels_.fill_branch(tree, points, branch, count);
    });
  }

  int64_t row(int64_t place) const { return rows_[place]; }
  int64_t place(int64_t row) const { return std::find(rows_.begin(), rows_.end(), row) - rows_.begin(); }
  T distance(int64_t place) const { return smallest_[place]; }
  void take(int64_t place) {
    // A sample that is no duplicate reaches its own leaf when it is applied, which brings the leaf up to date.
    const bool reaches = smallest_[place] > 0 && smallest_[place] < std::numeric_limits<T>::infinity();
    smallest_[place] = kTaken<T>;
    if (!reaches) kernels_.refresh_leaf(tree(), place / kSampleLeafPoints);
  }

  void lower(const T* samples, int64_t count, T* maxima) {
    lower(samples, count);
    kernels_.fold(leaf_farthest_.data(), static_cast<int64_t>(leaf_farthest_.size()), maxima);
  }
  int64_t collect(T bound, int32_t* places) const { return kernels_.collect_tree(tree(), bound, places); }

  int64_t lower_and_find_farthest(const T* sample) {
    if (leaf_row_.empty()) {  // from now on the lowest row of the farthest points of each leaf is kept
      leaf_row_.assign(leaf_farthest_.size(), 0);
      const int64_t used_leaves = static_cast<int64_t>(rows_.size()) / kSampleLeafPoints;
      for (int64_t leaf = 0; leaf < used_leaves; ++leaf) kernels_.refresh_leaf(tree(), leaf);
    }
    lower(sample, 1);
    T maxima[kSampleGroups];
    kernels_.fold(branch_farthest_.data(), static_cast<int64_t>(branch_farthest_.size()), maxima);
    const T farthest = *std::max_element(maxima, maxima + kSampleGroups);
    int64_t best = -1;
    for (size_t branch = 0; branch < branch_farthest_.size(); ++branch) {
      if (branch_farthest_[branch] != farthest) continue;
      for (int64_t leaf = branch * kSampleFan; leaf < static_cast<int64_t>(branch + 1) * kSampleFan; ++leaf) {
        if (leaf_farthest_[leaf] != farthest) continue;
        if (best < 0 || leaf_row_[leaf] < leaf_row_[best]) best = leaf;
      }
    }
    const auto first = rows_.begin() + best * kSampleLeafPoints;
    return std::find(first, first + kSampleLeafPoints, leaf_row_[best]) - rows_.begin();
  }

 private:
  std::vector<T> empty_boxes(int64_t count) const {
    std::vector<T> boxes(count * 2 * dims_, std::numeric_limits<T>::infinity());
    for (int64_t group = 0; group < count / kSampleFan; ++group) {
      std::fill_n(boxes.begin() + (2 * group + 1) * dims_ * kSampleFan, dims_ * kSampleFan,
                  -std::numeric_limits<T>::infinity());
    }
    return boxes;
  }

  SampleTree<T> tree() const {
    // The kernels change the entries and what is derived from them, never the points; constness ends here.
    TreeCloud& self = const_cast<TreeCloud&>(*this);
    return {dims_,
            branch_vectors_,
            packed_.get(),
            rows_.data(),
            self.smallest_.get(),
            self.leaf_boxes_.data(),
            self.leaf_farthest_.data(),
            leaf_row_.empty() ? nullptr : self.leaf_row_.data(),
            self.branch_boxes_.data(),
            self.branch_farthest_.data()};
  }

  void lower(const T* samples, int64_t count) {
    const SampleTree<T> tree = this->tree();
    const auto work = [&](int64_t first, int64_t last) { kernels_.lower_tree(tree, first, last, samples, count); };
    if (branch_vectors_ < kFewestSharedVectors) {
      work(0, branch_vectors_);
    } else {
      parallel_for(branch_vectors_, work);
    }
  }

  const SamplingKernels<T>& kernels_;
  int64_t dims_, branch_vectors_;
  std::vector<int32_t> rows_, leaf_row_;
  std::unique_ptr<T[]> packed_, smallest_;  // not set to zero first: they are the larger part of the memory
  std::vector<T> leaf_boxes_, leaf_farthest_, branch_boxes_, branch_farthest_;
};

}  // namespace pointkernels
