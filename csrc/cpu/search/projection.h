// Projections of features onto a few directions, in which neighbours are searched first.
//
// Features of many channels mostly lie close to a surface of few dimensions. An orthogonal projection onto the
// directions in which they differ most makes no distance larger, so a candidate whose projection is farther from the
// query's than the k-th nearest found so far is none of the k nearest: it is ruled out by eight to 32 coordinates
// instead of all. The remaining candidates, mostly little more than k, are ranked by canonical distances. Bounds allow
// for every rounding (see Projection), so the result is that of looking at all coordinates, which is done where a
// projection would not pay.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "../memory/aligned_array.h"

namespace pointkernels {

inline constexpr int64_t kProjectionStep = 8;                        // the number of directions is a multiple of this,
inline constexpr int64_t kMostProjectionDims = 4 * kProjectionStep;  // and at most this

template <typename T>
struct ProjectionKernels {
  int64_t lanes;  // of a vector

  // The largest of |row - center|^2; NaN or infinite where any is.
  T (*largest_norm)(const T* rows, int64_t count, int64_t dims, const T* center);

  // Makes each row a unit vector orthogonal to the rows before it, up to rounding, or zero where it depends on them.
  void (*orthonormalize)(T* rows, int64_t count, int64_t dims);

  // Canonical squared distances from a query to those of the points (rows of `dims`) that ids name. Reads ids and
  // writes distances only up to `count`, rounded up to kBlock.
  void (*distances_to)(const T* points, int64_t dims, const T* query, const int32_t* ids, int64_t count, T* distances);
};

// The points of a cloud and the queries among them, projected.
template <typename T>
class Projection {
 public:
  // Of a cloud that must be searched as it is.
  Projection() = default;

  // `stretch` is at least the projection's norm, and `radius` at least the distance of all rows from the centre that is
  // subtracted from them. A coordinate of a projection is a chain of `dims` roundings, off by at most (dims + 2) u
  // |row|.
  Projection(int64_t dims, int64_t projection_dims, double stretch, double radius, AlignedArray<T> blocks,
             AlignedArray<T> queries)
      : dims_(projection_dims),
        blocks_(std::move(blocks)),
        queries_(std::move(queries)),
        stretch_(stretch * (1 + 2 * static_cast<double>(dims + 4) * kRounding)),
        slack_(2.2 * radius * std::sqrt(static_cast<double>(projection_dims)) * static_cast<double>(dims + 4) *
               kRounding),
        inflation_(1 + 4 * static_cast<double>(projection_dims + 4) * kRounding) {}

  bool exists() const { return dims_ > 0; }
  int64_t dims() const { return dims_; }
  const T* blocks() const { return blocks_.data(); }
  const T* queries() const { return queries_.data(); }  // (queries, dims())

  // No point at a canonical squared distance of up to `distance` has a projection at a larger one than this.
  T bound(T distance) const {
    const double length = stretch_ * std::sqrt(static_cast<double>(distance)) + slack_;
    return static_cast<T>(length * length * inflation_);
  }

 private:
  static constexpr double kRounding = std::numeric_limits<T>::epsilon() / 2;

  int64_t dims_ = 0;
  AlignedArray<T> blocks_, queries_;
  double stretch_ = 1, slack_ = 0, inflation_ = 1;
};

// The search in one cloud that a projection is chosen for.
template <typename T>
struct ProjectedSearch {
  const T* points;
  int64_t count;
  const T* queries;  // the points themselves, unless `separate`
  int64_t query_count;
  bool separate;
  int64_t dims, neighbor_count;
};

// Whether a projection can pay at all, by the sizes alone.
bool projection_may_pay(int64_t largest_cloud, int64_t dims, int64_t neighbor_count);

// The projection that is expected to make a search fastest, if any does. With `always`, one wherever its bounds hold.
template <typename T>
Projection<T> projection_for(const ProjectedSearch<T>& search, bool always);

}  // namespace pointkernels
