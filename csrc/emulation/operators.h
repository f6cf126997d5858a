// Included before everything else in the operator files of csrc/cuda, which thereby register their operators here
// instead of with torch (see operators.cpp).
#pragma once

#include <torch/csrc/stable/library.h>

namespace emulation {

struct OperatorFile {
  explicit OperatorFile(void (*register_)(torch::stable::detail::StableLibrary&));
};

}  // namespace emulation

#undef STABLE_TORCH_LIBRARY_IMPL
#define STABLE_TORCH_LIBRARY_IMPL(space, key, library)                                 \
  static void emulated_registration(torch::stable::detail::StableLibrary&);            \
  static const emulation::OperatorFile emulated_operator_file(&emulated_registration); \
  static void emulated_registration(torch::stable::detail::StableLibrary& library)
