// Points along a Z-order (Morton) curve: points that follow each other lie close together.
//
// Only locality comes from the order: whatever is built on it must be right for any permutation.
#pragma once

#include <cstdint>
#include <vector>

namespace pointkernels {

inline constexpr int64_t kMaxMortonDims = 4;

// Sorts `order`, which holds ascending indices of rows of `points` (rows x dims, 1 <= dims <= kMaxMortonDims), by their
// place on the curve; rows in one cell of it stay as they were. Infinite coordinates count as the largest finite ones;
// there must be no NaN among the rows of `order`. The work is shared by up to `threads` threads.
template <typename T>
void sort_along_morton_curve(const T* points, int64_t rows, int64_t dims, std::vector<int32_t>& order, int64_t threads);

}  // namespace pointkernels
