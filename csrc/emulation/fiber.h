// A flow of control with a stack of its own, which runs only while its owner has resumed it.
#pragma once

#include <ucontext.h>

#include <cstddef>

namespace emulation {

class Fiber {
 public:
  // Kernels need a few KiB; under AddressSanitizer frames are several times larger. Pages are touched only when used.
  static constexpr size_t kStackBytes = 128 << 10;

  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Makes the fiber ready to run `entry` from its beginning. If it has not come to the end of its last one, whatever it
  // was doing is forgotten, without unwinding.
  void start(void (*entry)());

  // Whether an address is of its stack.
  bool holds(const void* address) const {
    const unsigned char* const byte = static_cast<const unsigned char*>(address);
    return byte >= stack_ && byte < stack_ + kStackBytes;
  }

  // For the owner: runs the fiber until it suspends itself or its entry ends.
  void resume();

  // For the fiber: returns to the owner; the next resume() continues here.
  void suspend();

 private:
  static void begin();
  void arrived();

  void (*entry_)() = nullptr;
  bool is_idle_ = false;  // in begin(), between two entries
  bool has_begun_ = false;
  unsigned char* mapping_ = nullptr;
  unsigned char* stack_ = nullptr;
  ucontext_t context_;
  ucontext_t owner_context_;
  void* jump_[5];  // as __builtin_setjmp() wants them
  void* owner_jump_[5];
  // What AddressSanitizer wants to know at each switch.
  void* fake_stack_ = nullptr;
  void* owner_fake_stack_ = nullptr;
  const void* owner_stack_ = nullptr;
  size_t owner_stack_bytes_ = 0;
};

}  // namespace emulation
