// Launcher of the used rows kernel. Pointers are to device memory of the current device, owned by the caller and in use
// until the work on `stream` is done.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace pointkernels::cuda {

// used (rows): whether a row of neighbors (rows, k) has an entry that is not -1, or is one. Entries must be -1 or
// within [0, cloud_size). rows and k may be 0.
cudaError_t launch_used_rows(const int64_t* neighbors, int64_t rows, int64_t k, int64_t cloud_size, bool* used,
                             cudaStream_t stream);

}  // namespace pointkernels::cuda
