// The walk through a tree over leaves (point_leaves.h) that searches of points share.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "point_leaves.h"
#include "search_kernels.h"

namespace pointkernels {

// The farthest that a search has to look: leaves at this distance only if they have an id up to this one.
template <typename T>
struct Reach {
  T distance;
  int32_t id;
};

// From start() on: first the nearest leaves, if they are wanted, then those of the others that are within reach.
template <typename T>
class LeafWalk {
 public:
  explicit LeafWalk(const PointLeaves<T>& points) : kernels_(search_kernels<T>()), points_(points) {}

  // Begins at the top of a cloud's tree. Distances are from the box of leaf number `leaf` of the queries, counted over
  // all clouds.
  void start(int64_t cloud, const PointLeaves<T>& queries, int64_t leaf) {
    cloud_ = cloud;
    const Boxes<T> boxes = queries.boxes(0);
    for (int64_t d = 0; d < boxes.dims; ++d) {
      low_[d] = boxes.ends[2 * d * boxes.stride + leaf];
      high_[d] = boxes.ends[(2 * d + 1) * boxes.stride + leaf];
    }
    waiting_.clear();
    visit(points_.top_level(cloud), 0, [&](const Near& box) { waiting_.push_back(box); });
  }

  // Takes the `count` nearest leaves, fewer if there are no more. Leaves and boxes rank by (distance, lowest id).
  void take_nearest(int64_t count, std::vector<int32_t>* leaves) {
    leaves->clear();
    std::make_heap(waiting_.begin(), waiting_.end(), farther);
    while (!waiting_.empty() && static_cast<int64_t>(leaves->size()) < count) {
      std::pop_heap(waiting_.begin(), waiting_.end(), farther);
      const Near box = waiting_.back();
      waiting_.pop_back();
      if (box.level == 0) {
        leaves->push_back(static_cast<int32_t>(points_.first_box(cloud_, 0) + box.box));
        continue;
      }
      visit(box.level - 1, box.box * kFan, [&](const Near& child) {
        waiting_.push_back(child);
        std::push_heap(waiting_.begin(), waiting_.end(), farther);
      });
    }
  }

  // Lists those of the leaves not taken that are within reach, with their boxes side by side; if wanted, in the order
  // of their lowest ids. Ends the walk.
  void list_within(const Reach<T>& reach, bool by_id = false) {
    listed_.clear();
    while (!waiting_.empty()) {
      const Near box = waiting_.back();
      waiting_.pop_back();
      if (!within(box, reach)) continue;
      if (box.level == 0) {
        listed_.push_back(static_cast<int32_t>(points_.first_box(cloud_, 0) + box.box));
        continue;
      }
      visit(box.level - 1, box.box * kFan, [&](const Near& child) {
        if (within(child, reach)) waiting_.push_back(child);
      });
    }
    const int32_t* lowest_ids = points_.lowest_ids(0);
    if (by_id) {
      std::sort(listed_.begin(), listed_.end(), [&](int32_t a, int32_t b) { return lowest_ids[a] < lowest_ids[b]; });
    }
    const int64_t ends = 2 * points_.dims(), count = static_cast<int64_t>(listed_.size());
    const Boxes<T> boxes = points_.boxes(0);
    stride_ = (count + kFan - 1) / kFan * kFan;
    listed_ends_.resize(ends * stride_);
    for (int64_t e = 0; e < ends; ++e) {
      for (int64_t i = 0; i < count; ++i) listed_ends_[e * stride_ + i] = boxes.ends[e * boxes.stride + listed_[i]];
    }
  }

  // How many of the leaves, listed by their lowest ids, have ids up to this one.
  int64_t listed_up_to(int32_t id) const {
    const int32_t* lowest_ids = points_.lowest_ids(0);
    return std::upper_bound(listed_.begin(), listed_.end(), id,
                            [&](int32_t wanted, int32_t leaf) { return wanted < lowest_ids[leaf]; }) -
           listed_.begin();
  }

  LeafList<T> listed() const {
    return {{points_.column(0), kBlock, points_.slots(), points_.dims(), points_.ids(), listed_.data(), 0, 0},
            {listed_ends_.data(), stride_, points_.dims()},
            static_cast<int64_t>(listed_.size())};
  }

 private:
  // A box and its distance to the queries.
  struct Near {
    T distance;
    int32_t lowest_id;
    int32_t level;
    int64_t box;
  };

  static bool farther(const Near& a, const Near& b) {
    return a.distance > b.distance || (a.distance == b.distance && a.lowest_id > b.lowest_id);
  }
  static bool within(const Near& a, const Reach<T>& reach) {
    return a.distance < reach.distance || (a.distance == reach.distance && a.lowest_id <= reach.id);
  }

  // Calls use(near) for the children from `begin` on of a box at `level`, with their distances.
  template <typename Use>
  void visit(int64_t level, int64_t begin, const Use& use) {
    T distances[kFan];
    const int64_t end = std::min(begin + kFan, points_.box_count(cloud_, level));
    const int64_t first = points_.first_box(cloud_, level) + begin;
    kernels_.box_distances(low_, high_, points_.boxes(level), first, distances);
    for (int64_t child = begin; child < end; ++child) {
      use(Near{distances[child - begin], points_.lowest_ids(level)[first + child - begin], static_cast<int32_t>(level),
               child});
    }
  }

  const SearchKernels<T>& kernels_;
  const PointLeaves<T>& points_;
  int64_t cloud_ = 0, stride_ = 0;
  T low_[kPointDims] = {}, high_[kPointDims] = {};
  std::vector<Near> waiting_;  // boxes that cover all leaves not taken
  std::vector<int32_t> listed_;
  std::vector<T> listed_ends_;
};

}  // namespace pointkernels
