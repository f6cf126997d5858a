// Gradient of the squared distances of kNN. Each row sums its own edges in order, so the result does not depend on the
// number of threads.
#include <algorithm>

#include "../../common/graph.h"
#include "../threads/parallel.h"

namespace pointkernels {

namespace {

// d |p - q|^2 / d q = 2 (q - p) and d |p - q|^2 / d p = 2 (p - q).
template <typename T>
void add_difference(T grad, const T* from, const T* to, int64_t dims, T* sum) {
  for (int64_t d = 0; d < dims; ++d) sum[d] += 2 * grad * (from[d] - to[d]);
}

template <typename T>
void knn_backward_of(const Tensor& grad, const Tensor& points, const Tensor& query, const NeighborLists& lists,
                     const Tensor& offsets, const Tensor& edges, const Tensor& grad_points, const Tensor& grad_query) {
  const int64_t dims = points.size(1), k = lists.k;
  const T* g = grad.const_data_ptr<T>();
  const T* p = points.const_data_ptr<T>();
  const T* q = query.const_data_ptr<T>();
  const int64_t* offset = offsets.const_data_ptr<int64_t>();
  const int64_t* edge = edges.const_data_ptr<int64_t>();
  T* grad_p = grad_points.mutable_data_ptr<T>();
  T* grad_q = grad_query.mutable_data_ptr<T>();
  parallel_for(query.size(0), [&](int64_t begin, int64_t end) {
    std::fill(grad_q + begin * dims, grad_q + end * dims, T{0});
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t s = 0; s < k; ++s) {
        const int64_t row = lists.row_of(i, s);
        if (row >= 0) add_difference(g[i * k + s], q + i * dims, p + row * dims, dims, grad_q + i * dims);
      }
    }
  });
  parallel_for(points.size(0), [&](int64_t begin, int64_t end) {
    std::fill(grad_p + begin * dims, grad_p + end * dims, T{0});
    for (int64_t j = begin; j < end; ++j) {
      for (int64_t e = offset[j]; e < offset[j + 1]; ++e) {
        add_difference(g[edge[e]], p + j * dims, q + edge[e] / k * dims, dims, grad_p + j * dims);
      }
    }
  });
}

std::tuple<Tensor, Tensor> knn_backward(const Tensor& grad, const Tensor& points, const Tensor& query,
                                        const Tensor& neighbors, int64_t query_size, int64_t cloud_size,
                                        const Tensor& offsets, const Tensor& edges) {
  check_floating(points, "points", 2);
  check_like(query, "query", 2, points);
  check_like(grad, "grad", 2, points);
  check_integers(neighbors, "neighbors", 2);
  check_integers(offsets, "offsets", 1);
  check_integers(edges, "edges", 1);
  STD_TORCH_CHECK(offsets.size(0) == points.size(0) + 1, "offsets must have one entry more than points");
  const NeighborLists lists{neighbors.const_data_ptr<int64_t>(), neighbors.size(1), query_size, cloud_size};
  Tensor grad_points = torch::stable::empty_like(points);
  Tensor grad_query = torch::stable::empty_like(query);
  const auto run = points.scalar_type() == ScalarType::Float ? knn_backward_of<float> : knn_backward_of<double>;
  run(grad, points, query, lists, offsets, edges, grad_points, grad_query);
  return {grad_points, grad_query};
}

}  // namespace

}  // namespace pointkernels

STABLE_TORCH_LIBRARY_IMPL(pointkernels, CPU, library) {
  library.impl("_knn_backward", TORCH_BOX(&pointkernels::knn_backward));
}
