// A copy of all clouds in blocks of kBlock points, coordinate by coordinate: what the vector loops read.
#pragma once

#include <memory>

#include "../threads/parallel.h"
#include "search_kernels.h"

namespace pointkernels {

inline constexpr int64_t kPackRows = 512;  // rows that one unit of packing work copies

inline int64_t blocks_of(int64_t points) { return (points + kBlock - 1) / kBlock; }

// Candidates of all clouds, in blocks; cloud c's blocks start at first_tile(clouds, c, kBlock).
template <typename T>
class PackedClouds {
 public:
  // Makes room only.
  PackedClouds(const T* points, const Clouds& clouds, int64_t dims)
      : points_(points),
        clouds_(clouds),
        dims_(dims),
        blocks_(new T[tile_bound(clouds, kBlock) * kBlock * dims]),
        queue_(work_queue_of(tile_bound(clouds, kPackRows))) {}

  int64_t units() const { return queue_.count(); }

  // Copies, together with the other threads that call it, and returns when all is copied.
  void pack() {
    pack([](int64_t) { return true; });
  }

  // The same, but for clouds that are not wanted.
  template <typename Wanted>
  void pack(const Wanted& wanted) {
    queue_.each([&](int64_t t) {
      const Tile tile = locate_tile(clouds_, t, kPackRows);
      if (tile.begin >= tile.end || !wanted(tile.cloud)) return;
      const T* rows = points_ + (clouds_.first(tile.cloud) + tile.begin) * dims_;
      T* blocks = blocks_.get() + first_tile(clouds_, tile.cloud, kBlock) * kBlock * dims_ + tile.begin * dims_;
      search_kernels<T>().pack(rows, tile.end - tile.begin, dims_, blocks);
    });
    queue_.wait();
  }

  const T* cloud_blocks(int64_t cloud) const {
    return blocks_.get() + first_tile(clouds_, cloud, kBlock) * kBlock * dims_;
  }

 private:
  const T* points_;
  Clouds clouds_;
  int64_t dims_;
  std::unique_ptr<T[]> blocks_;
  WorkQueue queue_;
};

}  // namespace pointkernels
