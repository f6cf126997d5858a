// Which projection a cloud is searched by, and the projections of its points (projection.h).
#include "projection.h"

#include <algorithm>

#include "../linear/products.h"
#include "../simd/isa.h"
#include "packed_clouds.h"
#include "search_kernels.h"

namespace pointkernels {

namespace {

// A few points tell in which directions all differ: 128 rule out as many candidates as principal components of 1,024
// points do, within a tenth.
constexpr int64_t kSampled = 128;
// Sampled queries by which the number of candidates that a projection leaves is estimated.
constexpr int64_t kProbes = 12;

template <typename T>
AlignedArray<T> packed(const T* rows, int64_t count, int64_t dims) {
  AlignedArray<T> blocks(blocks_of(count) * kBlock * dims);
  search_kernels<T>().pack(rows, count, dims, blocks.data());
  return blocks;
}

// Points spread evenly over a cloud, less their mean, and so that the largest coordinate is 1.
template <typename T>
class Sample {
 public:
  Sample(const T* points, int64_t count, int64_t dims)
      : count_(std::min(count, kSampled)), dims_(dims), center_(dims), rows_(count_ * dims) {
    std::vector<double> sum(dims, 0);
    for (int64_t i = 0; i < count_; ++i) {
      const T* from = points + count * i / count_ * dims;
      for (int64_t d = 0; d < dims; ++d) sum[d] += static_cast<double>(from[d]);
    }
    for (int64_t d = 0; d < dims; ++d) center_[d] = static_cast<T>(sum[d] / static_cast<double>(count_));
    for (int64_t i = 0; i < count_; ++i) {
      const T* from = points + count * i / count_ * dims;
      for (int64_t d = 0; d < dims; ++d) rows_[i * dims + d] = from[d] - center_[d];
    }
    T largest = 0;
    for (const T x : rows_) largest = std::max(largest, std::abs(x));
    if (largest == 0) return;
    for (T& x : rows_) x /= largest;
  }

  int64_t count() const { return count_; }
  const T* center() const { return center_.data(); }
  const T* rows() const { return rows_.data(); }

  // Directions in which the points differ, those of the largest differences first: some of the points, turned towards
  // the principal components by one step of subspace iteration.
  std::vector<T> directions(int64_t most) const {
    std::vector<T> chosen(most * dims_);
    for (int64_t j = 0; j < most; ++j) std::copy_n(rows() + count_ * j / most * dims_, dims_, &chosen[j * dims_]);
    const std::vector<T> projections = projected(chosen, most);
    std::fill(chosen.begin(), chosen.end(), T{0});
    add_transposed_product(Rows<T>(projections.data(), count_, most), Rows<T>(rows(), count_, dims_), chosen.data());
    isa_kernels<T>().projection->orthonormalize(chosen.data(), most, dims_);
    return chosen;
  }

  std::vector<T> projected(const std::vector<T>& directions, int64_t count) const {
    std::vector<T> projections(count_ * count);
    multiply(Rows<T>(rows(), count_, dims_), Panels<T>(directions.data(), dims_, count, 1, dims_), projections.data(),
             count);
    return projections;
  }

 private:
  int64_t count_, dims_;
  std::vector<T> center_, rows_;
};

// Squared distances of kProbes points, spread evenly, to all `count` of them.
template <typename T>
std::vector<T> probed_distances(const T* rows, int64_t count, int64_t dims) {
  const SearchKernels<T>& kernels = search_kernels<T>();
  const int64_t tile = kernels.feature_tile, row = blocks_of(count) * kBlock;
  const AlignedArray<T> blocks = packed(rows, count, dims);
  const Candidates<T> candidates{blocks.data(), kBlock * dims, kBlock, dims, nullptr, nullptr, row / kBlock, 0};
  std::vector<T> queries(tile * dims), distances((kProbes + tile) * row);
  for (int64_t begin = 0; begin < kProbes; begin += tile) {
    for (int64_t q = 0; q < tile; ++q) {
      const T* from = rows + count * std::min(begin + q, kProbes - 1) / kProbes * dims;
      for (int64_t d = 0; d < dims; ++d) queries[d * tile + q] = from[d];
    }
    kernels.distances(queries.data(), tile, candidates, distances.data() + begin * row, row, nullptr, kLeaf);
  }
  return distances;
}

// The expected share of a cloud's points whose exact distance a search by this projection computes.
template <typename T>
double part_left(const std::vector<T>& whole, const std::vector<T>& projections, int64_t sampled,
                 int64_t neighbor_count) {
  const int64_t row = blocks_of(sampled) * kBlock;
  int64_t left = 0;
  for (int64_t q = 0; q < kProbes; q += kPointTile) {
    T nearest[kPointTile] = {};
    search_kernels<T>().thresholds(projections.data() + q * row, row, row, neighbor_count, nearest);
    for (int64_t i = 0; i < kPointTile; ++i) {
      const T *exact = whole.data() + (q + i) * row, *projected = projections.data() + (q + i) * row;
      T bound = 0;
      for (int64_t j = 0; j < sampled; ++j) bound = projected[j] <= nearest[i] && exact[j] > bound ? exact[j] : bound;
      for (int64_t j = 0; j < sampled; ++j) left += projected[j] <= bound;
    }
  }
  return static_cast<double>(left) / static_cast<double>(kProbes * sampled);
}

// Cycles that searches are expected to take, but for what all have in common (Zen 5, fitted to features and layers of
// DGCNN with 32 to 256 channels).
template <typename T>
class Cost {
 public:
  explicit Cost(const ProjectedSearch<T>& search)
      : count_(static_cast<double>(search.count)),
        queries_(static_cast<double>(search.query_count)),
        dims_(static_cast<double>(search.dims)),
        pair_(1.15 / (2 * static_cast<double>(isa_kernels<T>().projection->lanes))) {}

  double without_projection() const { return queries_ * count_ * dims_ * pair_; }

  // With exact distances from a query to `left` points.
  double with_projection(int64_t directions, double left) const {
    constexpr double kKept = 0.55;  // the distance of a projected pair
    constexpr double kLeft = 0.5;   // a coordinate of a point whose exact distance is computed; the points lie apart
    constexpr double kProjected = 0.4;  // a coordinate of a point that is projected
    constexpr double kPrepared = 150'000;
    const double each = count_ * (static_cast<double>(directions) * pair_ + kKept) + kLeft * dims_ * left;
    return queries_ * each + (count_ + queries_) * dims_ * kProjected + kPrepared;
  }

 private:
  double count_, queries_, dims_;
  double pair_;  // a coordinate of a pair: a vector of them takes half a cycle at the least
};

// The rank among `sampled` points, of which the probe is one, that stands for that of a query's last neighbour: the
// same share of the other points, but at least the first of them. A probe's distance to itself says nothing of a
// projection.
template <typename T>
int64_t sampled_neighbors(const ProjectedSearch<T>& search, int64_t sampled) {
  const int64_t others = search.neighbor_count - (search.separate ? 0 : 1);
  const int64_t rank = (others * sampled + search.count - 1) / search.count;
  return std::min(std::max<int64_t>(rank, 1) + 1, sampled);
}

// Looks for the number of coordinates by which a search takes least.
template <typename T>
class Choice {
 public:
  Choice(const ProjectedSearch<T>& search, const Cost<T>& cost, double least, const Sample<T>& sample)
      : search_(search),
        cost_(cost),
        least_(least),
        sample_(sample),
        neighbor_count_(sampled_neighbors(search, sample.count())),
        whole_(probed_distances(sample.rows(), sample.count(), search.dims)) {}

  int64_t projection_dims() const { return best_; }  // or 0: none

  // Tries projections in the first `from`, `from` + kProjectionStep and so on up to `most` of these directions. False
  // when more will not help.
  bool try_projections(const std::vector<T>& directions, int64_t from, int64_t most) {
    constexpr double kHopeless = 0.4;
    const std::vector<T> projections = sample_.projected(directions, most);
    std::vector<T> first(sample_.count() * most);
    double part = 1;
    for (int64_t dims = from; dims <= most; dims += kProjectionStep) {
      for (int64_t i = 0; i < sample_.count(); ++i) std::copy_n(&projections[i * most], dims, &first[i * dims]);
      part = part_left(whole_, probed_distances(first.data(), sample_.count(), dims), sample_.count(), neighbor_count_);
      const double time = cost_.with_projection(dims, part * static_cast<double>(search_.count));
      if (time < least_) {
        least_ = time;
        best_ = dims;
      } else if (best_ > 0) {
        return false;
      }
    }
    return part < kHopeless &&
           cost_.with_projection(most + kProjectionStep, static_cast<double>(search_.neighbor_count)) < least_;
  }

 private:
  const ProjectedSearch<T>& search_;
  const Cost<T>& cost_;
  double least_;
  const Sample<T>& sample_;
  int64_t neighbor_count_;  // in the sample
  std::vector<T> whole_;
  int64_t best_ = 0;
};

// At least the norm of the matrix with these rows, up to rounding in double: the root of what bounds the eigenvalues of
// its product with its transpose, whose rows' absolute sums do.
template <typename T>
double norm_bound(const std::vector<T>& rows, int64_t count, int64_t dims) {
  double most = 0;
  for (int64_t i = 0; i < count; ++i) {
    double sum = 0;
    for (int64_t j = 0; j < count; ++j) {
      double product = 0;
      for (int64_t d = 0; d < dims; ++d) {
        product += static_cast<double>(rows[i * dims + d]) * static_cast<double>(rows[j * dims + d]);
      }
      sum += std::abs(product);
    }
    most = std::max(most, sum);
  }
  return std::sqrt(most) * (1 + 1e-12 * static_cast<double>(dims));
}

}  // namespace

bool projection_may_pay(int64_t largest_cloud, int64_t dims, int64_t neighbor_count) {
  return dims > 2 * kProjectionStep && largest_cloud >= 2 * kSampled && neighbor_count <= largest_cloud / 4;
}

template <typename T>
Projection<T> projection_for(const ProjectedSearch<T>& search, bool always) {
  constexpr double kWorthwhile = 0.92;
  // Squares within these neither overflow nor vanish beside the slack for rounding.
  constexpr T kLeast = sizeof(T) == 4 ? static_cast<T>(1e-20) : static_cast<T>(1e-200);
  constexpr T kMost = sizeof(T) == 4 ? static_cast<T>(1e30) : static_cast<T>(1e200);
  if (search.count == 0 || search.query_count == 0) return {};
  const Cost<T> cost(search);
  const double least = kWorthwhile * cost.without_projection();
  const bool may_pay = projection_may_pay(search.count, search.dims, search.neighbor_count) &&
                       cost.with_projection(kProjectionStep, static_cast<double>(search.neighbor_count)) < least;
  if (!always && !may_pay) return {};

  const Sample<T> sample(search.points, search.count, search.dims);
  int64_t dims = kProjectionStep;
  std::vector<T> directions = sample.directions(always ? kProjectionStep : kMostProjectionDims / 2);
  if (!always) {
    Choice<T> choice(search, cost, least, sample);
    if (choice.try_projections(directions, kProjectionStep, kMostProjectionDims / 2)) {
      directions = sample.directions(kMostProjectionDims);
      choice.try_projections(directions, kMostProjectionDims / 2 + kProjectionStep, kMostProjectionDims);
    }
    dims = choice.projection_dims();
  }
  if (dims == 0) return {};

  const ProjectionKernels<T>& kernels = *isa_kernels<T>().projection;
  T norm = kernels.largest_norm(search.points, search.count, search.dims, sample.center());
  if (!(norm >= kLeast && norm <= kMost)) return {};
  if (search.separate) {
    const T other = kernels.largest_norm(search.queries, search.query_count, search.dims, sample.center());
    if (!(other <= kMost)) return {};
    norm = std::max(norm, other);
  }
  const double stretch = norm_bound(directions, dims, search.dims);
  if (!(stretch > 0 && stretch < 1.01)) return {};  // zero where no point of the sample differs from their mean
  const Panels<T> panels(directions.data(), search.dims, dims, 1, search.dims);
  const auto projected = [&](const T* rows, int64_t count) {
    AlignedArray<T> projections(count * dims);
    multiply(CenteredRows<T>{rows, count, search.dims, sample.center(), nullptr}, panels, projections.data(), dims);
    return projections;
  };
  AlignedArray<T> points = projected(search.points, search.count);
  AlignedArray<T> blocks = packed(points.data(), search.count, dims);
  if (search.separate) points = projected(search.queries, search.query_count);
  return Projection<T>(search.dims, dims, stretch, 1.01 * std::sqrt(static_cast<double>(norm)), std::move(blocks),
                       std::move(points));
}

template Projection<float> projection_for(const ProjectedSearch<float>&, bool);
template Projection<double> projection_for(const ProjectedSearch<double>&, bool);

}  // namespace pointkernels
