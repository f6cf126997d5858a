// The operator _used_rows on CUDA (see library.cpp).
#include "binding.h"
#include "used_rows.h"

namespace pointkernels::cuda {

namespace {

Tensor used_rows(const Tensor& neighbors, int64_t cloud_size) {
  const DeviceGuard guard(neighbors.get_device_index());
  check_integers(neighbors, "neighbors", 2);
  const int64_t rows = neighbors.size(0);
  STD_TORCH_CHECK(rows == 0 || (cloud_size > 0 && rows % cloud_size == 0), rows,
                  " rows cannot be split into clouds of ", cloud_size);
  Tensor used = torch::stable::new_empty(neighbors, {rows}, ScalarType::Bool);
  STD_CUDA_CHECK(launch_used_rows(neighbors.const_data_ptr<int64_t>(), rows, neighbors.size(1), cloud_size,
                                  used.mutable_data_ptr<bool>(), current_stream(neighbors)));
  return used;
}

}  // namespace

}  // namespace pointkernels::cuda

STABLE_TORCH_LIBRARY_IMPL(pointkernels, CUDA, library) {
  library.impl("_used_rows", TORCH_BOX(&pointkernels::cuda::used_rows));
}
