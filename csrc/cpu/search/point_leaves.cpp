#include "point_leaves.h"
#include "search_kernels.h"

#include <algorithm>
#include <iterator>
#include <limits>

#include "../threads/parallel.h"

static_assert(pointkernels::kFan == 16, "first_box() shifts by four bits a level");

namespace pointkernels {

namespace {

constexpr int64_t kGatherRows = 4096;

// The largest power of two below `count`, at least 1.
int64_t power_below(int64_t count) {
  int64_t power = 1;
  while (2 * power < count) power *= 2;
  return power;
}

}  // namespace

template <typename T>
PointLeaves<T>::PointLeaves(const T* rows, const Clouds& clouds, int64_t dims)
    : clouds_(clouds),
      dims_(std::max<int64_t>(dims, 3)),
      slots_((tile_bound(clouds, kLeaf) + 1) * kLeaf),
      threads_(threads_worth(kLeafBuildTime * static_cast<double>(clouds.rows))),
      columns_(new T[dims_ * slots_]),
      scratch_(new T[dims_ * slots_]),
      ids_(new int32_t[slots_]),
      scratch_ids_(new int32_t[slots_]),
      finite_(clouds.count) {
  gather(rows, dims);
  sort();
  scratch_.reset();
  scratch_ids_.reset();
  bound_leaves();
  int64_t highest = 0;
  for (int64_t cloud = 0; cloud < clouds_.count; ++cloud) highest = std::max(highest, top_level(cloud));
  for (int64_t level = 1; level <= highest; ++level) bound_level(level);
}

template <typename T>
int64_t PointLeaves<T>::box_count(int64_t cloud, int64_t level) const {
  const int64_t points = kLeaf << (4 * level);
  return (finite_[cloud] + points - 1) / points;
}

template <typename T>
int64_t PointLeaves<T>::top_level(int64_t cloud) const {
  int64_t level = 0;
  while (box_count(cloud, level) > kFan) ++level;
  return level;
}

template <typename T>
void PointLeaves<T>::gather(const T* rows, int64_t given_dims) {
  const int64_t tiles = tile_bound(clouds_, kGatherRows);
  std::vector<int64_t> to(tiles, 0);  // finite points of each tile, then the first slot for them
  parallel_each(tiles, threads_, [&](int64_t t) {
    const Tile tile = locate_tile(clouds_, t, kGatherRows);
    const T* row = rows + (clouds_.first(tile.cloud) + tile.begin) * given_dims;
    int64_t finite = 0;
    for (int64_t i = tile.begin; i < tile.end; ++i, row += given_dims) finite += is_finite(row, given_dims);
    to[t] = finite;
  });
  for (int64_t t = 0; t < tiles; ++t) {
    const Tile tile = locate_tile(clouds_, t, kGatherRows);
    if (tile.begin >= tile.end) continue;
    const int64_t count = to[t];
    to[t] = first_box(tile.cloud, 0) * kLeaf + finite_[tile.cloud];
    finite_[tile.cloud] += count;
  }
  parallel_each(tiles, threads_, [&](int64_t t) {
    const Tile tile = locate_tile(clouds_, t, kGatherRows);
    const T* row = rows + (clouds_.first(tile.cloud) + tile.begin) * given_dims;
    int64_t slot = to[t];
    for (int64_t i = tile.begin; i < tile.end; ++i, row += given_dims) {
      if (!is_finite(row, given_dims)) continue;
      for (int64_t d = 0; d < dims_; ++d) columns_[d * slots_ + slot] = d < given_dims ? row[d] : T{0};
      ids_[slot++] = static_cast<int32_t>(i);
    }
  });
  for (int64_t cloud = 0; cloud < clouds_.count; ++cloud) {
    const int64_t begin = first_box(cloud, 0) * kLeaf;
    const int64_t end = begin + leaf_count(cloud) * kLeaf;
    for (int64_t slot = begin + finite_[cloud]; slot < end; ++slot) {
      for (int64_t d = 0; d < dims_; ++d) columns_[d * slots_ + slot] = std::numeric_limits<T>::quiet_NaN();
      ids_[slot] = std::numeric_limits<int32_t>::max();
    }
  }
}

// The first splits go level by level, each range to a thread, until there are enough ranges for all threads.
template <typename T>
void PointLeaves<T>::sort() {
  constexpr int64_t kRangesPerThread = 8;
  std::vector<Range> ranges;
  for (int64_t cloud = 0; cloud < clouds_.count; ++cloud) {
    if (finite_[cloud] > kLeaf) ranges.push_back({first_box(cloud, 0) * kLeaf, finite_[cloud]});
  }
  const int64_t threads = std::min(threads_, static_cast<int64_t>(torch::stable::get_num_threads()));
  while (threads > 1 && !ranges.empty() && static_cast<int64_t>(ranges.size()) < kRangesPerThread * threads) {
    std::vector<Range> halves(2 * ranges.size(), Range{0, 0});
    parallel_each(static_cast<int64_t>(ranges.size()), threads,
                  [&](int64_t i) { split(ranges[i], &halves[2 * i], &halves[2 * i + 1]); });
    ranges.clear();
    std::copy_if(halves.begin(), halves.end(), std::back_inserter(ranges), [](Range r) { return r.count > kLeaf; });
  }
  parallel_each(static_cast<int64_t>(ranges.size()), threads, [&](int64_t i) { sort_range(ranges[i]); });
}

template <typename T>
void PointLeaves<T>::sort_range(Range range) {
  Range left, right;
  while (range.count > kLeaf && split(range, &left, &right)) {
    sort_range(right);
    range = left;
  }
}

// False where there is nothing left to split: all points coincide, and are put in the order of ids, so that the lowest
// ids, which win, are found in few leaves.
template <typename T>
bool PointLeaves<T>::split(Range range, Range* left, Range* right) {
  int64_t axis = 0;
  T widest = -1;
  for (int64_t d = 0; d < dims_; ++d) {
    T low, high;
    search_kernels<T>().extent(columns_.get() + d * slots_ + range.begin, range.count, &low, &high);
    // Halves, because the width itself may overflow.
    if (high / 2 - low / 2 > widest) {
      widest = high / 2 - low / 2;
      axis = d;
    }
  }
  if (widest == 0) {
    bool coincide = true;  // halves of the smallest numbers are zero
    for (int64_t d = 0; d < dims_ && coincide; ++d) {
      const T* column = columns_.get() + d * slots_ + range.begin;
      coincide = std::all_of(column, column + range.count, [&](T x) { return x == column[0]; });
    }
    if (coincide) {
      std::sort(ids_.get() + range.begin, ids_.get() + range.begin + range.count);
      return false;
    }
  }
  const int64_t leaves = (range.count + kLeaf - 1) / kLeaf;
  const int64_t count = power_below(leaves) * kLeaf;
  select(range, axis, count);
  *left = {range.begin, count};
  *right = {range.begin + count, range.count - count};
  return true;
}

template <typename T>
int64_t PointLeaves<T>::partition(Range range, int64_t axis, T pivot, bool or_equal) {
  T* columns[kPointDims];
  T* scratch[kPointDims];
  for (int64_t d = 0; d < dims_; ++d) {
    columns[d] = columns_.get() + d * slots_ + range.begin;
    scratch[d] = scratch_.get() + d * slots_ + range.begin;
  }
  return search_kernels<T>().partition(columns, ids_.get() + range.begin, dims_, range.count, axis, pivot, or_equal,
                                       scratch, scratch_ids_.get() + range.begin);
}

// Moves points until the first `left` of the range are not above the others along the axis.
template <typename T>
void PointLeaves<T>::select(Range range, int64_t axis, int64_t left) {
  constexpr int64_t kBisected = 1024;  // up to here a pivot is bisected for, which costs less than another partition
  constexpr int64_t kSample = 128;
  const SearchKernels<T>& kernels = search_kernels<T>();
  while (left > 0 && left < range.count) {
    const T* column = columns_.get() + axis * slots_ + range.begin;
    T pivot;
    if (range.count > kBisected) {
      T sample[kSample];
      const int64_t stride = range.count / kSample;
      for (int64_t i = 0; i < kSample; ++i) sample[i] = column[i * stride];
      // A little beyond the place wanted, towards the middle, so that the smaller part contains it.
      const int64_t exact = left * kSample / range.count, margin = kSample / 16;
      const int64_t place = exact < kSample / 2 ? exact + margin : exact - margin;
      std::nth_element(sample, sample + place, sample + kSample);
      pivot = sample[place];
    } else {
      T low, high;  // fewer than `left` + 1 values are below low, more than `left` below high
      kernels.extent(column, range.count, &low, &high);
      const int64_t below_high = kernels.count_below(column, range.count, high, false);
      pivot = high;
      while (below_high > left) {
        const T middle = low / 2 + high / 2;
        if (!(middle > low && middle < high)) {  // neighbouring numbers, of which low occurs more than once
          pivot = low;
          break;
        }
        const int64_t below = kernels.count_below(column, range.count, middle, false);
        if (below == left) {
          pivot = middle;
          break;
        }
        (below < left ? low : high) = middle;
      }
    }
    int64_t moved = partition(range, axis, pivot, false);
    if (moved > left) {
      range.count = moved;
      continue;
    }
    range = {range.begin + moved, range.count - moved};
    left -= moved;
    if (left == 0) return;
    // The pivot is among what remains (or all of it is above); its equals come next.
    moved = partition(range, axis, pivot, true);
    if (moved >= left) return;
    range = {range.begin + moved, range.count - moved};
    left -= moved;
  }
}

template <typename T>
void PointLeaves<T>::bound_leaves() {
  const int64_t leaves = slots_ / kLeaf, stride = leaves + kFan;
  levels_.push_back({stride, std::make_unique<T[]>(2 * dims_ * stride), std::make_unique<int32_t[]>(stride)});
  Level& level = levels_.back();
  parallel_each(tile_bound(clouds_, kLeaf), threads_, [&](int64_t t) {
    const Tile tile = locate_tile(clouds_, t, kLeaf);
    if (tile.begin < 0 || tile.begin >= finite_[tile.cloud]) return;
    for (int64_t d = 0; d < dims_; ++d) {
      search_kernels<T>().extent(column(d) + t * kLeaf, kLeaf, &level.ends[2 * d * stride + t],
                                 &level.ends[(2 * d + 1) * stride + t]);
    }
    level.lowest_ids[t] = *std::min_element(ids_.get() + t * kLeaf, ids_.get() + (t + 1) * kLeaf);
  });
}

template <typename T>
void PointLeaves<T>::bound_level(int64_t level) {
  const int64_t points = kLeaf << (4 * level), stride = tile_bound(clouds_, points) + kFan;
  levels_.push_back({stride, std::make_unique<T[]>(2 * dims_ * stride), std::make_unique<int32_t[]>(stride)});
  const Level& below = levels_[level - 1];
  Level& own = levels_[level];
  for (int64_t cloud = 0; cloud < clouds_.count; ++cloud) {
    const int64_t children = box_count(cloud, level - 1);
    for (int64_t box = 0; box < box_count(cloud, level); ++box) {
      const int64_t begin = first_box(cloud, level - 1) + box * kFan, to = first_box(cloud, level) + box;
      const int64_t end = begin + std::min(kFan, children - box * kFan);
      for (int64_t d = 0; d < dims_; ++d) {
        const T* lows = below.ends.get() + 2 * d * below.stride;
        const T* highs = lows + below.stride;
        own.ends[2 * d * stride + to] = *std::min_element(lows + begin, lows + end);
        own.ends[(2 * d + 1) * stride + to] = *std::max_element(highs + begin, highs + end);
      }
      own.lowest_ids[to] = *std::min_element(below.lowest_ids.get() + begin, below.lowest_ids.get() + end);
    }
  }
}

template class PointLeaves<float>;
template class PointLeaves<double>;

}  // namespace pointkernels
