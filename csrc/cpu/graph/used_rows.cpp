// The operator _used_rows on the CPU (see library.cpp).
#include "used_rows.h"

namespace pointkernels {

namespace {

Tensor used_rows(const Tensor& neighbors, int64_t cloud_size) {
  check_integers(neighbors, "neighbors", 2);
  const int64_t rows = neighbors.size(0);
  STD_TORCH_CHECK(rows == 0 || (cloud_size > 0 && rows % cloud_size == 0), rows,
                  " rows cannot be split into clouds of ", cloud_size);
  Tensor used = torch::stable::new_empty(neighbors, {rows}, ScalarType::Bool);
  CheckedLists(neighbors, cloud_size).mark_used(used.mutable_data_ptr<bool>());
  return used;
}

}  // namespace

}  // namespace pointkernels

STABLE_TORCH_LIBRARY_IMPL(pointkernels, CPU, library) {
  library.impl("_used_rows", TORCH_BOX(&pointkernels::used_rows));
}
