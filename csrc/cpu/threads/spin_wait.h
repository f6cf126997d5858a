// Waiting for another thread that is at work. Knows nothing of torch, so that ThreadSanitizer can run it (tests/cpu).
#pragma once

#include <cstdint>
#include <thread>

namespace pointkernels {

// One turn of a loop that looks whether the other is done; `waited` counts them.
inline void wait_a_turn(int64_t waited) {
  constexpr int64_t kMostSpins = 1000;  // about 15 microseconds; then the core is offered to other threads
  if (waited >= kMostSpins) return std::this_thread::yield();
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace pointkernels
