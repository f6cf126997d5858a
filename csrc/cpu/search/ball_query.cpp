// Ball query on the CPU: the operator, and the choice between its ways to search.
#include <algorithm>
#include <limits>
#include <memory>

#include "../../common/search_arguments.h"
#include "../memory/huge_pages.h"
#include "../threads/parallel.h"
#include "ball_query_leaves.h"
#include "knn_path.h"
#include "packed_clouds.h"
#include "search_kernels.h"

namespace pointkernels {

namespace {

template <typename T>
struct Task {
  const T* points;
  Clouds clouds;
  const T* queries;
  Clouds query_clouds;
  bool separate;  // queries, rather than the points themselves
  int64_t dims;
  T squared_radius;
  int64_t k;
  bool include_self;
  T* distances;
  int64_t* indices;
};

template <typename T>
void write_none(const Task<T>& task, int64_t first, int64_t rows) {
  std::fill_n(task.distances + first * task.k, rows * task.k, std::numeric_limits<T>::infinity());
  std::fill_n(task.indices + first * task.k, rows * task.k, int64_t{-1});
}

// Every query walks the blocks of its cloud until it has enough neighbours.
template <typename T>
void search_all(const Task<T>& task, const PackedClouds<T>& packed) {
  constexpr int64_t kQueryRows = 64;  // queries in one unit of work: keeps a cloud's blocks in cache meanwhile
  const SearchKernels<T>& kernels = search_kernels<T>();
  const int64_t units = tile_bound(task.query_clouds, kQueryRows);
  parallel_each(units, units, [&](int64_t t) {
    const Tile tile = locate_tile(task.query_clouds, t, kQueryRows);
    for (int64_t i = tile.begin; i < tile.end; ++i) {
      const int64_t row = task.query_clouds.first(tile.cloud) + i;
      T* distances = task.distances + row * task.k;
      int64_t* indices = task.indices + row * task.k;
      const int64_t found = kernels.first_within(
          task.queries + row * task.dims, packed.cloud_blocks(tile.cloud), blocks_of(task.clouds.size(tile.cloud)),
          task.dims, task.squared_radius, task.include_self ? -1 : i, task.k, distances, indices);
      std::fill(distances + found, distances + task.k, std::numeric_limits<T>::infinity());
      std::fill(indices + found, indices + task.k, int64_t{-1});
    }
  });
}

template <typename T>
void search_leaves(const Task<T>& task, const PackedClouds<T>& packed) {
  const PointLeaves<T> points(task.points, task.clouds, task.dims);
  std::unique_ptr<PointLeaves<T>> own_leaves;
  if (task.separate) own_leaves = std::make_unique<PointLeaves<T>>(task.queries, task.query_clouds, task.dims);
  const PointLeaves<T>& queries = task.separate ? *own_leaves : points;
  WorkQueue units = work_queue_of(tile_bound(task.query_clouds, kLeaf));
  on_threads(units.count(), [&] {
    BallSearch<T> search(points, packed, task.clouds, task.dims, task.squared_radius, task.k, !task.include_self);
    units.each([&](int64_t t) {
      const Tile tile = locate_tile(task.query_clouds, t, kLeaf);
      if (tile.begin >= tile.end) return;
      const int64_t row = task.query_clouds.first(tile.cloud);
      // The numbers of leaves are those of tiles, since both are of the same height.
      if (tile.begin / kLeaf < queries.leaf_count(tile.cloud)) {
        search.run(queries, task.queries + row * task.dims, tile.cloud, tile.begin / kLeaf,
                   task.distances + row * task.k, task.indices + row * task.k);
      }
      if (queries.finite(tile.cloud) == task.query_clouds.size(tile.cloud)) return;
      for (int64_t i = tile.begin; i < tile.end; ++i) {
        // No distance from such a query is below anything.
        if (!is_finite(task.queries + (row + i) * task.dims, task.dims)) write_none(task, row + i, 1);
      }
    });
  });
}

// Which way is expected to be faster, from how far a few queries have to scan. Nanoseconds of one core (Zen 5, AVX-512)
// fitted to surfaces and cubes of 1,024 to 131,072 points with 5 to 60 neighbours of 32 or 64 wanted.
template <typename T>
bool leaves_pay(const Task<T>& task, const PackedClouds<T>& packed) {
  constexpr int64_t kProbes = 16;
  const int64_t rows = task.query_clouds.rows;
  std::vector<T> distances(task.k);
  std::vector<int64_t> indices(task.k);
  double brute = 0, leaves = 0, probes = 0;
  for (int64_t p = 0; p < kProbes; ++p) {
    const Tile tile = locate_tile(task.query_clouds, (2 * p + 1) * rows / (2 * kProbes), 1);
    if (tile.begin >= tile.end) continue;
    const int64_t row = task.query_clouds.first(tile.cloud) + tile.begin, size = task.clouds.size(tile.cloud);
    const int64_t found = search_kernels<T>().first_within(
        task.queries + row * task.dims, packed.cloud_blocks(tile.cloud), blocks_of(size), task.dims,
        task.squared_radius, task.include_self ? -1 : tile.begin, task.k, distances.data(), indices.data());
    const double scanned = static_cast<double>(found == task.k ? indices[found - 1] + 1 : size);
    const double neighbors = static_cast<double>(found);
    const double within = neighbors * static_cast<double>(size) / std::max(scanned, 1.0);
    const double scan = 40 + 0.14 * scanned + 4 * neighbors;
    brute += scan;
    leaves += 130 + std::min(8 * within, scan);  // where many points are within, it scans, too
    probes += 1;
  }
  if (probes == 0) return false;
  const double queries = static_cast<double>(rows), points = static_cast<double>(task.clouds.rows);
  return leaves / probes * queries + 30 * (points + (task.separate ? queries : 0)) < brute / probes * queries;
}

template <typename T>
void ball_query_of(const Tensor& points, const Clouds& clouds, const Tensor& query, const Clouds& query_clouds,
                   bool separate, double squared_radius, int64_t k, bool include_self, const Tensor& indices,
                   const Tensor& distances) {
  const Task<T> task{points.const_data_ptr<T>(),
                     clouds,
                     query.const_data_ptr<T>(),
                     query_clouds,
                     separate,
                     points.size(1),
                     static_cast<T>(squared_radius),
                     k,
                     include_self,
                     distances.mutable_data_ptr<T>(),
                     indices.mutable_data_ptr<int64_t>()};
  // Rows between the clouds are queries of nothing, and nothing is below 0.
  if (query_clouds.extents != nullptr || !(task.squared_radius > 0)) write_none(task, 0, query.size(0));
  if (!(task.squared_radius > 0)) return;
  PackedClouds<T> packed(task.points, clouds, task.dims);
  on_threads(packed.units(), [&] { packed.pack(); });
  const KnnPath path = knn_path();
  if (task.dims <= kPointDims && (path == KnnPath::kLeaves || (path == KnnPath::kAuto && leaves_pay(task, packed)))) {
    search_leaves(task, packed);
  } else {
    search_all(task, packed);
  }
}

std::tuple<Tensor, Tensor> ball_query(const Tensor& points, std::optional<Tensor> extents, std::optional<Tensor> query,
                                      std::optional<Tensor> query_extents, int64_t cloud_count, double squared_radius,
                                      int64_t k, bool include_self) {
  const auto [queries, clouds, query_clouds] = search_arguments(points, extents, query, query_extents, cloud_count, k);
  check_extents(clouds);
  check_extents(query_clouds);
  Tensor indices = on_huge_pages(empty_integers(points, queries.size(0), k));
  Tensor distances = on_huge_pages(torch::stable::new_empty(points, {queries.size(0), k}));
  if (queries.size(0) > 0) {
    const auto search = points.scalar_type() == ScalarType::Float ? ball_query_of<float> : ball_query_of<double>;
    search(points, clouds, queries, query_clouds, query.has_value(), squared_radius, k, include_self, indices,
           distances);
  }
  return {distances, indices};
}

}  // namespace

}  // namespace pointkernels

STABLE_TORCH_LIBRARY_IMPL(pointkernels, CPU, library) {
  library.impl("ball_query", TORCH_BOX(&pointkernels::ball_query));
}
