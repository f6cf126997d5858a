// kNN on the CPU: the operator, and the choice between its ways to search.
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

#include "../../common/search_arguments.h"
#include "../memory/huge_pages.h"
#include "../threads/parallel.h"
#include "knn_brute.h"
#include "knn_leaves.h"
#include "knn_path.h"
#include "projection.h"

namespace pointkernels {

namespace {

std::atomic<KnnPath>& chosen_path() {
  static std::atomic<KnnPath> path{[] {
    const char* name = std::getenv("POINTKERNELS_KNN_PATH");
    for (const KnnPath path : {KnnPath::kBrute, KnnPath::kLeaves, KnnPath::kProjected}) {
      if (name != nullptr && std::strcmp(name, knn_path_name(path)) == 0) return path;
    }
    return KnnPath::kAuto;
  }()};
  return path;
}

template <typename T>
struct Task {
  const T* points;
  Clouds clouds;
  const T* queries;
  Clouds query_clouds;
  bool separate;  // queries, rather than the points themselves
  int64_t dims, k;
  bool include_self;
  int64_t largest;  // cloud
  NeighborRows<T> results;
};

// The projections by which clouds are searched.
template <typename T>
class Projections {
 public:
  explicit Projections(const Task<T>& task)
      : task_(task),
        always_(knn_path() == KnnPath::kProjected),
        projections_(
            always_ || (knn_path() == KnnPath::kAuto && projection_may_pay(task.largest, task.dims, neighbor_count()))
                ? task.clouds.count
                : 0),
        queue_(work_queue_of(static_cast<int64_t>(projections_.size()))) {}

  // Makes them, together with the other threads that call it, and returns when all are made.
  void make() {
    queue_.each([&](int64_t cloud) {
      projections_[cloud] = projection_for(
          ProjectedSearch<T>{task_.points + task_.clouds.first(cloud) * task_.dims, task_.clouds.size(cloud),
                             task_.queries + task_.query_clouds.first(cloud) * task_.dims,
                             task_.query_clouds.size(cloud), task_.separate, task_.dims, neighbor_count()},
          always_);
    });
    queue_.wait();
  }

  bool any() const { return !projections_.empty(); }  // possibly

  // nullptr where a cloud is searched as it is.
  const Projection<T>* of(int64_t cloud) const {
    return projections_.empty() || !projections_[cloud].exists() ? nullptr : &projections_[cloud];
  }

 private:
  int64_t neighbor_count() const { return task_.include_self ? task_.k : task_.k + 1; }

  const Task<T>& task_;
  bool always_;
  std::vector<Projection<T>> projections_;
  WorkQueue queue_;
};

template <typename T>
void search_all(const Task<T>& task, int64_t threads) {
  PackedClouds<T> packed(task.points, task.clouds, task.dims);
  Projections<T> projections(task);
  // Of one unit of work, during which a cloud's blocks stay in cache.
  const int64_t tile = BruteSearch<T>::tile_of(task.dims, projections.any()), rows = 64 / tile * tile;
  WorkQueue units = work_queue_of(tile_bound(task.query_clouds, rows));
  on_threads(std::min(threads, units.count()), [&] {
    projections.make();
    packed.pack([&](int64_t cloud) { return projections.of(cloud) == nullptr; });
    BruteSearch<T> search(task.largest, task.dims, task.k, task.include_self, projections.any());
    units.each([&](int64_t number) {
      const Tile unit = locate_tile(task.query_clouds, number, rows);
      if (unit.begin >= unit.end) return;
      const int64_t query = task.query_clouds.first(unit.cloud), point = task.clouds.first(unit.cloud);
      const SearchedCloud<T> cloud{task.points + point * task.dims, task.queries + query * task.dims,
                                   task.clouds.size(unit.cloud), packed.cloud_blocks(unit.cloud),
                                   projections.of(unit.cloud)};
      search.run(cloud, unit.begin, unit.end - unit.begin, task.results, query + unit.begin);
    });
  });
}

template <typename T>
void search_leaves(const Task<T>& task, int64_t threads) {
  const int64_t neighbor_count = std::min(task.include_self ? task.k : task.k + 1, task.largest);
  const PointLeaves<T> points(task.points, task.clouds, task.dims);
  std::unique_ptr<PointLeaves<T>> own_leaves;
  if (task.separate) own_leaves = std::make_unique<PointLeaves<T>>(task.queries, task.query_clouds, task.dims);
  const PointLeaves<T>& queries = task.separate ? *own_leaves : points;
  WorkQueue units = work_queue_of(tile_bound(task.query_clouds, kLeaf));
  on_threads(std::min(threads, units.count()), [&] {
    LeafSearch<T> search(points, task.clouds, task.points, task.dims, task.k, neighbor_count);
    units.each([&](int64_t t) {
      const Tile tile = locate_tile(task.query_clouds, t, kLeaf);
      if (tile.begin >= tile.end) return;
      const int64_t row = task.query_clouds.first(tile.cloud);
      // The numbers of leaves are those of tiles, since both are of the same height.
      if (tile.begin / kLeaf < queries.leaf_count(tile.cloud)) {
        search.run(queries, tile.cloud, tile.begin / kLeaf, !task.include_self, task.results, row);
      }
      if (queries.finite(tile.cloud) == task.query_clouds.size(tile.cloud)) return;
      for (int64_t i = tile.begin; i < tile.end; ++i) {
        const T* query = task.queries + (row + i) * task.dims;
        if (is_finite(query, task.dims)) continue;
        search.run_alone(query, tile.cloud, task.include_self ? -1 : i, task.results, row + i);
      }
    });
  });
}

// Nanoseconds of one core (Zen 5, AVX-512) that each way is expected to take, fitted to k = 1 to 256 and surfaces and
// cubes of 1,024 to 8,192 points: leaves win from about 700 points on at k = 1, 1,200 at k = 20, 2,000 at k = 64.
struct Expected {
  double brute, leaves;
};

template <typename T>
Expected expected_times(const Task<T>& task) {
  constexpr int64_t kChunk = 2048;  // of brute force; each ends with a selection
  const double k = static_cast<double>(std::min(task.k, task.largest));
  const double pair = 0.14 + (task.dims > kPointDims ? 0.012 * static_cast<double>(task.dims) : 0);
  Expected time{0, 0};
  for (int64_t cloud = 0; cloud < task.clouds.count; ++cloud) {
    const double size = static_cast<double>(task.clouds.size(cloud));
    const double queries = static_cast<double>(task.query_clouds.size(cloud));
    const double chunks = static_cast<double>((task.clouds.size(cloud) + kChunk - 1) / kChunk);
    time.brute += queries * (20 + pair * size + 5.5 * k * chunks);
    time.leaves += queries * (80 + 9.5 * k) + kLeafBuildTime * (size + (task.separate ? queries : 0));
  }
  return time;
}

template <typename T>
void knn_of(const Tensor& points, const Clouds& clouds, const Tensor& query, const Clouds& query_clouds, bool separate,
            int64_t k, bool include_self, const Tensor& indices, const Tensor& distances) {
  Task<T> task{
      points.const_data_ptr<T>(),
      clouds,
      query.const_data_ptr<T>(),
      query_clouds,
      separate,
      points.size(1),
      k,
      include_self,
      0,
      {distances.numel() > 0 ? distances.mutable_data_ptr<T>() : nullptr, indices.mutable_data_ptr<int64_t>()}};
  if (query_clouds.extents != nullptr) {  // rows between the clouds are queries of nothing
    std::fill_n(task.results.distances, distances.numel(), std::numeric_limits<T>::infinity());
    std::fill_n(task.results.indices, indices.numel(), int64_t{-1});
  }
  for (int64_t cloud = 0; cloud < clouds.count; ++cloud) task.largest = std::max(task.largest, clouds.size(cloud));
  STD_TORCH_CHECK(task.largest <= std::numeric_limits<int32_t>::max(), "a cloud can have at most 2^31 - 1 points, got ",
                  task.largest);
  const KnnPath path = knn_path();
  const Expected time = expected_times(task);
  const bool leaves = path == KnnPath::kLeaves || (path == KnnPath::kAuto && time.leaves < time.brute);
  if (task.dims <= kPointDims && leaves) {
    search_leaves(task, threads_worth(time.leaves));
  } else {
    search_all(task, threads_worth(time.brute));
  }
}

std::tuple<Tensor, Tensor> knn(const Tensor& points, std::optional<Tensor> extents, std::optional<Tensor> query,
                               std::optional<Tensor> query_extents, int64_t cloud_count, int64_t k, bool include_self,
                               bool with_distances) {
  const auto [queries, clouds, query_clouds] = search_arguments(points, extents, query, query_extents, cloud_count, k);
  STD_TORCH_CHECK(include_self || !query.has_value(), "include_self=False needs query=None");
  check_extents(clouds);
  check_extents(query_clouds);
  Tensor indices = on_huge_pages(empty_integers(points, queries.size(0), k));
  Tensor distances = on_huge_pages(torch::stable::new_empty(points, {with_distances ? queries.size(0) : 0, k}));
  if (queries.size(0) > 0) {
    const auto search = points.scalar_type() == ScalarType::Float ? knn_of<float> : knn_of<double>;
    search(points, clouds, queries, query_clouds, query.has_value(), k, include_self, indices, distances);
  }
  return {distances, indices};
}

}  // namespace

KnnPath knn_path() { return chosen_path().load(std::memory_order_relaxed); }
void set_knn_path(KnnPath path) { chosen_path().store(path, std::memory_order_relaxed); }

const char* knn_path_name(KnnPath path) {
  switch (path) {
    case KnnPath::kBrute:
      return "brute";
    case KnnPath::kLeaves:
      return "leaves";
    case KnnPath::kProjected:
      return "projected";
    case KnnPath::kAuto:
      break;
  }
  return "auto";
}

}  // namespace pointkernels

STABLE_TORCH_LIBRARY_IMPL(pointkernels, CPU, library) { library.impl("knn", TORCH_BOX(&pointkernels::knn)); }
