// Features of neighbours, one by one or as a weighted sum, on the CPU.
#include <algorithm>
#include <atomic>

#include "../../common/graph.h"
#include "../memory/huge_pages.h"
#include "../threads/parallel.h"

namespace pointkernels {

namespace {

void check_lists(const Tensor& features, const Tensor& neighbors, int64_t query_size, int64_t cloud_size) {
  check_floating(features, "features", 2);
  check_integers(neighbors, "neighbors", 2);
  const int64_t queries = neighbors.size(0);
  STD_TORCH_CHECK(queries == 0 || (query_size > 0 && queries % query_size == 0 && cloud_size >= 0 &&
                                   queries / query_size * cloud_size <= features.size(0)),
                  "query_size and cloud_size must fit the numbers of rows");
}

// Calls visit(i, s, row) for the entries of the lists of each query row in turn, without those that are -1.
template <typename Begin, typename Visit>
void for_each_edge(const NeighborLists& lists, int64_t queries, const Begin& begin_row, const Visit& visit) {
  std::atomic<bool> in_range{true};
  parallel_for(queries, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      begin_row(i);
      for (int64_t s = 0; s < lists.k; ++s) {
        const int64_t neighbor = lists.neighbors[i * lists.k + s];
        if (neighbor < -1 || neighbor >= lists.cloud_size) {
          in_range.store(false, std::memory_order_relaxed);
        } else if (neighbor >= 0) {
          visit(i, s, lists.base(i) + neighbor);
        }
      }
    }
  });
  STD_TORCH_CHECK(in_range.load(), "neighbors must be -1 or lie in [0, ", lists.cloud_size, ")");
}

template <typename T>
void gather_neighbors_of(const Tensor& features, const NeighborLists& lists, const Tensor& gathered) {
  const int64_t channels = features.size(1), queries = gathered.size(0);
  const T* from = features.const_data_ptr<T>();
  T* to = gathered.mutable_data_ptr<T>();
  for_each_edge(
      lists, queries, [&](int64_t i) { std::fill_n(to + i * lists.k * channels, lists.k * channels, T{0}); },
      [&](int64_t i, int64_t s, int64_t row) {
        std::copy_n(from + row * channels, channels, to + (i * lists.k + s) * channels);
      });
}

Tensor gather_neighbors(const Tensor& features, const Tensor& neighbors, int64_t query_size, int64_t cloud_size) {
  check_lists(features, neighbors, query_size, cloud_size);
  const NeighborLists lists{neighbors.const_data_ptr<int64_t>(), neighbors.size(1), query_size, cloud_size};
  Tensor gathered =
      on_huge_pages(torch::stable::new_empty(features, {neighbors.size(0), neighbors.size(1), features.size(1)}));
  const auto run =
      features.scalar_type() == ScalarType::Float ? gather_neighbors_of<float> : gather_neighbors_of<double>;
  run(features, lists, gathered);
  return gathered;
}

template <typename T>
void gather_weighted_of(const Tensor& features, const NeighborLists& lists, const Tensor& weights, const Tensor& sums) {
  const int64_t channels = features.size(1);
  const T* from = features.const_data_ptr<T>();
  const T* weight = weights.const_data_ptr<T>();
  T* to = sums.mutable_data_ptr<T>();
  for_each_edge(
      lists, sums.size(0), [&](int64_t i) { std::fill_n(to + i * channels, channels, T{0}); },
      [&](int64_t i, int64_t s, int64_t row) {
        const T w = weight[i * lists.k + s];
        for (int64_t c = 0; c < channels; ++c) to[i * channels + c] += w * from[row * channels + c];
      });
}

Tensor gather_weighted(const Tensor& features, const Tensor& neighbors, const Tensor& weights, int64_t query_size,
                       int64_t cloud_size) {
  check_lists(features, neighbors, query_size, cloud_size);
  check_like(weights, "weights", 2, features);
  STD_TORCH_CHECK(weights.size(0) == neighbors.size(0) && weights.size(1) == neighbors.size(1),
                  "weights must have the shape of neighbors");
  const NeighborLists lists{neighbors.const_data_ptr<int64_t>(), neighbors.size(1), query_size, cloud_size};
  Tensor sums = on_huge_pages(torch::stable::new_empty(features, {neighbors.size(0), features.size(1)}));
  const auto run = features.scalar_type() == ScalarType::Float ? gather_weighted_of<float> : gather_weighted_of<double>;
  run(features, lists, weights, sums);
  return sums;
}

template <typename T>
void sum_over_edges_of(const Tensor& grad, const std::optional<Tensor>& weights, const Tensor& offsets,
                       const Tensor& edges, int64_t edges_per_row, const Tensor& sums) {
  const int64_t channels = grad.size(1);
  const T* from = grad.const_data_ptr<T>();
  const T* weight = weights.has_value() ? weights->const_data_ptr<T>() : nullptr;
  const int64_t* offset = offsets.const_data_ptr<int64_t>();
  const int64_t* edge = edges.const_data_ptr<int64_t>();
  T* to = sums.mutable_data_ptr<T>();
  parallel_for(sums.size(0), [&](int64_t first, int64_t last) {
    for (int64_t j = first; j < last; ++j) {
      std::fill_n(to + j * channels, channels, T{0});
      for (int64_t e = offset[j]; e < offset[j + 1]; ++e) {
        const T* row = from + edge[e] / edges_per_row * channels;
        const T w = weight != nullptr ? weight[edge[e]] : T{1};
        for (int64_t c = 0; c < channels; ++c) to[j * channels + c] += w * row[c];
      }
    }
  });
}

Tensor sum_over_edges(const Tensor& grad, std::optional<Tensor> weights, const Tensor& offsets, const Tensor& edges,
                      int64_t edges_per_row) {
  check_floating(grad, "grad", 2);
  if (weights.has_value()) check_like(*weights, "weights", 2, grad);
  check_integers(offsets, "offsets", 1);
  check_integers(edges, "edges", 1);
  STD_TORCH_CHECK(edges_per_row >= 1 && grad.size(0) * edges_per_row == edges.size(0),
                  "grad must have a row for every edges_per_row edges");
  STD_TORCH_CHECK(!weights.has_value() || weights->size(0) * weights->size(1) == edges.size(0),
                  "weights must be as many as edges");
  Tensor sums = on_huge_pages(torch::stable::new_empty(grad, {offsets.size(0) - 1, grad.size(1)}));
  const auto run = grad.scalar_type() == ScalarType::Float ? sum_over_edges_of<float> : sum_over_edges_of<double>;
  run(grad, weights, offsets, edges, edges_per_row, sums);
  return sums;
}

template <typename T>
void edge_products_of(const Tensor& grad, const Tensor& features, const NeighborLists& lists, const Tensor& products) {
  const int64_t channels = features.size(1);
  const T* a = grad.const_data_ptr<T>();
  const T* b = features.const_data_ptr<T>();
  T* to = products.mutable_data_ptr<T>();
  for_each_edge(
      lists, products.size(0), [&](int64_t i) { std::fill_n(to + i * lists.k, lists.k, T{0}); },
      [&](int64_t i, int64_t s, int64_t row) {
        T sum = 0;
        for (int64_t c = 0; c < channels; ++c) sum += a[i * channels + c] * b[row * channels + c];
        to[i * lists.k + s] = sum;
      });
}

Tensor edge_products(const Tensor& grad, const Tensor& features, const Tensor& neighbors, int64_t query_size,
                     int64_t cloud_size) {
  check_lists(features, neighbors, query_size, cloud_size);
  check_like(grad, "grad", 2, features);
  STD_TORCH_CHECK(grad.size(0) == neighbors.size(0) && grad.size(1) == features.size(1),
                  "grad must have a row for each query and the channels of features");
  const NeighborLists lists{neighbors.const_data_ptr<int64_t>(), neighbors.size(1), query_size, cloud_size};
  Tensor products = torch::stable::new_empty(features, {neighbors.size(0), neighbors.size(1)});
  const auto run = features.scalar_type() == ScalarType::Float ? edge_products_of<float> : edge_products_of<double>;
  run(grad, features, lists, products);
  return products;
}

}  // namespace

}  // namespace pointkernels

STABLE_TORCH_LIBRARY_IMPL(pointkernels, CPU, library) {
  library.impl("gather_neighbors", TORCH_BOX(&pointkernels::gather_neighbors));
  library.impl("gather_weighted", TORCH_BOX(&pointkernels::gather_weighted));
  library.impl("_sum_over_edges", TORCH_BOX(&pointkernels::sum_over_edges));
  library.impl("_edge_products", TORCH_BOX(&pointkernels::edge_products));
}
