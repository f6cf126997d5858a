// The little that operators need to know about tensors, on top of torch's stable interface.
//
// User errors are found in Python, with better words; the checks here keep a direct call of an operator from reading
// memory that is not there.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "clouds.h"

namespace pointkernels {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

inline void check_floating(const Tensor& tensor, const char* name, int64_t dim) {
  STD_TORCH_CHECK(tensor.scalar_type() == ScalarType::Float || tensor.scalar_type() == ScalarType::Double, name,
                  " must be float32 or float64");
  STD_TORCH_CHECK(tensor.dim() == dim && tensor.is_contiguous(), name, " must be contiguous with ", dim, " dimensions");
}

inline void check_like(const Tensor& tensor, const char* name, int64_t dim, const Tensor& like) {
  check_floating(tensor, name, dim);
  STD_TORCH_CHECK(tensor.scalar_type() == like.scalar_type(), name, " must have the dtype of the other tensors");
}

inline void check_integers(const Tensor& tensor, const char* name, int64_t dim) {
  STD_TORCH_CHECK(tensor.scalar_type() == ScalarType::Long && tensor.dim() == dim && tensor.is_contiguous(), name,
                  " must be contiguous int64 with ", dim, " dimensions");
}

// The rows of a matrix, or of all matrices of a batch below one another.
inline int64_t rows_of(const Tensor& tensor) {
  int64_t rows = 1;
  for (int64_t d = 0; d + 1 < tensor.dim(); ++d) rows *= tensor.size(d);
  return rows;
}

inline int64_t columns_of(const Tensor& tensor) { return tensor.size(tensor.dim() - 1); }

// Not filled, with as many rows as `like` in as many matrices.
inline Tensor empty_with_columns(const Tensor& like, int64_t columns, std::optional<ScalarType> type = std::nullopt) {
  std::vector<int64_t> shape;
  for (int64_t d = 0; d + 1 < like.dim(); ++d) shape.push_back(like.size(d));
  shape.push_back(columns);
  return torch::stable::new_empty(like, shape, type);
}

// The batch that `extents` cuts out of the rows of `points`. The values of extents are not looked at.
inline Clouds clouds_of(const Tensor& points, const std::optional<Tensor>& extents, int64_t count) {
  STD_TORCH_CHECK(count >= 0, "clouds must not be negative, got ", count);
  if (!extents.has_value()) {
    STD_TORCH_CHECK(count > 0 ? points.size(0) % count == 0 : points.size(0) == 0, points.size(0),
                    " rows cannot be split evenly over ", count, " clouds");
    return Clouds{nullptr, count, points.size(0), count > 0 ? points.size(0) / count : 0};
  }
  check_integers(*extents, "extents", 2);
  STD_TORCH_CHECK(extents->size(0) == count && extents->size(1) == 2, "extents must have shape (", count, ", 2)");
  return Clouds{extents->const_data_ptr<int64_t>(), count, points.size(0), 0};
}

inline Tensor empty_integers(const Tensor& like, int64_t rows) {
  return torch::stable::new_empty(like, {rows}, ScalarType::Long);
}

inline Tensor empty_integers(const Tensor& like, int64_t rows, int64_t columns) {
  return torch::stable::new_empty(like, {rows, columns}, ScalarType::Long);
}

}  // namespace pointkernels
