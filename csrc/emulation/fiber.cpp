#include "fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#ifdef PK_EMULATION_SANITIZED
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace emulation {

namespace {

Fiber* beginning = nullptr;

// The compiler asks that no function has both its setjmp() and its longjmp().
[[noreturn, gnu::noinline]] void jump_to(void** place) { __builtin_longjmp(place, 1); }

size_t page_bytes() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }

}  // namespace

// Below the stack lies a page that cannot be accessed, so that an overflow stops the program.
Fiber::Fiber() {
  void* const mapped = mmap(nullptr, page_bytes() + kStackBytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "no memory for a fiber's stack");
  mapping_ = static_cast<unsigned char*>(mapped);
  mprotect(mapping_, page_bytes(), PROT_NONE);
  stack_ = mapping_ + page_bytes();
}

Fiber::~Fiber() { munmap(mapping_, page_bytes() + kStackBytes); }

void Fiber::start(void (*entry)()) {
  entry_ = entry;
  if (is_idle_) return;
  has_begun_ = false;
  fake_stack_ = nullptr;
#ifdef PK_EMULATION_SANITIZED
  // Frames that were never left have marked parts of the stack as forbidden.
  __asan_unpoison_memory_region(stack_, kStackBytes);
#endif
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack_;
  context_.uc_stack.ss_size = kStackBytes;
  context_.uc_link = nullptr;
  makecontext(&context_, &Fiber::begin, 0);
}

void Fiber::begin() {
  Fiber* const self = beginning;
  self->arrived();
  for (;;) {
    self->entry_();
    self->is_idle_ = true;
    self->suspend();
    self->is_idle_ = false;
  }
}

// swapcontext() saves the signal mask by two system calls, so only a fiber's beginning goes that way and later
// switches jump. They jump by the compiler's own means, since AddressSanitizer takes longjmp() for the end of the
// frames that it leaves, and the C library, where it is fortified, for an attack.
void Fiber::resume() {
#ifdef PK_EMULATION_SANITIZED
  __sanitizer_start_switch_fiber(&owner_fake_stack_, stack_, kStackBytes);
#endif
  if (__builtin_setjmp(owner_jump_) == 0) {
    if (has_begun_) jump_to(jump_);
    has_begun_ = true;
    beginning = this;
    swapcontext(&owner_context_, &context_);
  }
#ifdef PK_EMULATION_SANITIZED
  __sanitizer_finish_switch_fiber(owner_fake_stack_, nullptr, nullptr);
#endif
}

void Fiber::suspend() {
#ifdef PK_EMULATION_SANITIZED
  __sanitizer_start_switch_fiber(&fake_stack_, owner_stack_, owner_stack_bytes_);
#endif
  if (__builtin_setjmp(jump_) == 0) jump_to(owner_jump_);
  arrived();
}

void Fiber::arrived() {
#ifdef PK_EMULATION_SANITIZED
  __sanitizer_finish_switch_fiber(fake_stack_, &owner_stack_, &owner_stack_bytes_);
#endif
}

}  // namespace emulation
