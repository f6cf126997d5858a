#include "isa.h"

#include <atomic>
#include <cstdlib>
#include <cstring>

namespace pointkernels {

namespace {

bool machine_has(Isa isa) {
#if defined(__x86_64__)
  switch (isa) {
    case Isa::kNeon:
      return false;
    case Isa::kAvx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    case Isa::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case Isa::kScalar:
      return true;
  }
  return false;
#elif defined(__aarch64__)
  return isa == Isa::kScalar || isa == Isa::kNeon;
#else
  return isa == Isa::kScalar;
#endif
}

Isa choose() {
  Isa best = Isa::kScalar;
  const char* limit = std::getenv("POINTKERNELS_ISA");
  for (const Isa isa : kCompiledIsas) {
    if (machine_has(isa)) best = isa;
    if (limit != nullptr && std::strcmp(limit, isa_name(isa)) == 0) break;
  }
  return best;
}

std::atomic<Isa>& chosen() {
  static std::atomic<Isa> isa{choose()};
  return isa;
}

}  // namespace

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kNeon:
      return "neon";
    case Isa::kScalar:
      break;
  }
  return "scalar";
}

bool isa_supported(Isa isa) { return machine_has(isa); }
Isa current_isa() { return chosen().load(std::memory_order_relaxed); }
void set_isa(Isa isa) { chosen().store(isa, std::memory_order_relaxed); }

template <>
const IsaKernels<float>& isa_kernels<float>() {
#if defined(__x86_64__)
  if (current_isa() == Isa::kAvx512) return kAvx512Float;
  if (current_isa() == Isa::kAvx2) return kAvx2Float;
#elif defined(__aarch64__)
  if (current_isa() == Isa::kNeon) return kNeonFloat;
#endif
  return kScalarFloat;
}

template <>
const IsaKernels<double>& isa_kernels<double>() {
#if defined(__x86_64__)
  if (current_isa() == Isa::kAvx512) return kAvx512Double;
  if (current_isa() == Isa::kAvx2) return kAvx2Double;
#elif defined(__aarch64__)
  if (current_isa() == Isa::kNeon) return kNeonDouble;
#endif
  return kScalarDouble;
}

}  // namespace pointkernels
