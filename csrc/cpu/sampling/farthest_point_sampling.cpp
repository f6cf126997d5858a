// Farthest point sampling on the CPU: exact, several samples a pass.
//
// Let L be all points whose distance to the samples so far is at least some bound. While the farthest point of L is
// still at least that far, it is the farthest of the cloud: distances only fall, so every point outside L stays below
// the bound. A round therefore picks samples within L, a list in registers, until the farthest falls below the bound,
// and only then passes over the cloud, once for all of them. Ties are decided as without rounds, since L holds all
// points that reach the bound. With the bound at the 32nd largest of 64 group maxima L has about 45 points and gives 18
// to 26 samples.
//
// Clouds with mass ties (lattices, duplicates) can have more points at one distance than the list holds; there samples
// are taken one at a time.
#include <algorithm>
#include <atomic>
#include <limits>
#include <type_traits>
#include <vector>

#include "../simd/isa.h"
#include "../threads/parallel.h"
#include "../threads/team.h"
#include "flat_cloud.h"
#include "tree_cloud.h"

namespace pointkernels {

namespace {

// After an overflow of the list with the last bound, so many samples are taken one at a time; doubled each time in a
// row, up to the limit.
constexpr int64_t kFirstStall = 1, kLastStall = 64;
// From here on a tree pays for itself.
constexpr int64_t kTreePoints = 2048;
constexpr int64_t kTreeSamples = 32;
// Coordinates of a cloud for each thread that works on it.
constexpr int64_t kMemberNumbers = 1 << 15;

template <typename T, typename Cloud>
class Sampler {
 public:
  Sampler(Cloud& cloud, const T* points, int64_t dims)
      : kernels_(*isa_kernels<T>().sampling),
        cloud_(cloud),
        points_(points),
        dims_(dims),
        coordinates_(kSampleList * dims),
        fresh_(kSampleList * dims) {}

  // Continues samples[0, taken), of which only the last has not been applied yet, to samples[0, count).
  void run(int64_t* samples, int64_t taken, int64_t count) {
    begin_with(samples[taken - 1]);
    int64_t stall = 0, next_stall = kFirstStall;
    while (taken < count) {
      if (stall == 0) {
        const int64_t found = pick(count - taken, samples + taken);
        taken += found;
        if (found > 0) {
          next_stall = kFirstStall;
          continue;
        }
        stall = next_stall;
        next_stall = std::min(2 * next_stall, kLastStall);
      }
      --stall;
      const int64_t place = cloud_.lower_and_find_farthest(points_ + samples[taken - 1] * dims_);
      cloud_.take(place);
      samples[taken++] = cloud_.row(place);
      begin_with(samples[taken - 1]);
    }
  }

 private:
  // Only this sample has not been applied.
  void begin_with(int64_t sample) {
    std::copy_n(points_ + sample * dims_, dims_, fresh_.data());
    fresh_count_ = 1;
  }

  // One round: applies the fresh samples, picks at most `most` further ones and returns their number, 0 if too many
  // points are equally far.
  int64_t pick(int64_t most, int64_t* samples) {
    FarPoints<T> far;
    far.coordinates = coordinates_.data();
    if (!cloud_.lower(fresh_.data(), fresh_count_, far)) return 0;
    std::fill(far.distances + far.count, far.distances + kSampleList, kTaken<T>);  // whatever the coordinates are
    std::fill(far.rows + far.count, far.rows + kSampleList, -1);
    int32_t picked[kSampleList];
    fresh_count_ = kernels_.pick(coordinates_.data(), far.distances, far.rows, dims_, far.bound, most, picked);
    for (int64_t s = 0; s < fresh_count_; ++s) {
      const int32_t i = picked[s];
      cloud_.take(far.places[i]);
      samples[s] = far.rows[i];
      for (int64_t d = 0; d < dims_; ++d) fresh_[s * dims_ + d] = coordinates_[d * kSampleList + i];
    }
    return fresh_count_;
  }

  const SamplingKernels<T>& kernels_;
  Cloud& cloud_;
  const T* points_;
  int64_t dims_;
  std::vector<T> coordinates_, fresh_;  // of the points far away, of the samples that have not been applied
  int64_t fresh_count_ = 0;
};

template <typename T, typename Cloud>
void sample_numbers(Cloud&& cloud, const T* points, int64_t dims, int64_t* samples, int64_t count, bool start_counts) {
  if (start_counts) cloud.take(cloud.place(samples[0]));
  Sampler<T, std::remove_reference_t<Cloud>>(cloud, points, dims).run(samples, 1, count);
}

template <typename T>
bool has_nan(const T* values, int64_t count) {
  // Without a way out, and as wide as the values, so that it is vectorised.
  std::conditional_t<sizeof(T) == 4, int32_t, int64_t> found = 0;
  for (int64_t i = 0; i < count; ++i) found |= values[i] != values[i];
  return found != 0;
}

template <typename T>
bool has_nan(const T* points, int64_t count, int64_t dims, Team& team) {
  std::atomic<bool> found{false};
  team.each(count, [points, dims, &found](int64_t begin, int64_t end) {
    if (has_nan(points + begin * dims, (end - begin) * dims)) found.store(true, std::memory_order_relaxed);
  });
  return found.load(std::memory_order_relaxed);
}

// A point with a NaN coordinate comes after all others; a sample is never taken again.
template <typename T>
void sample_cloud(const T* points, int64_t count, int64_t dims, int64_t start, int64_t num_samples, int64_t* samples,
                  Team& team) {
  const int64_t taken = std::min(count, num_samples);
  std::fill(samples + taken, samples + num_samples, int64_t{-1});
  if (taken == 0) return;
  std::vector<int32_t> numbers, not_numbers;
  const bool all_numbers = !has_nan(points, count, dims, team);
  for (int64_t i = 0; !all_numbers && i < count; ++i) {
    (has_nan(points + i * dims, dims) ? not_numbers : numbers).push_back(static_cast<int32_t>(i));
  }
  const bool start_has_nan = std::binary_search(not_numbers.begin(), not_numbers.end(), start);
  samples[0] = start;
  const int64_t others = static_cast<int64_t>(not_numbers.size());
  int64_t m = std::min(taken, count - others + (start_has_nan ? 1 : 0));
  if (m > 1) {
    const std::vector<int32_t>* rows = all_numbers ? nullptr : &numbers;
    if (dims <= kMaxMortonDims && count >= kTreePoints && m >= kTreeSamples) {
      sample_numbers<T>(TreeCloud<T>(points, count, dims, rows, team), points, dims, samples, m, !start_has_nan);
    } else {
      sample_numbers<T>(FlatCloud<T>(points, count, dims, rows, team), points, dims, samples, m, !start_has_nan);
    }
  }
  for (auto row = not_numbers.begin(); m < taken; ++row) {
    if (*row != start) samples[m++] = *row;
  }
}

template <typename T>
void sample_clouds(const Tensor& points, const Clouds& clouds, const int64_t* start, int64_t num_samples,
                   int64_t* samples) {
  const int64_t dims = points.size(1);
  const T* rows = points.const_data_ptr<T>();
  const auto sample = [&](int64_t c, Team& team) {
    sample_cloud<T>(rows + clouds.first(c) * dims, clouds.size(c), dims, start[c], num_samples,
                    samples + c * num_samples, team);
  };
  const auto members = [&](int64_t c) { return clouds.size(c) * dims / kMemberNumbers; };
  const int64_t threads = torch::stable::get_num_threads();
  int64_t most = 1;
  for (int64_t c = 0; c < clouds.count; ++c) most = std::max(most, std::min(members(c), threads));
  const auto with_team = [](int64_t number, const auto& lead) {
    Team team(number);
    on_members(team.threads(), [&](int64_t member) { team.join(member, lead); });
  };
  if (clouds.count >= most) {
    // A team here, too: it does not wait for a thread that has yet to wake up, which may take as long as some clouds
    // do.
    with_team(std::min(threads, clouds.count), [&](Team& team) {
      on_team(team, clouds.count, [&](int64_t first, int64_t last) {
        Team alone(1);
        for (int64_t c = first; c < last; ++c) sample(c, alone);
      });
    });
  } else {  // one cloud after the other, all threads at each
    for (int64_t c = 0; c < clouds.count; ++c) {
      with_team(std::min(members(c), threads), [&](Team& team) { sample(c, team); });
    }
  }
}

Tensor farthest_point_sampling(const Tensor& points, std::optional<Tensor> extents, const Tensor& start,
                               int64_t cloud_count, int64_t num_samples) {
  check_floating(points, "points", 2);
  check_integers(start, "start", 1);
  STD_TORCH_CHECK(num_samples >= 0, "num_samples must not be negative, got ", num_samples);
  STD_TORCH_CHECK(start.size(0) == cloud_count, "start must have one entry a cloud");
  const Clouds clouds = clouds_of(points, extents, cloud_count);
  check_extents(clouds);
  const int64_t* starts = start.const_data_ptr<int64_t>();
  for (int64_t c = 0; c < clouds.count; ++c) {
    STD_TORCH_CHECK(clouds.size(c) == 0 || (starts[c] >= 0 && starts[c] < clouds.size(c)), "start of cloud ", c,
                    " must be one of its ", clouds.size(c), " points, got ", starts[c]);
    // Block numbers are carried as float32, which counts exactly to 2^24.
    STD_TORCH_CHECK(clouds.size(c) <= kBlock << 24, "a cloud can have at most 2^28 points, got ", clouds.size(c));
  }
  Tensor samples = empty_integers(points, cloud_count, num_samples);
  if (cloud_count > 0 && num_samples > 0) {
    const auto sample = points.scalar_type() == ScalarType::Float ? sample_clouds<float> : sample_clouds<double>;
    sample(points, clouds, starts, num_samples, samples.mutable_data_ptr<int64_t>());
  }
  return samples;
}

}  // namespace

}  // namespace pointkernels

STABLE_TORCH_LIBRARY_IMPL(pointkernels, CPU, library) {
  library.impl("farthest_point_sampling", TORCH_BOX(&pointkernels::farthest_point_sampling));
}
