// kNN by looking at every candidate: for small clouds and for features.
//
// A tile of queries computes its distances to a chunk of candidates; a bound that at least k of them do not exceed
// admits few of them (see groups_for); the survivors of all chunks are ranked. Nothing is stored but a tile of rows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <numeric>
#include <vector>

#include "../common/clouds.h"
#include "packed_clouds.h"
#include "ranking.h"

namespace pointkernels {

template <typename T>
class BruteSearch {
 public:
  BruteSearch(int64_t largest_cloud, int64_t dims, int64_t k, bool include_self)
      : isa_(isa_kernels<T>()),
        dims_(dims),
        include_self_(include_self),
        // Without the query itself, the k nearest are the k + 1 nearest less the query, if it is among them.
        wanted_(std::min(include_self ? k : k + 1, largest_cloud)),
        tile_(dims <= kPointDims ? kPointTile : kFeatureTile),
        chunk_(chunk_of(largest_cloud, dims)),
        capacity_(2 * wanted_ + kSlack + chunk_ + kBlock),
        batch_(chunk_ < largest_cloud ? std::clamp(kMostAdmitted / capacity_ / tile_ * tile_, tile_, kMostBatch)
                                      : tile_),
        ranking_(k, wanted_),
        queries_(tile_ * dims),
        distances_(tile_ * chunk_),
        minima_(tile_ * std::max(groups_for(wanted_, chunk_), int64_t{1})),
        guesses_(tile_),
        numbers_(chunk_),
        admitted_(batch_ * capacity_),
        ids_(batch_ * capacity_),
        found_(batch_),
        bounds_(batch_) {
    std::iota(numbers_.begin(), numbers_.end(), 0);
  }

  // Finds the neighbours of `count` consecutive queries, the first being number `first` of its cloud of `points`, and
  // writes them to the rows of the results from `row` on.
  void run(const T* queries, int64_t first, int64_t count, const T* points, const T* blocks, int64_t size,
           const NeighborRows<T>& results, int64_t row) {
    for (int64_t begin = 0; begin < count; begin += batch_) {
      const int64_t end = std::min(begin + batch_, count);
      std::fill(found_.begin(), found_.end(), 0);
      std::fill(bounds_.begin(), bounds_.end(), std::numeric_limits<T>::infinity());
      for (int64_t chunk = 0; chunk < size; chunk += chunk_) {
        for (int64_t q = begin; q < end; q += tile_) {
          look_at(queries + q * dims_, std::min(tile_, end - q), blocks + chunk * dims_, chunk,
                  std::min(chunk_, size - chunk), std::min(wanted_, size), q - begin);
        }
      }
      for (int64_t q = begin; q < end; ++q) {
        const int64_t at = (q - begin) * capacity_, wanted = std::min(wanted_, size);
        if (ranking_.rank(admitted_.data() + at, ids_.data() + at, found_[q - begin], wanted) < wanted) {
          ranking_.append_nan(points, size, dims_, queries + q * dims_, wanted);
        }
        ranking_.write(include_self_ ? -1 : first + q, results, row + q);
      }
    }
  }

 private:
  static constexpr int64_t kSlack = 64;            // survivors beyond 2 k before they are reduced to k
  static constexpr int64_t kMostBatch = 64;        // queries that share a chunk of candidates in cache
  static constexpr int64_t kMostAdmitted = 65536;  // entries of work space for them

  // A chunk's blocks fit half of a second-level cache of 1 MB, and the tile's distances to it the first level or little
  // more.
  static int64_t chunk_of(int64_t largest_cloud, int64_t dims) {
    const int64_t most = dims <= kPointDims ? 2048 : std::clamp<int64_t>(131072 / dims / kLeaf * kLeaf, 256, 1024);
    return std::min((largest_cloud + kBlock - 1) / kBlock * kBlock, most);
  }

  // One tile of queries against one chunk; `slot` is the tile's place in the batch.
  void look_at(const T* queries, int64_t count, const T* blocks, int64_t chunk, int64_t size, int64_t wanted,
               int64_t slot) {
    for (int64_t q = 0; q < tile_; ++q) {
      const T* query = queries + std::min(q, count - 1) * dims_;
      for (int64_t d = 0; d < dims_; ++d) queries_[d * tile_ + q] = query[d];
    }
    const int64_t row = (size + kBlock - 1) / kBlock * kBlock;
    const Candidates<T> candidates{blocks,          kBlock * dims_, kBlock,       dims_,
                                   numbers_.data(), nullptr,        row / kBlock, static_cast<int32_t>(chunk)};
    // The first chunk gives the bound, later ones lower it as they are admitted.
    const int64_t groups = chunk == 0 ? groups_for(wanted, row) : 0;
    isa_.distances(queries_.data(), tile_, candidates, distances_.data(), row, groups > 0 ? minima_.data() : nullptr,
                   groups > 0 ? groups : kLeaf);
    if (chunk == 0 && (groups > 0 || wanted + wanted / 4 < size)) {
      for (int64_t q = 0; q < tile_; q += kPointTile) {
        const T* values = groups > 0 ? minima_.data() + q * groups : distances_.data() + q * row;
        isa_.thresholds(values, groups > 0 ? groups : row, groups > 0 ? groups : row, wanted, guesses_.data() + q);
      }
      std::copy_n(guesses_.data(), count, bounds_.data() + slot);
    }
    for (int64_t q = 0; q < count; ++q) {
      T* admitted = admitted_.data() + (slot + q) * capacity_;
      int32_t* ids = ids_.data() + (slot + q) * capacity_;
      int64_t& found = found_[slot + q];
      T& bound = bounds_[slot + q];
      found = isa_.admit(distances_.data() + q * row, candidates, bound, admitted, ids, found);
      if (found > 2 * wanted + kSlack) {
        bound = std::min(bound, ranking_.keep(admitted, ids, found, wanted).distance);
        found = wanted;
      }
    }
  }

  const IsaKernels<T>& isa_;
  int64_t dims_;
  bool include_self_;
  int64_t wanted_, tile_, chunk_, capacity_, batch_;
  Ranking<T> ranking_;
  std::vector<T> queries_, distances_, minima_, guesses_;
  std::vector<int32_t> numbers_;
  std::vector<T> admitted_;
  std::vector<int32_t> ids_;
  std::vector<int64_t> found_;
  std::vector<T> bounds_;
};

}  // namespace pointkernels
