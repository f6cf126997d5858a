// The one order in which candidates are ranked: ascending distance, NaN after everything, ties to the lower index.
#pragma once

#include <cstdint>

#include "macros.h"

namespace pointkernels {

template <typename T>
struct Candidate {
  T distance;
  int32_t index;
};

template <typename T>
PK_HOST_DEVICE inline bool precedes(const Candidate<T>& a, const Candidate<T>& b) {
  if (a.distance < b.distance) return true;
  if (a.distance > b.distance) return false;
  // Equal, or at least one NaN; NaN is the only value that differs from itself.
  const bool a_is_nan = a.distance != a.distance;
  const bool b_is_nan = b.distance != b.distance;
  if (a_is_nan != b_is_nan) return b_is_nan;
  return a.index < b.index;
}

}  // namespace pointkernels
