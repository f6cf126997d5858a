// A cloud under a tree of boxes, for farthest point sampling.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "../memory/work_space.h"
#include "../threads/team.h"
#include "candidate_list.h"
#include "farthest_point_sampling.h"
#include "morton_order.h"

namespace pointkernels {

// Members of a team share a round if they all have so many pairs of a sample and a vector of branches: at some 100
// cycles each they take several times as long as it takes to share them.
inline constexpr int64_t kFewestSharedPairs = 32;

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
        memory_(memory(dims)),
        sections_(vectors_) {
    const int64_t padded = leaves_ * kSampleLeafPoints;
    rows_ = reinterpret_cast<int32_t*>(memory_.get());
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
  void take(int64_t place) {
    // A sample that is no duplicate reaches its own leaf when it is applied, which brings the leaf up to date.
    T& entry = tree_.smallest[place];
    const bool reaches = entry > 0 && entry < std::numeric_limits<T>::infinity();
    entry = kTaken<T>;
    if (!reaches) kernels_.refresh_leaf(tree_, place / kSampleLeafPoints);
  }

  // Lowers all entries by `count` samples (count x D) and lists the farthest points; false if too many are equally far.
  bool lower(const T* samples, int64_t count, FarPoints<T>& far) {
    lower(samples, count, guess_);
    if (!list_guessed(far) && !list_by_leaves(far)) return false;
    guess_ = far.bound * (1 - width_);
    return true;
  }

  int64_t lower_and_find_farthest(const T* sample) {
    const int64_t branches = vectors_ * kSampleFan;
    if (leaf_row_.empty()) {  // from now on the lowest row of the farthest points of each leaf is kept
      leaf_row_.assign(branches * kSampleFan, 0);
      tree_.leaf_row = leaf_row_.data();
      for (int64_t leaf = 0; leaf < leaves_; ++leaf) kernels_.refresh_leaf(tree_, leaf);
    }
    lower(sample, 1, std::numeric_limits<T>::infinity());
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

  struct FarPoint {
    int32_t place, row;
    T distance, coordinates[kMaxMortonDims];
  };

  // The points of a vector of branches that reach a bound, as its thread has found them right after it has lowered the
  // entries, and in few cache lines for the leader. More than kSampleList: an overflow, of which only the fact is told.
  struct alignas(64) Section {
    int64_t count;
    FarPoint points[kSampleList];
  };

  FarPoint far_point(int32_t place) const {
    FarPoint point{place, rows_[place], tree_.smallest[place], {}};
    const T* from = tree_.blocks + place / kBlock * kBlock * tree_.dims + place % kBlock;
    for (int64_t d = 0; d < tree_.dims; ++d) point.coordinates[d] = from[d * kBlock];
    return point;
  }

  void append(const FarPoint& point, FarPoints<T>& far) const {
    const int64_t i = far.count++;
    far.places[i] = point.place;
    far.rows[i] = point.row;
    far.distances[i] = point.distance;
    for (int64_t d = 0; d < tree_.dims; ++d) far.coordinates[d * kSampleList + i] = point.coordinates[d];
  }

  // Lowers all entries, and fills sections with the points that then reach `bound`.
  void lower(const T* samples, int64_t count, T bound) {
    const auto work = [this, samples, count, bound](int64_t first, int64_t last) {
      for (int64_t vector = first; vector < last; ++vector) {
        kernels_.lower_tree(tree_, vector, vector + 1, samples, count);
        int32_t places[kSampleList + 3];
        Section& section = sections_[vector];
        section.count = kernels_.collect_tree(tree_, vector, vector + 1, bound, places);
        if (section.count > kSampleList) continue;
        for (int64_t i = 0; i < section.count; ++i) section.points[i] = far_point(places[i]);
      }
    };
    if (count * vectors_ < kFewestSharedPairs * team_.threads()) {
      work(0, vectors_);
    } else {
      team_.each(vectors_, work);
    }
  }

  // From the sections, unless they hold too few points for a round or far too many.
  bool list_guessed(FarPoints<T>& far) {
    const FarPoint* points[kMostGuessed];
    T distances[kMostGuessed];
    int64_t found = 0;
    for (const Section& section : sections_) {
      if (section.count > kSampleList || found + section.count > kMostGuessed) {
        found = kMostGuessed + 1;
        break;
      }
      for (int64_t i = 0; i < section.count; ++i) {
        points[found] = &section.points[i];
        distances[found++] = section.points[i].distance;
      }
    }
    const T missed = static_cast<T>(kGuessed) / static_cast<T>(std::max<int64_t>(found, 1));
    width_ = std::min(width_ * std::sqrt(std::clamp(missed, T(0.3), T(3))), T(0.5));
    if (found < kFewestGuessed || found > kMostGuessed) return false;
    far.count = 0;
    if (found <= kSampleList) {
      far.bound = guess_;
      for (int64_t i = 0; i < found; ++i) append(*points[i], far);
      return true;
    }
    const int64_t blocks = (found + kBlock - 1) / kBlock;
    std::fill(distances + found, distances + blocks * kBlock, kTaken<T>);
    int32_t chosen[kSampleList + 3];
    far.bound = kernels_.bound(distances, blocks * kBlock, kSampleList * 7 / 8);
    const int64_t count = kernels_.collect(distances, blocks, far.bound, chosen);
    if (count > kSampleList) return false;
    for (int64_t i = 0; i < count; ++i) append(*points[chosen[i]], far);
    return true;
  }

  bool list_by_leaves(FarPoints<T>& far) {
    T maxima[kSampleGroups];
    kernels_.fold(tree_.leaf_farthest, vectors_ * kSampleFan * kSampleFan, maxima);
    const auto collect = [this](T bound, int32_t* places) {
      return kernels_.collect_tree(tree_, 0, vectors_, bound, places);
    };
    if (!find_far_places(maxima, collect, far)) return false;
    const int64_t found = std::exchange(far.count, 0);
    for (int64_t i = 0; i < found; ++i) append(far_point(far.places[i]), far);
    return true;
  }

  // Sections are to hold kGuessed points together, of which the farthest kSampleList or a few less are taken.
  static constexpr int64_t kFewestGuessed = 16, kGuessed = 66, kMostGuessed = 4 * kSampleList;

  const SamplingKernels<T>& kernels_;
  Team& team_;
  int64_t count_, leaves_, vectors_;  // points, leaves that hold any, vectors of branches
  WorkSpace<unsigned char> memory_;
  std::vector<Section> sections_;
  int32_t* rows_;
  std::vector<int32_t> leaf_row_;
  SampleTree<T> tree_;
  // Of the bound that the next round's points reach. Away from what the others of a team read in each round.
  alignas(64) T guess_ = std::numeric_limits<T>::infinity();
  T width_ = T(0.25);  // how far it is below the last bound, as a part of that
};

}  // namespace pointkernels
