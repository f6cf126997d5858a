// A cloud without any structure, for farthest point sampling of few points or of many coordinates.
#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "../memory/aligned_array.h"
#include "../search/search_kernels.h"
#include "../threads/team.h"
#include "candidate_list.h"
#include "farthest_point_sampling.h"

namespace pointkernels {

// Members of a team share a round if they all have so many blocks: at some 50 cycles each they take several times as
// long as it takes to share them.
inline constexpr int64_t kFewestSharedBlocks = 64;

// Points in the order of the cloud; every sample passes over all of them.
template <typename T>
class FlatCloud {
 public:
  FlatCloud(const T* points, int64_t count, int64_t dims, const std::vector<int32_t>* rows, Team& team)
      : kernels_(*isa_kernels<T>().sampling),
        team_(team),
        points_(points),
        dims_(dims),
        blocks_((count + kBlock - 1) / kBlock),
        pieces_(std::clamp<int64_t>(blocks_ / kFewestSharedBlocks, 1, team.threads())),
        packed_(blocks_ * kBlock * dims),
        smallest_(blocks_ * kBlock),
        maxima_(pieces_ * kSampleGroups),
        farthest_(pieces_) {
    search_kernels<T>().pack(points, count, dims, packed_.data());
    std::fill_n(smallest_.data(), count, rows == nullptr ? std::numeric_limits<T>::infinity() : kTaken<T>);
    std::fill(smallest_.data() + count, smallest_.data() + blocks_ * kBlock, kTaken<T>);
    if (rows == nullptr) return;
    for (const int32_t row : *rows) smallest_.data()[row] = std::numeric_limits<T>::infinity();
  }

  int64_t row(int64_t place) const { return place; }
  int64_t place(int64_t row) const { return row; }
  void take(int64_t place) { smallest_.data()[place] = kTaken<T>; }

  // Lowers all entries by `count` samples (count x D) and lists the farthest points; false if too many are equally far.
  bool lower(const T* samples, int64_t count, FarPoints<T>& far) {
    each_piece([&](int64_t piece, int64_t first, int64_t blocks) {
      kernels_.lower(packed_.data() + first * kBlock * dims_, blocks, dims_, samples, count,
                     smallest_.data() + first * kBlock, maxima_.data() + piece * kSampleGroups);
    });
    T maxima[kSampleGroups];
    kernels_.fold(maxima_.data(), pieces_ * kSampleGroups, maxima);
    const auto collect = [this](T bound, int32_t* places) {
      return kernels_.collect(smallest_.data(), blocks_, bound, places);
    };
    if (!find_far_places(maxima, collect, far)) return false;
    for (int64_t i = 0; i < far.count; ++i) {
      const int32_t row = far.rows[i] = far.places[i];
      far.distances[i] = distance(row);
      for (int64_t d = 0; d < dims_; ++d) far.coordinates[d * kSampleList + i] = points_[row * dims_ + d];
    }
    return true;
  }

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
  T distance(int64_t place) const { return smallest_.data()[place]; }

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
  const T* points_;
  int64_t dims_, blocks_, pieces_;
  AlignedArray<T> packed_, smallest_, maxima_;
  std::vector<int64_t> farthest_;
};

}  // namespace pointkernels
