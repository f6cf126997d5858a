// The arguments that neighbour searches have in common, checked alike on all devices.
#pragma once

#include <cstdint>
#include <optional>

#include "tensors.h"

namespace pointkernels {

struct SearchArguments {
  const Tensor& queries;  // the points themselves where no others are given
  Clouds clouds, query_clouds;
};

// The values of extents are not looked at.
inline SearchArguments search_arguments(const Tensor& points, const std::optional<Tensor>& extents,
                                        const std::optional<Tensor>& query, const std::optional<Tensor>& query_extents,
                                        int64_t cloud_count, int64_t k) {
  check_floating(points, "points", 2);
  const Tensor& queries = query.has_value() ? *query : points;
  check_like(queries, "query", 2, points);
  STD_TORCH_CHECK(queries.size(1) == points.size(1), "query and points must have the same number of coordinates");
  STD_TORCH_CHECK(points.size(1) >= 1 && k >= 1, "k and the number of coordinates must be at least 1");
  const Clouds clouds = clouds_of(points, extents, cloud_count);
  return {queries, clouds, query.has_value() ? clouds_of(queries, query_extents, cloud_count) : clouds};
}

}  // namespace pointkernels
