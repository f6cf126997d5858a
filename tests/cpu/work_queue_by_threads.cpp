// Threads claim units of one kind, wait for all of them, and read in units of another kind what the first have written,
// as a search packs points and then looks at them. Prints the sum of what they read, once by WorkQueue and once by
// Shares.
#include "../../csrc/cpu/threads/work_queue.h"

#include <atomic>
#include <cstdio>
#include <thread>
#include <utility>
#include <vector>

constexpr int64_t kThreads = 4, kUnits = 5000;

template <typename Work>
void on_threads(int64_t count, const Work& work) {
  std::vector<std::thread> threads;
  for (int64_t t = 0; t < count; ++t) threads.emplace_back(work, t);
  for (std::thread& thread : threads) thread.join();
}

// Every unit must be in one piece, whichever of the threads come.
int64_t sum_by_shares(int64_t coming) {
  std::vector<int64_t> written(kUnits, 0);
  pointkernels::Shares shares(kUnits, kThreads);
  on_threads(coming, [&](int64_t member) {
    shares.each(member, [&](int64_t begin, int64_t end) {
      for (int64_t unit = begin; unit < end; ++unit) written[unit] += unit;
    });
  });
  int64_t sum = 0;
  for (const int64_t value : written) sum += value;
  return sum;
}

int main(int argc, char** argv) {
  const bool waiting = argc == 1;  // with an argument nobody waits, which is a race
  int64_t sum = 0;
  for (int64_t round = 0; round < 20; ++round) {
    std::vector<int64_t> written(kUnits, -1), read(kUnits, -1);
    pointkernels::WorkQueue writing(kUnits, kThreads), reading(kUnits, kThreads);
    std::atomic<int64_t> arrived{0};  // orders nothing, but lets no thread do everything before the others start
    on_threads(kThreads, [&](int64_t) {
      bool first = true;
      writing.each([&](int64_t unit) {
        written[unit] = unit;
        if (!std::exchange(first, false)) return;
        arrived.fetch_add(1, std::memory_order_relaxed);
        while (arrived.load(std::memory_order_relaxed) < kThreads) std::this_thread::yield();
      });
      if (waiting) writing.wait();
      reading.each([&](int64_t unit) { read[unit] = written[kUnits - 1 - unit]; });
    });
    for (const int64_t value : read) sum += value;
  }
  int64_t by_shares = 0;
  for (int64_t round = 0; round < 20; ++round) by_shares += sum_by_shares(1 + round % kThreads);
  std::printf("%lld %lld\n", static_cast<long long>(sum), static_cast<long long>(by_shares));
  return 0;
}
