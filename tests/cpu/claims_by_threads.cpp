// Threads claim units of one kind, wait for all of them, and read in units of another kind what the first have written,
// as a search packs points and then looks at them. Prints the sum of what they read.
#include "../../csrc/cpu/claims.h"

#include <atomic>
#include <cstdio>
#include <thread>
#include <utility>
#include <vector>

int main(int argc, char** argv) {
  const bool waiting = argc == 1;  // with an argument nobody waits, which is a race
  constexpr int64_t kThreads = 4, kUnits = 5000;
  int64_t sum = 0;
  for (int64_t round = 0; round < 20; ++round) {
    std::vector<int64_t> written(kUnits, -1), read(kUnits, -1);
    pointkernels::Claims writing(kUnits, kThreads), reading(kUnits, kThreads);
    std::atomic<int64_t> arrived{0};  // orders nothing, but lets no thread do everything before the others start
    const auto work = [&] {
      bool first = true;
      writing.each([&](int64_t unit) {
        written[unit] = unit;
        if (!std::exchange(first, false)) return;
        arrived.fetch_add(1, std::memory_order_relaxed);
        while (arrived.load(std::memory_order_relaxed) < kThreads) std::this_thread::yield();
      });
      if (waiting) writing.wait();
      reading.each([&](int64_t unit) { read[unit] = written[kUnits - 1 - unit]; });
    };
    std::vector<std::thread> threads;
    for (int64_t t = 0; t < kThreads; ++t) threads.emplace_back(work);
    for (std::thread& thread : threads) thread.join();
    for (const int64_t value : read) sum += value;
  }
  std::printf("%lld\n", static_cast<long long>(sum));
  return 0;
}
