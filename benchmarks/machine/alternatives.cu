// Times prototypes side by side, in one process and in turns, so that what disturbs the device meets all of a group.
// Prints one JSON object. Each is checked first against a simple program on the host; a wrong one is not timed.
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "prototypes/gather.cuh"
#include "prototypes/neighbors.cuh"
#include "prototypes/reverse.cuh"
#include "prototypes/sampling.cuh"
#include "prototypes/sampling_list.cuh"
#include "stopwatch.cuh"

namespace {

using prototypes::Trial;

constexpr int kRounds = 15;
constexpr int kLaunches = 4;  // of a turn: behind each other, so that only one of them waits for the host
constexpr int kClouds = 32;

std::vector<Trial> all_trials() {
  using namespace prototypes;
  std::vector<Trial> trials = {
      sampling_trial<2, 16>(kClouds, 1024, 512),  sampling_trial<4, 8>(kClouds, 1024, 512),
      sampling_trial<8, 4>(kClouds, 1024, 512),   sampling_trial<16, 2>(kClouds, 1024, 512),
      sampling_trial<4, 16>(kClouds, 2048, 1024), sampling_trial<8, 8>(kClouds, 2048, 1024),
      sampling_trial<16, 4>(kClouds, 2048, 1024), sampling_trial<32, 2>(kClouds, 2048, 1024),
      list_trial<1>(kClouds, 100, 30, 0.0f),      list_trial<2>(kClouds, 100, 30, 0.0f),
      list_trial<4>(kClouds, 100, 30, 0.0f),
  };
  for (const int channels : {64, 256}) {
    for (Trial& trial : gather_trials(kClouds, 1024, channels, 20)) trials.push_back(std::move(trial));
  }
  trials.push_back(neighbor_trial("candidates in registers, 2 blocks", registers_kernel<32, 2>, kClouds, 1024, 20, 0));
  trials.push_back(neighbor_trial("candidates in registers, 3 blocks", registers_kernel<32, 3>, kClouds, 1024, 20, 0));
  trials.push_back(neighbor_trial("queue and list", queue_kernel, kClouds, 1024, 20, 0));
  trials.push_back(reverse_trial("lists sorted by a network", reverse_kernel<true>, kClouds, 1024, 20, 1024));
  trials.push_back(reverse_trial("lists sorted by counting", reverse_kernel<false>, kClouds, 1024, 20, 1024));
  return trials;
}

struct Outcome {
  const char* status = "ok";
  std::vector<double> seconds;
};

Outcome checked(const Trial& trial, cudaStream_t stream, size_t shared_bytes) {
  if (trial.dynamic_shared_bytes > shared_bytes) return {"unavailable", {}};
  if (trial.launch(stream) != cudaSuccess) {
    cudaGetLastError();  // or the next trial would find it
    return {"failed", {}};
  }
  machine::check(cudaStreamSynchronize(stream), trial.name.c_str());
  return {trial.is_right() ? "ok" : "wrong", {}};
}

}  // namespace

int main() {
  machine::Stopwatch watch;
  int shared_bytes = 0;
  machine::check(cudaDeviceGetAttribute(&shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0), "device");
  const std::vector<Trial> trials = all_trials();
  std::vector<Outcome> outcomes;
  for (const Trial& trial : trials) {
    outcomes.push_back(checked(trial, watch.stream(), static_cast<size_t>(shared_bytes)));
  }
  // The references ran on the host while the device rested: the first rounds bring its clocks up and do not count.
  constexpr int kWarmUp = 3;
  for (int round = 0; round < kWarmUp + kRounds; ++round) {
    for (size_t turn = 0; turn < trials.size(); ++turn) {
      // Every round begins with another one, so that none always runs behind the same.
      const size_t t = (turn + static_cast<size_t>(round) * 5) % trials.size();
      if (outcomes[t].status != std::string("ok")) continue;
      const double taken = watch.once([&] {
        for (int n = 0; n < kLaunches; ++n) machine::check(trials[t].launch(watch.stream()), "launch");
      });
      if (round >= kWarmUp) outcomes[t].seconds.push_back(taken / kLaunches);
    }
  }
  std::printf("{\"rounds\": %d, \"cases\": [", kRounds);
  for (size_t t = 0; t < trials.size(); ++t) {
    std::printf("%s\n {\"group\": \"%s\", \"name\": \"%s\", \"status\": \"%s\"", t == 0 ? "" : ",",
                trials[t].group.c_str(), trials[t].name.c_str(), outcomes[t].status);
    if (!outcomes[t].seconds.empty()) std::printf(", \"seconds\": %.6g", machine::median(outcomes[t].seconds));
    std::printf("}");
  }
  std::printf("]}\n");
  return 0;
}
