// The prototypes at small sizes, for the test that runs them on a CPU.
#include "../../../csrc/emulation/export.h"
#include "gather.cuh"
#include "neighbors.cuh"
#include "reverse.cuh"
#include "sampling.cuh"
#include "sampling_list.cuh"

namespace {

std::vector<prototypes::Trial> small_trials() {
  using namespace prototypes;
  // Sizes that do not fill the last threads, lists that end before their steps do, and a split with fewer rows.
  std::vector<Trial> trials = {
      sampling_trial<1, 4>(2, 101, 30), sampling_trial<2, 16>(1, 1000, 8),  sampling_trial<4, 8>(1, 1000, 8),
      sampling_trial<8, 4>(2, 1024, 8), sampling_trial<16, 2>(1, 1000, 40), sampling_trial<16, 4>(1, 2048, 8),
      list_trial<1>(2, 2, 40, 0.0f),    list_trial<2>(2, 1, 70, 0.0f),      list_trial<4>(2, 1, 30, 0.05f),
  };
  for (Trial& trial : gather_trials(2, 37, 64, 5)) trials.push_back(std::move(trial));
  // Points that are all alike are more candidates up to the threshold than there is room for.
  for (const int grid : {0, 1, 2}) {
    trials.push_back(neighbor_trial("registers", registers_kernel<4, 1>, 1, 101, 9, grid));
    trials.push_back(neighbor_trial("queue", queue_kernel, 1, 200, 20, grid));
  }
  trials.push_back(neighbor_trial("registers", registers_kernel<32, 2>, 1, 70, 32, 0));
  // All edges at seven points, whose lists no network holds; and points of which most have one edge or none.
  trials.push_back(reverse_trial("network", reverse_kernel<true>, 2, 100, 5, 7));
  trials.push_back(reverse_trial("network", reverse_kernel<true>, 1, 1024, 1, 1024));
  trials.push_back(reverse_trial("counting", reverse_kernel<false>, 1, 100, 5, 100));
  return trials;
}

}  // namespace

PK_EXPORT int prototype_count() { return static_cast<int>(small_trials().size()); }

// 0 right, 1 wrong, 2 the launch failed.
PK_EXPORT int prototype_outcome(int number) {
  const prototypes::Trial trial = small_trials()[static_cast<size_t>(number)];
  if (trial.launch(nullptr) != cudaSuccess) return 2;
  return trial.is_right() ? 0 : 1;
}
