// The operator farthest_point_sampling on CUDA (see library.cpp).
#include <limits>

#include "binding.h"
#include "farthest_point_sampling.h"

namespace pointkernels::cuda {

namespace {

template <typename T>
void sample(const Tensor& points, const Clouds& clouds, const Tensor& start, const Tensor& samples) {
  const int64_t bytes = farthest_point_sampling_workspace<T>(clouds, points.size(1));
  const Tensor workspace = torch::stable::new_empty(points, {bytes}, ScalarType::Byte);
  const FarthestPointSamplingArguments<T> arguments{points.const_data_ptr<T>(),
                                                    clouds,
                                                    points.size(1),
                                                    samples.size(1),
                                                    start.const_data_ptr<int64_t>(),
                                                    bytes > 0 ? workspace.mutable_data_ptr() : nullptr,
                                                    samples.mutable_data_ptr<int64_t>()};
  STD_CUDA_CHECK(launch_farthest_point_sampling(arguments, current_stream(points)));
}

Tensor farthest_point_sampling(const Tensor& points, std::optional<Tensor> extents, const Tensor& start,
                               int64_t cloud_count, int64_t num_samples) {
  const DeviceGuard guard(points.get_device_index());
  check_floating(points, "points", 2);
  check_integers(start, "start", 1);
  check_device(start, "start", points);
  check_device(extents, "extents", points);
  STD_TORCH_CHECK(points.size(1) >= 1, "the number of coordinates must be at least 1");
  STD_TORCH_CHECK(num_samples >= 0, "num_samples must not be negative, got ", num_samples);
  STD_TORCH_CHECK(start.size(0) == cloud_count, "start must have one entry a cloud");
  const Clouds clouds = clouds_of(points, extents, cloud_count);
  const int64_t largest = cloud_count == 0 ? 0 : extents.has_value() ? points.size(0) : points.size(0) / cloud_count;
  STD_TORCH_CHECK(largest <= std::numeric_limits<int32_t>::max(), "a cloud can have at most 2^31 - 1 points, got ",
                  largest);
  Tensor samples = empty_integers(points, cloud_count, num_samples);
  if (cloud_count > 0 && num_samples > 0) {
    const auto run = is_float32(points) ? cuda::sample<float> : cuda::sample<double>;
    run(points, clouds, start, samples);
  }
  return samples;
}

}  // namespace

}  // namespace pointkernels::cuda

STABLE_TORCH_LIBRARY_IMPL(pointkernels, CUDA, library) {
  library.impl("farthest_point_sampling", TORCH_BOX(&pointkernels::cuda::farthest_point_sampling));
}
