// A team of threads gives the sums that one thread gives, loop after loop, whoever comes and whenever. Built with
// ThreadSanitizer by test_team.py: what one loop writes the next one reads, in whichever thread.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "../../csrc/cpu/threads/team.h"

using pointkernels::Team;

namespace {

constexpr int64_t kNumbers = 100, kLoops = 300;

// Each loop adds its number to all entries and doubles them; between loops the leader changes one of them by itself.
std::vector<uint32_t> numbers_after_all_loops(int64_t members, int64_t absent, bool late) {
  std::vector<uint32_t> numbers(kNumbers, 1);
  Team team(members);
  const auto lead = [&](Team& joined) {
    for (int64_t loop = 0; loop < kLoops; ++loop) {
      joined.each(kNumbers, [&numbers, loop](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) numbers[i] = 2 * numbers[i] + static_cast<uint32_t>(loop + i);
      });
      numbers[loop % kNumbers] += numbers[(loop + 7) % kNumbers];
    }
  };
  std::vector<std::thread> threads;
  for (int64_t member = 0; member < members - absent; ++member) {
    threads.emplace_back([&, member] {
      if (late && member > 0) std::this_thread::sleep_for(std::chrono::microseconds(50 * member));
      team.join(member, lead);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return numbers;
}

}  // namespace

int main() {
  const std::vector<uint32_t> expected = numbers_after_all_loops(1, 0, false);
  for (const int64_t members : {2, 3, 5}) {
    for (int64_t absent = 0; absent < members; ++absent) {
      for (const bool late : {false, true}) {
        if (numbers_after_all_loops(members, absent, late) == expected) continue;
        std::printf("%d members, %d of them absent: wrong\n", static_cast<int>(members), static_cast<int>(absent));
        return EXIT_FAILURE;
      }
    }
  }
  return EXIT_SUCCESS;
}
