// Images of features in a few coordinates, in which neighbours are looked for first.
//
// Features of many channels mostly lie close to a surface of few dimensions. An orthogonal projection onto the
// directions in which they differ most makes no distance larger, so a candidate whose image is farther from the query's
// than the k-th nearest found so far is none of the k nearest: it is ruled out by eight to 32 coordinates instead of
// all. What is left, mostly little more than k, is ranked by canonical distances. Bounds allow for every rounding (see
// Image), so the result is that of looking at all coordinates, which is done where a projection would not pay.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "../memory/aligned_array.h"

namespace pointkernels {

inline constexpr int64_t kImageStep = 8;                   // images have a multiple of so many coordinates,
inline constexpr int64_t kMostImageDims = 4 * kImageStep;  // up to this many

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
class Image {
 public:
  // Of a cloud that must be searched as it is.
  Image() = default;

  // `stretch` is at least the projection's norm, and `radius` at least the distance of all rows from the centre that is
  // subtracted from them. A coordinate of an image is a chain of `dims` roundings, off by at most (dims + 2) u |row|.
  Image(int64_t dims, int64_t image_dims, double stretch, double radius, AlignedArray<T> blocks,
        AlignedArray<T> queries)
      : dims_(image_dims),
        blocks_(std::move(blocks)),
        queries_(std::move(queries)),
        stretch_(stretch * (1 + 2 * static_cast<double>(dims + 4) * kRounding)),
        slack_(2.2 * radius * std::sqrt(static_cast<double>(image_dims)) * static_cast<double>(dims + 4) * kRounding),
        inflation_(1 + 4 * static_cast<double>(image_dims + 4) * kRounding) {}

  bool exists() const { return dims_ > 0; }
  int64_t dims() const { return dims_; }
  const T* blocks() const { return blocks_.data(); }
  const T* queries() const { return queries_.data(); }  // (queries, dims())

  // No point at a canonical squared distance of up to `distance` has an image at a larger one than this.
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

// What is searched in a cloud.
template <typename T>
struct ProjectedSearch {
  const T* points;
  int64_t count;
  const T* queries;  // the points themselves, unless `separate`
  int64_t query_count;
  bool separate;
  int64_t dims, wanted;
};

// Whether images can pay at all for clouds of so many points.
bool projection_may_pay(int64_t largest_cloud, int64_t dims, int64_t wanted);

// The image that is expected to make a search fastest, if any does. `always`: one wherever bounds hold.
template <typename T>
Image<T> image_for(const ProjectedSearch<T>& search, bool always);

}  // namespace pointkernels
