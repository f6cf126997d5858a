// Launcher of the farthest point sampling kernel. Pointers are to device memory of the current device, owned by the
// caller and in use until the work on `stream` is done. Instantiated for float and double.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "../common/clouds.h"

namespace pointkernels::cuda {

template <typename T>
struct FarthestPointSamplingArguments {
  const T* points;  // (clouds.rows, dims)
  Clouds clouds;    // at most 2^31 - 1 points each
  int64_t dims;     // >= 1
  int64_t num_samples;
  const int64_t* start;  // (clouds.count): within the cloud; not looked at for an empty one
  void* workspace;       // farthest_point_sampling_workspace() bytes, nullptr when that is 0
  int64_t* samples;      // (clouds.count, num_samples)
};

// Bytes of workspace: 0 if the points are three-dimensional and surely fit in the registers of a block, else a number
// per row, aligned as T.
template <typename T>
int64_t farthest_point_sampling_workspace(const Clouds& clouds, int64_t dims);

// Writes every element of samples, -1 past the size of a cloud. Needs at least one cloud and one sample.
template <typename T>
cudaError_t launch_farthest_point_sampling(const FarthestPointSamplingArguments<T>& arguments, cudaStream_t stream);

}  // namespace pointkernels::cuda
