// The two forms in which farthest point sampling holds a cloud. Both offer the same operations on places, which are
// their own numbering of the points; points with a NaN coordinate have no part in them.
#pragma once

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "aligned_array.h"
#include "farthest_point_sampling.h"
#include "morton_order.h"
#include "team.h"

namespace pointkernels {

// The entry of a sample, of a point that is none, and of the places that fill up the last block: below every distance.
template <typename T>
constexpr T kTaken = -std::numeric_limits<T>::infinity();

// Members of a team share a round if they all have so many blocks or, of a tree, so many pairs of a sample and a vector
// of branches: at some 100 cycles each they take several times as long as it takes to share them.
inline constexpr int64_t kFewestSharedBlocks = 64, kFewestSharedPairs = 32;

// Points in the order of the cloud; every sample passes over all of them.
template <typename T>
class FlatCloud {
 public:
  FlatCloud(const T* points, int64_t count, int64_t dims, const std::vector<int32_t>* rows, Team& team)
      : kernels_(*isa_kernels<T>().sampling),
        team_(team),
        dims_(dims),
        blocks_((count + kBlock - 1) / kBlock),
        pieces_(std::clamp<int64_t>(blocks_ / kFewestSharedBlocks, 1, team.threads())),
        packed_(blocks_ * kBlock * dims),
        smallest_(blocks_ * kBlock),
        maxima_(pieces_ * kSampleGroups),
        farthest_(pieces_) {
    isa_kernels<T>().pack(points, count, dims, packed_.data());
    std::fill_n(smallest_.data(), count, rows == nullptr ? std::numeric_limits<T>::infinity() : kTaken<T>);
    std::fill(smallest_.data() + count, smallest_.data() + blocks_ * kBlock, kTaken<T>);
    if (rows == nullptr) return;
    for (const int32_t row : *rows) smallest_.data()[row] = std::numeric_limits<T>::infinity();
  }

  int64_t row(int64_t place) const { return place; }
  int64_t place(int64_t row) const { return row; }
  T distance(int64_t place) const { return smallest_.data()[place]; }
  void take(int64_t place) { smallest_.data()[place] = kTaken<T>; }

  // Lowers all entries by `count` samples (count x D); maxima (kSampleGroups) receives the largest of each group.
  void lower(const T* samples, int64_t count, T* maxima) {
    each_piece([&](int64_t piece, int64_t first, int64_t blocks) {
      kernels_.lower(packed_.data() + first * kBlock * dims_, blocks, dims_, samples, count,
                     smallest_.data() + first * kBlock, maxima_.data() + piece * kSampleGroups);
    });
    kernels_.fold(maxima_.data(), pieces_ * kSampleGroups, maxima);
  }
  int64_t collect(T bound, int32_t* places) const { return kernels_.collect(smallest_.data(), blocks_, bound, places); }
  // Lowers by one sample and returns the place of the largest entry, the lowest row of equals.
  int64_t lower_and_find_farthest(const T* sample) {
    each_piece([&](int64_t piece, int64_t first, int64_t blocks) {
      farthest_[piece] =
          first * kBlock + kernels_.lower_and_find_farthest(packed_.data() + first * kBlock * dims_, blocks, dims_,
                                                            sample, smallest_.data() + first * kBlock);
    });
    int64_t best = farthest_[0];
    for (const int64_t place : farthest_) {
      if (distance(place) > distance(best)) best = place;
    }
    return best;
  }

 private:
  template <typename Work>
  void each_piece(const Work& work) {
    team_.each(pieces_, [this, &work](int64_t begin, int64_t end) {
      for (int64_t piece = begin; piece < end; ++piece) {
        const int64_t first = blocks_ * piece / pieces_;
        work(piece, first, blocks_ * (piece + 1) / pieces_ - first);
      }
    });
  }

  const SamplingKernels<T>& kernels_;
  Team& team_;
  int64_t dims_, blocks_, pieces_;
  AlignedArray<T> packed_, smallest_, maxima_;
  std::vector<int64_t> farthest_;
};

// Points along a Morton curve under a tree of boxes (see SampleTree); a sample touches the leaves that it can change.
template <typename T>
class TreeCloud {
 public:
  TreeCloud(const T* points, int64_t count, int64_t dims, const std::vector<int32_t>* rows, Team& team)
      : kernels_(*isa_kernels<T>().sampling),
        team_(team),
        count_(rows == nullptr ? count : static_cast<int64_t>(rows->size())),
        leaves_((count_ + kSampleLeafPoints - 1) / kSampleLeafPoints),
        vectors_((leaves_ + kSampleFan * kSampleFan - 1) / (kSampleFan * kSampleFan)),
        memory_(memory(dims)) {
    const int64_t padded = leaves_ * kSampleLeafPoints;
    rows_ = reinterpret_cast<int32_t*>(memory_.data());
    // What the sort needs meanwhile lies where the points will be.
    sort_along_morton_curve(points, count, dims, rows == nullptr ? nullptr : rows->data(), count_, rows_,
                            reinterpret_cast<uint64_t*>(rows_ + padded), team);
    std::fill(rows_ + count_, rows_ + padded, -1);
    T* next = reinterpret_cast<T*>(rows_ + padded);
    const auto numbers = [&](int64_t wanted) { return std::exchange(next, next + wanted); };
    const int64_t branches = vectors_ * kSampleFan, boxed_leaves = branches * kSampleFan;
    tree_ = {dims,
             vectors_,
             numbers(padded * dims),
             rows_,
             numbers(padded),
             numbers(boxed_leaves * 2 * dims),
             numbers(boxed_leaves),
             nullptr,
             numbers(branches * 2 * dims),
             numbers(branches)};
    // A box that holds nothing is nowhere, and its farthest entry is below every distance.
    clear_boxes(tree_.leaf_boxes, branches);
    clear_boxes(tree_.branch_boxes, vectors_);
    std::fill_n(tree_.leaf_farthest, boxed_leaves, kTaken<T>);
    std::fill_n(tree_.branch_farthest, branches, kTaken<T>);
    team_.each((leaves_ + kSampleFan - 1) / kSampleFan, [this, points](int64_t first, int64_t last) {
      for (int64_t branch = first; branch < last; ++branch) kernels_.fill_branch(tree_, points, branch, count_);
    });
  }

  int64_t row(int64_t place) const { return rows_[place]; }
  int64_t place(int64_t row) const { return std::find(rows_, rows_ + count_, row) - rows_; }
  T distance(int64_t place) const { return tree_.smallest[place]; }
  void take(int64_t place) {
    // A sample that is no duplicate reaches its own leaf when it is applied, which brings the leaf up to date.
    T& entry = tree_.smallest[place];
    const bool reaches = entry > 0 && entry < std::numeric_limits<T>::infinity();
    entry = kTaken<T>;
    if (!reaches) kernels_.refresh_leaf(tree_, place / kSampleLeafPoints);
  }

  void lower(const T* samples, int64_t count, T* maxima) {
    lower(samples, count);
    kernels_.fold(tree_.leaf_farthest, vectors_ * kSampleFan * kSampleFan, maxima);
  }
  int64_t collect(T bound, int32_t* places) const { return kernels_.collect_tree(tree_, bound, places); }

  int64_t lower_and_find_farthest(const T* sample) {
    const int64_t branches = vectors_ * kSampleFan;
    if (leaf_row_.empty()) {  // from now on the lowest row of the farthest points of each leaf is kept
      leaf_row_.assign(branches * kSampleFan, 0);
      tree_.leaf_row = leaf_row_.data();
      for (int64_t leaf = 0; leaf < leaves_; ++leaf) kernels_.refresh_leaf(tree_, leaf);
    }
    lower(sample, 1);
    T maxima[kSampleGroups];
    kernels_.fold(tree_.branch_farthest, branches, maxima);
    const T farthest = *std::max_element(maxima, maxima + kSampleGroups);
    int64_t best = -1;
    for (int64_t branch = 0; branch < branches; ++branch) {
      if (tree_.branch_farthest[branch] != farthest) continue;
      for (int64_t leaf = branch * kSampleFan; leaf < (branch + 1) * kSampleFan; ++leaf) {
        if (tree_.leaf_farthest[leaf] != farthest) continue;
        if (best < 0 || leaf_row_[leaf] < leaf_row_[best]) best = leaf;
      }
    }
    const int32_t* first = rows_ + best * kSampleLeafPoints;
    return std::find(first, first + kSampleLeafPoints, leaf_row_[best]) - rows_;
  }

 private:
  // Bytes for the rows, and for the points and what belongs to them or what the sort needs before.
  int64_t memory(int64_t dims) const {
    const int64_t branches = vectors_ * kSampleFan, padded = leaves_ * kSampleLeafPoints;
    const int64_t numbers = padded * (dims + 1) + branches * (kSampleFan + 1) * (2 * dims + 1);
    return padded * sizeof(int32_t) + std::max<int64_t>(numbers * sizeof(T), 2 * count_ * sizeof(uint64_t));
  }

  void clear_boxes(T* boxes, int64_t groups) const {
    const int64_t half = tree_.dims * kSampleFan;
    for (; groups > 0; --groups, boxes += 2 * half) {
      std::fill_n(boxes, half, std::numeric_limits<T>::infinity());
      std::fill_n(boxes + half, half, -std::numeric_limits<T>::infinity());
    }
  }

  void lower(const T* samples, int64_t count) {
    const auto work = [this, samples, count](int64_t first, int64_t last) {
      kernels_.lower_tree(tree_, first, last, samples, count);
    };
    if (count * vectors_ < kFewestSharedPairs * team_.threads()) {
      work(0, vectors_);
    } else {
      team_.each(vectors_, work);
    }
  }

  const SamplingKernels<T>& kernels_;
  Team& team_;
  int64_t count_, leaves_, vectors_;  // points, leaves that hold any, vectors of branches
  AlignedArray<unsigned char> memory_;
  int32_t* rows_;
  std::vector<int32_t> leaf_row_;
  SampleTree<T> tree_;
};

}  // namespace pointkernels
