// How a batch of clouds lies in memory.
//
// All points of a batch are the rows of one (rows, D) matrix. Without `extents` the rows are split evenly over the
// clouds (the dense (B, N, D) case); with them, row c of the (B, 2) table holds the first row and the number of rows of
// cloud c, which describes padded batches and packed ones without copying either. First rows never decrease and clouds
// never overlap.
//
// Work is cut into tiles of consecutive rows of one cloud. tile_bound() and locate_tile() map a tile number to its
// cloud without a prefix sum: cloud c's tiles are numbered from floor(first(c) / height) + c, which leaves it at least
// ceil(size(c) / height) numbers, since floor((f + s) / h) + 1 - floor(f / h) >= ceil(s / h). A few numbers stay
// unused; their tiles are empty.
#pragma once

#include <cstdint>

#include "macros.h"

namespace pointkernels {

struct Clouds {
  const int64_t* extents;  // (count, 2) or nullptr
  int64_t count;
  int64_t rows;
  int64_t cloud_rows;  // of each cloud without `extents`: a quotient that no kernel has to find

  PK_HOST_DEVICE int64_t first(int64_t cloud) const {
    return extents != nullptr ? extents[2 * cloud] : cloud * cloud_rows;
  }
  PK_HOST_DEVICE int64_t size(int64_t cloud) const { return extents != nullptr ? extents[2 * cloud + 1] : cloud_rows; }
  // The most rows that a cloud can have; the numbers in `extents` may be on another device.
  PK_HOST_DEVICE int64_t size_bound() const { return extents != nullptr ? rows : cloud_rows; }
};

struct Tile {
  int64_t cloud;
  int64_t begin;  // rows of the cloud, relative to its first; negative before the first cloud
  int64_t end;    // begin >= end: nothing to do
};

PK_HOST_DEVICE inline int64_t tile_bound(const Clouds& clouds, int64_t height) {
  return clouds.rows / height + clouds.count;
}

// The number from which cloud c counts its tiles of `height` rows. Also the place of its first block where rows are
// copied into blocks of `height`.
PK_HOST_DEVICE inline int64_t first_tile(const Clouds& clouds, int64_t cloud, int64_t height) {
  return clouds.first(cloud) / height + cloud;
}

PK_HOST_DEVICE inline Tile locate_tile(const Clouds& clouds, int64_t tile, int64_t height) {
  int64_t low = 0;  // the last cloud whose first tile is not beyond `tile`
  int64_t high = clouds.count;
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    if (first_tile(clouds, middle, height) <= tile) {
      low = middle;
    } else {
      high = middle;
    }
  }
  const int64_t size = clouds.size(low);
  const int64_t begin = (tile - first_tile(clouds, low, height)) * height;
  if (begin < 0) return Tile{low, begin, begin};  // numbers below those of the first cloud stay unused, too
  const int64_t end = begin + height;
  return Tile{low, begin, end < size ? end : size};
}

}  // namespace pointkernels
