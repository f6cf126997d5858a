// The points among which one round of farthest point sampling picks its samples.
#pragma once

#include <cstdint>
#include <limits>

#include "farthest_point_sampling.h"

namespace pointkernels {

// The entry of a sample, of a point that is none, and of the places that fill up the last block: below every distance.
template <typename T>
constexpr T kTaken = -std::numeric_limits<T>::infinity();

// All points of a cloud whose distance to the samples reaches a bound.
template <typename T>
struct FarPoints {
  T bound;
  int64_t count;
  int32_t places[kSampleList + 3];  // in the cloud's own numbering
  int32_t rows[kSampleList];
  T distances[kSampleList];
  T* coordinates;  // D x kSampleList
};

// Finds the bound from the largest distances of disjoint groups of points, and the points by collect(bound, places).
// False when too many are equally far.
template <typename T, typename Collect>
bool find_far_places(const T* maxima, const Collect& collect, FarPoints<T>& far) {
  // How many of the group maxima reach the bound; fewer when too many points do.
  for (const int64_t reaching : {32, 16, 8, 1}) {
    far.bound = isa_kernels<T>().sampling->bound(maxima, kSampleGroups, reaching);
    far.count = collect(far.bound, far.places);
    if (far.count <= kSampleList) return true;
  }
  return false;
}

}  // namespace pointkernels
