// kNN of points of up to four coordinates by looking at near leaves only (point_leaves.h).
//
// Queries come in leaves of their own. For all queries of such a leaf together: the leaves nearest to its box are found
// in the tree, and each query's distances to their points give a bound on its k-th distance (see groups_for). Then the
// other leaves within the largest bound are listed, and each query looks at those within its own. Box distances are
// lower bounds bit for bit, so what is left out could not have been chosen; where a distance equals the bound, the leaf
// is looked at, and the ids decide. Leaves and boxes rank by (distance, lowest id), so that among many points that
// coincide those that win are found first and the others are left out.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "isa.h"
#include "point_leaves.h"
#include "ranking.h"

namespace pointkernels {

template <typename T>
class LeafSearch {
 public:
  LeafSearch(const PointLeaves<T>& points, const Clouds& clouds, const T* rows, int64_t given_dims, int64_t k,
             int64_t wanted)
      : isa_(isa_kernels<T>()),
        points_(points),
        clouds_(clouds),
        rows_(rows),
        given_dims_(given_dims),
        k_(k),
        wanted_(wanted),
        first_leaves_(first_leaves_for(wanted)),
        row_(first_leaves_ * kLeaf),
        groups_(groups_for(wanted, row_)),
        capacity_(2 * wanted + kSlack + row_ + kLeaf + 2 * kBlock),
        ranking_(k, wanted),
        distances_(kPointTile * row_),
        minima_(kPointTile * std::max(groups_, int64_t{1})),
        admitted_(kLeaf * capacity_),
        ids_(kLeaf * capacity_),
        near_(first_leaves_) {}

  // Neighbours of the queries in one of their leaves, written to the rows of their ids. The leaf's number counts within
  // the cloud. With `excluding`, a query is point number id of the same cloud, and no neighbour of itself.
  void run(const PointLeaves<T>& queries, int64_t cloud, int64_t leaf, bool excluding, T* distances, int64_t* indices) {
    const int64_t at = queries.first_box(cloud, 0) + leaf, size = queries.leaf_size(cloud, leaf);
    const int64_t wanted = std::min(wanted_, clouds_.size(cloud));
    const Boxes<T> boxes = queries.boxes(0);
    T low[kPointDims], high[kPointDims];
    for (int64_t d = 0; d < boxes.dims; ++d) {
      low[d] = boxes.ends[2 * d * boxes.stride + at];
      high[d] = boxes.ends[(2 * d + 1) * boxes.stride + at];
    }
    find_nearest_leaves(cloud, low, high);
    Reach reach = look_at_nearest(queries, at * kLeaf, size, wanted);
    list_leaves_within(cloud, low, high, reach);
    for (int64_t q = 0; q < size; ++q) {
      const int64_t id = queries.ids()[at * kLeaf + q];
      finish(cloud, query(queries, at * kLeaf + q), q, wanted);
      ranking_.write(excluding ? id : -1, distances + id * k_, indices + id * k_);
    }
  }

  // The neighbours of a query that is in no leaf.
  void run_alone(const T* query, int64_t cloud, int64_t excluded, T* distances, int64_t* indices) {
    ranking_.scan(rows_ + clouds_.first(cloud) * given_dims_, clouds_.size(cloud), given_dims_, query,
                  std::min(wanted_, clouds_.size(cloud)));
    ranking_.write(excluded, distances, indices);
  }

 private:
  static constexpr int64_t kSlack = 64;  // survivors beyond 2 k before they are reduced to k

  // A box and its distance to the queries.
  struct Near {
    T distance;
    int32_t lowest_id;
    int32_t level;
    int64_t box;
  };
  // The farthest that any query of the leaf still has to look.
  struct Reach {
    T distance;
    int32_t id;
  };
  struct Query {
    T coordinates[kPointDims];
  };

  // Measured at k = 1 to 64 on cubes and surfaces of 16k to 1M points: fewer leave loose bounds, more cost distances.
  static int64_t first_leaves_for(int64_t wanted) {
    if (wanted <= 32) return std::max<int64_t>(2, (wanted + 3) / 4 + 3);
    return std::max(std::min(wanted / 4, int64_t{32}), wanted / 16);
  }

  static bool farther(const Near& a, const Near& b) {
    return a.distance > b.distance || (a.distance == b.distance && a.lowest_id > b.lowest_id);
  }
  static bool within(const Near& a, const Reach& reach) {
    return a.distance < reach.distance || (a.distance == reach.distance && a.lowest_id <= reach.id);
  }

  static Query query(const PointLeaves<T>& queries, int64_t slot) {
    Query found;
    for (int64_t d = 0; d < queries.dims(); ++d) found.coordinates[d] = queries.column(d)[slot];
    return found;
  }

  // Calls use(near) for the children [begin, end) of a box at `level`, with their distances.
  template <typename Use>
  void visit(int64_t cloud, int64_t level, int64_t begin, const T* low, const T* high, const Use& use) {
    T distances[kFan];
    const int64_t end = std::min(begin + kFan, points_.box_count(cloud, level));
    const int64_t first = points_.first_box(cloud, level) + begin;
    isa_.box_distances(low, high, points_.boxes(level), first, distances);
    for (int64_t child = begin; child < end; ++child) {
      use(Near{distances[child - begin], points_.lowest_ids(level)[first + child - begin], static_cast<int32_t>(level),
               child});
    }
  }

  // Leaves the first_leaves_ nearest leaves in near_, and in heap_ boxes that cover all the others.
  void find_nearest_leaves(int64_t cloud, const T* low, const T* high) {
    near_.clear();
    heap_.clear();
    const auto push = [&](const Near& box) { heap_.push_back(box); };
    visit(cloud, points_.top_level(cloud), 0, low, high, push);
    std::make_heap(heap_.begin(), heap_.end(), farther);
    while (!heap_.empty() && static_cast<int64_t>(near_.size()) < first_leaves_) {
      std::pop_heap(heap_.begin(), heap_.end(), farther);
      const Near box = heap_.back();
      heap_.pop_back();
      if (box.level == 0) {
        near_.push_back(static_cast<int32_t>(points_.first_box(cloud, 0) + box.box));
        continue;
      }
      visit(cloud, box.level - 1, box.box * kFan, low, high, [&](const Near& child) {
        heap_.push_back(child);
        std::push_heap(heap_.begin(), heap_.end(), farther);
      });
    }
  }

  // Admits what the nearest leaves have for each query.
  Reach look_at_nearest(const PointLeaves<T>& queries, int64_t slot, int64_t size, int64_t wanted) {
    const int64_t leaves = static_cast<int64_t>(near_.size()), row = leaves * kLeaf;
    const int64_t groups = 2 * groups_ <= row ? groups_ : 0;
    const Candidates<T> candidates{points_.column(0), kBlock,       points_.slots(),      points_.dims(),
                                   points_.ids(),     near_.data(), leaves * kLeafBlocks, 0};
    Reach reach{-1, -1};
    for (int64_t begin = 0; begin < size; begin += kPointTile) {
      T tile[kPointDims * kPointTile];
      for (int64_t d = 0; d < points_.dims(); ++d) {
        for (int64_t q = 0; q < kPointTile; ++q) {
          tile[d * kPointTile + q] = queries.column(d)[slot + std::min(begin + q, size - 1)];
        }
      }
      isa_.distances(tile, kPointTile, candidates, distances_.data(), row, groups > 0 ? minima_.data() : nullptr,
                     groups > 0 ? groups : kLeaf);
      T* bounds = guesses_;
      if (groups > 0) {
        isa_.thresholds(minima_.data(), groups, groups, wanted, bounds);
      } else {
        isa_.thresholds(distances_.data(), row, row, wanted, bounds);
      }
      for (int64_t q = 0; q < std::min(kPointTile, size - begin); ++q) {
        T* admitted = admitted_.data() + (begin + q) * capacity_;
        int32_t* ids = ids_.data() + (begin + q) * capacity_;
        int64_t found = isa_.admit(distances_.data() + q * row, candidates, bounds[q], admitted, ids, 0);
        Reach own{bounds[q], std::numeric_limits<int32_t>::max()};
        if (found > 2 * wanted + kSlack) {
          const Candidate<T> last = ranking_.keep(admitted, ids, found, wanted);
          own = {last.distance, last.index};
          found = wanted;
        }
        bounds_[begin + q] = own.distance;
        found_[begin + q] = found;
        if (own.distance > reach.distance || (own.distance == reach.distance && own.id > reach.id)) reach = own;
      }
    }
    return reach;
  }

  // Lists the other leaves within reach, with their boxes side by side.
  void list_leaves_within(int64_t cloud, const T* low, const T* high, const Reach& reach) {
    listed_.clear();
    while (!heap_.empty()) {
      const Near box = heap_.back();
      heap_.pop_back();
      if (!within(box, reach)) continue;
      if (box.level == 0) {
        listed_.push_back(static_cast<int32_t>(points_.first_box(cloud, 0) + box.box));
        continue;
      }
      visit(cloud, box.level - 1, box.box * kFan, low, high, [&](const Near& child) {
        if (within(child, reach)) heap_.push_back(child);
      });
    }
    const int64_t ends = 2 * points_.dims(), count = static_cast<int64_t>(listed_.size());
    const Boxes<T> boxes = points_.boxes(0);
    stride_ = (count + kFan - 1) / kFan * kFan;
    listed_ends_.resize(ends * stride_);
    for (int64_t e = 0; e < ends; ++e) {
      for (int64_t i = 0; i < count; ++i) listed_ends_[e * stride_ + i] = boxes.ends[e * boxes.stride + listed_[i]];
    }
  }

  // Admits what the listed leaves have for query number q of the leaf, and ranks.
  void finish(int64_t cloud, const Query& query, int64_t q, int64_t wanted) {
    const LeafList<T> list{
        {points_.column(0), kBlock, points_.slots(), points_.dims(), points_.ids(), listed_.data(), 0, 0},
        {listed_ends_.data(), stride_, points_.dims()},
        static_cast<int64_t>(listed_.size())};
    T* admitted = admitted_.data() + q * capacity_;
    int32_t* ids = ids_.data() + q * capacity_;
    int64_t found = found_[q];
    for (int64_t next = 0; next < list.count;) {
      found = isa_.admit_leaves(query.coordinates, list, bounds_[q], admitted, ids, found, capacity_, &next);
      if (next < list.count) {
        bounds_[q] = ranking_.keep(admitted, ids, found, wanted).distance;
        found = wanted;
      }
    }
    if (ranking_.rank(admitted, ids, found, wanted) == wanted && ranking_.all_finite()) return;
    // Points that are in no leaf may be among the neighbours.
    ranking_.scan(rows_ + clouds_.first(cloud) * given_dims_, clouds_.size(cloud), given_dims_, query.coordinates,
                  wanted);
  }

  const IsaKernels<T>& isa_;
  const PointLeaves<T>& points_;
  Clouds clouds_;
  const T* rows_;
  int64_t given_dims_, k_, wanted_, first_leaves_, row_, groups_, capacity_, stride_ = 0;
  Ranking<T> ranking_;
  std::vector<T> distances_, minima_, admitted_;
  std::vector<int32_t> ids_, near_, listed_;
  std::vector<Near> heap_;
  std::vector<T> listed_ends_;
  T guesses_[kPointTile] = {}, bounds_[kLeaf];
  int64_t found_[kLeaf];
};

}  // namespace pointkernels
