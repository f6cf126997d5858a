// Launcher of the reverse graph kernels. Pointers are to device memory of the current device, owned by the caller and
// in use until the work on `stream` is done.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace pointkernels::cuda {

struct ReverseGraphArguments {
  const int64_t* neighbors;  // (queries, k), -1 or within [0, cloud_size)
  int64_t queries;
  int64_t k;
  int64_t query_size;  // query rows of a cloud
  int64_t cloud_size;
  int64_t rows;      // >= (queries / query_size) * cloud_size
  void* workspace;   // reverse_graph_workspace() bytes, 8-byte aligned
  int64_t* offsets;  // (rows + 1)
  int64_t* edges;    // (queries * k)
};

// Bytes of workspace: as many as `edges` has, plus at most 1 MiB.
int64_t reverse_graph_workspace(int64_t queries, int64_t k);

// Writes offsets and the first offsets[rows] edges. queries * k may be 0.
cudaError_t launch_reverse_graph(const ReverseGraphArguments& arguments, cudaStream_t stream);

}  // namespace pointkernels::cuda
