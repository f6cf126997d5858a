// Points of a batch of clouds, sorted into leaves of neighbours with boxes around them: what searches that prune stand
// on.
//
// Every cloud is split at medians, along the widest side of the box around what is split, down to leaves of kLeaf
// points; only a cloud's last leaf may hold fewer. kFan consecutive leaves make a box of the level above, and so on up
// to a level with at most kFan boxes. Since every split leaves a power of two of leaves on its left, such boxes are
// subtrees of the splits.
//
//   - Points with a coordinate that is not finite are in no leaf; their distance to any query is infinite or NaN.
//   - Coordinates are columns over slots; leaf l has the slots [kLeaf * l, kLeaf * (l + 1)). Up to three coordinates
//   are
//     kept as three (the added ones are zero, and a fused multiply-add of zeros changes no distance), four as four.
//   - Slots without a point hold NaN and the largest id. Within a leaf points are in no particular order, but where
//     many points coincide, their leaves are in the order of ids.
//   - box_distances() of search_kernels.h gives lower bounds for canonical distances to points in a box that hold bit
//   for bit.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "../../common/clouds.h"
#include "candidates.h"

namespace pointkernels {

inline constexpr double kLeafBuildTime = 30;  // nanoseconds for a point, on one core (Zen 5, AVX-512)

template <typename T>
bool is_finite(const T* row, int64_t dims) {
  T sum = 0;
  for (int64_t d = 0; d < dims; ++d) sum += row[d] - row[d];
  return sum == 0;
}

template <typename T>
class PointLeaves {
 public:
  // rows (clouds.rows, dims), 1 <= dims <= 4. Parallel within clouds and over them. The rows are not kept.
  PointLeaves(const T* rows, const Clouds& clouds, int64_t dims);

  int64_t dims() const { return dims_; }  // three or four
  const T* column(int64_t d) const { return columns_.get() + d * slots_; }
  int64_t slots() const { return slots_; }
  const int32_t* ids() const { return ids_.get(); }  // of slots, counted within the cloud

  int64_t finite(int64_t cloud) const { return finite_[cloud]; }  // points in leaves
  int64_t leaf_count(int64_t cloud) const { return (finite_[cloud] + kLeaf - 1) / kLeaf; }
  int64_t leaf_size(int64_t cloud, int64_t leaf) const {
    const int64_t left = finite_[cloud] - leaf * kLeaf;
    return left < kLeaf ? left : kLeaf;
  }

  // Level 0 has a box for each leaf. Box b of a cloud at a level has the children [kFan * b, kFan * (b + 1)), as far as
  // there are so many, at the level below. Numbers count within the cloud; first_box() is to be added to address
  // boxes() and lowest_ids(), and on level 0 to address slots.
  int64_t top_level(int64_t cloud) const;
  int64_t box_count(int64_t cloud, int64_t level) const;
  int64_t first_box(int64_t cloud, int64_t level) const { return first_tile(clouds_, cloud, kLeaf << (4 * level)); }
  Boxes<T> boxes(int64_t level) const { return {levels_[level].ends.get(), levels_[level].stride, dims_}; }
  const int32_t* lowest_ids(int64_t level) const { return levels_[level].lowest_ids.get(); }

 private:
  struct Level {
    int64_t stride;
    std::unique_ptr<T[]> ends;
    std::unique_ptr<int32_t[]> lowest_ids;
  };
  struct Range {  // of slots
    int64_t begin, count;
  };

  void gather(const T* rows, int64_t given_dims);
  void sort();
  void sort_range(Range range);
  bool split(Range range, Range* left, Range* right);
  void select(Range range, int64_t axis, int64_t left);
  int64_t partition(Range range, int64_t axis, T pivot, bool or_equal);
  void bound_leaves();
  void bound_level(int64_t level);

  Clouds clouds_;
  int64_t dims_, slots_, threads_;
  std::unique_ptr<T[]> columns_, scratch_;
  std::unique_ptr<int32_t[]> ids_, scratch_ids_;
  std::vector<int64_t> finite_;
  std::vector<Level> levels_;
};

}  // namespace pointkernels
