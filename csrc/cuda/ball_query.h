// Launcher of the ball query kernel. Pointers are to device memory of the current device, owned by the caller and in
// use until the work on `stream` is done. Instantiated for float and double.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "../common/clouds.h"

namespace pointkernels::cuda {

template <typename T>
struct BallQueryArguments {
  const T* points;  // (clouds.rows, dims)
  const T* query;   // (query_clouds.rows, dims)
  Clouds clouds;
  Clouds query_clouds;
  int64_t dims;  // >= 1
  T squared_radius;
  int64_t k;          // >= 1
  bool include_self;  // false: query i of a cloud has no neighbour i
  int64_t* indices;   // (query_clouds.rows, k)
  T* distances;       // (query_clouds.rows, k)
};

// Writes every element of indices and distances: -1 and infinity where a query has fewer than k neighbours and in rows
// that belong to no cloud. Needs at least one cloud and one query row; no workspace.
template <typename T>
cudaError_t launch_ball_query(const BallQueryArguments<T>& arguments, cudaStream_t stream);

}  // namespace pointkernels::cuda
