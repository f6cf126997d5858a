// Farthest point sampling on the CPU: one vectorised pass over the cloud per sample, clouds in parallel.
#include <algorithm>
#include <limits>
#include <memory>
#include <vector>

#include "isa.h"
#include "parallel.h"

namespace pointkernels {

namespace {

// Smallest squared distance to the samples, with two values below every distance: a point with a NaN coordinate comes
// after all others, a sample is never taken again.
template <typename T>
constexpr T kNanPoint = -1;
template <typename T>
constexpr T kTaken = -std::numeric_limits<T>::infinity();

template <typename T>
void sample_cloud(const T* points, int64_t count, int64_t dims, int64_t start, int64_t num_samples, int64_t* samples) {
  const int64_t blocks = (count + kBlock - 1) / kBlock;
  std::vector<T> packed(blocks * kBlock * dims);
  std::vector<T> smallest(blocks * kBlock, kTaken<T>);
  isa_kernels<T>().pack(points, count, dims, packed.data());
  for (int64_t i = 0; i < count; ++i) {
    const bool has_nan = std::any_of(points + i * dims, points + (i + 1) * dims, [](T x) { return x != x; });
    smallest[i] = has_nan ? kNanPoint<T> : std::numeric_limits<T>::infinity();
  }
  const int64_t taken = std::min(count, num_samples);
  int64_t sample = start;
  for (int64_t m = 0; m < taken; ++m) {
    samples[m] = sample;
    smallest[sample] = kTaken<T>;
    if (m + 1 < taken) {
      sample = isa_kernels<T>().lower_and_find_farthest(packed.data(), blocks, dims, points + sample * dims,
                                                        smallest.data());
    }
  }
  std::fill(samples + taken, samples + num_samples, int64_t{-1});
}

template <typename T>
void sample_clouds(const Tensor& points, const Clouds& clouds, const int64_t* start, int64_t num_samples,
                   int64_t* samples) {
  const int64_t dims = points.size(1);
  const T* rows = points.const_data_ptr<T>();
  parallel_for(clouds.count, [&](int64_t first, int64_t last) {
    for (int64_t c = first; c < last; ++c) {
      sample_cloud<T>(rows + clouds.first(c) * dims, clouds.size(c), dims, start[c], num_samples,
                      samples + c * num_samples);
    }
  });
}

Tensor farthest_point_sampling(const Tensor& points, std::optional<Tensor> extents, const Tensor& start,
                               int64_t cloud_count, int64_t num_samples) {
  check_floating(points, "points", 2);
  check_integers(start, "start", 1);
  STD_TORCH_CHECK(num_samples >= 0, "num_samples must not be negative, got ", num_samples);
  STD_TORCH_CHECK(start.size(0) == cloud_count, "start must have one entry a cloud");
  const Clouds clouds = clouds_of(points, extents, cloud_count);
  check_extents(clouds);
  const int64_t* starts = start.const_data_ptr<int64_t>();
  for (int64_t c = 0; c < clouds.count; ++c) {
    STD_TORCH_CHECK(clouds.size(c) == 0 || (starts[c] >= 0 && starts[c] < clouds.size(c)), "start of cloud ", c,
                    " must be one of its ", clouds.size(c), " points, got ", starts[c]);
    // Block numbers are carried as float32, which counts exactly to 2^24.
    STD_TORCH_CHECK(clouds.size(c) <= kBlock << 24, "a cloud can have at most 2^28 points, got ", clouds.size(c));
  }
  Tensor samples = empty_integers(points, cloud_count, num_samples);
  if (cloud_count > 0 && num_samples > 0) {
    const auto sample = points.scalar_type() == ScalarType::Float ? sample_clouds<float> : sample_clouds<double>;
    sample(points, clouds, starts, num_samples, samples.mutable_data_ptr<int64_t>());
  }
  return samples;
}

}  // namespace

}  // namespace pointkernels

STABLE_TORCH_LIBRARY_IMPL(pointkernels, CPU, library) {
  library.impl("farthest_point_sampling", TORCH_BOX(&pointkernels::farthest_point_sampling));
}
