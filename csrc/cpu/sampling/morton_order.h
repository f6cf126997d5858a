// Points along a Z-order (Morton) curve: points that follow each other lie close together.
//
// Only locality comes from the order: whatever is built on it must be right for any permutation.
#pragma once

#include <cstdint>

#include "../threads/team.h"

namespace pointkernels {

inline constexpr int64_t kMaxMortonDims = 4;

// Which rows of `points` (rows x dims, 1 <= dims <= kMaxMortonDims), in their order along the curve; rows in one cell
// of it stay as they were.
//
// chosen: `count` ascending numbers of rows without NaN; nullptr: all rows, count of them. Infinite coordinates count
// as the largest finite ones. order receives `count` numbers; scratch has room for 2 * count. The members of the team
// share the work, and the order is the same for any number of them.
template <typename T>
void sort_along_morton_curve(const T* points, int64_t rows, int64_t dims, const int32_t* chosen, int64_t count,
                             int32_t* order, uint64_t* scratch, Team& team);

}  // namespace pointkernels
