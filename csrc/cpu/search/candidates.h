// How the inner loops see points: in blocks, coordinate by coordinate.
#pragma once

#include <cstdint>

namespace pointkernels {

// Points are kept in blocks of this many, coordinate by coordinate: one AVX-512 register of floats.
inline constexpr int64_t kBlock = 16;
// Points of a leaf of the sorted order (point_leaves.h).
inline constexpr int64_t kLeaf = 64;
inline constexpr int64_t kLeafBlocks = kLeaf / kBlock;
// Boxes that are looked at together, which is also the fan-out of the tree over leaves.
inline constexpr int64_t kFan = 16;

// A sequence of blocks. Coordinate d of slot s of block b lies at coordinates[b * block_stride + d * coordinate_stride
// + s]. Slots without a point hold NaN, whose distance no bound admits.
template <typename T>
struct Candidates {
  const T* coordinates;
  int64_t block_stride, coordinate_stride, dims;
  const int32_t* ids;     // of slots, without first_id
  const int32_t* leaves;  // the blocks are those of these leaves, or nullptr: the first block_count blocks
  int64_t block_count;
  int32_t first_id;
};

// Axis-aligned boxes: the lower end of box b in coordinate d lies at ends[2 * d * stride + b], the upper one at
// ends[(2 * d + 1) * stride + b]. Reading past the last box, up to a multiple of kFan, must be allowed.
template <typename T>
struct Boxes {
  const T* ends;
  int64_t stride, dims;
};

// Leaves that a query still has to look at, with their boxes in the same order.
template <typename T>
struct LeafList {
  Candidates<T> candidates;
  Boxes<T> boxes;
  int64_t count;
};

}  // namespace pointkernels
