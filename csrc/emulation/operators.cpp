// The operators of csrc/cuda on the CPU, under the names and in the place of the CPU's own: their files, unmodified,
// check and allocate as for a GPU, with tensors of the CPU. What they ask torch about CUDA is answered below; the
// library is linked so that these answers, not those of torch, are the ones it gets.
#include <cuda_runtime.h>

#include <cstdlib>
#include <cstring>
#include <list>
#include <string>
#include <vector>

#include "export.h"
#include "operators.h"

// See grid.cpp.
PK_EXPORT const char* emulated_failure();

namespace {

using torch::stable::detail::StableLibrary;

std::vector<void (*)(StableLibrary&)>& operator_files() {
  static std::vector<void (*)(StableLibrary&)> files;
  return files;
}

std::list<StableLibrary> installed;

}  // namespace

emulation::OperatorFile::OperatorFile(void (*register_)(StableLibrary&)) { operator_files().push_back(register_); }

// From now on, until emulated_remove(), the operators of these files run on CPU tensors. Returns how many files.
PK_EXPORT int emulated_install() {
  for (const auto register_ : operator_files()) {
    installed.emplace_back(StableLibrary::Kind::IMPL, "pointkernels", "CPU", __FILE__, __LINE__);
    register_(installed.back());
  }
  return static_cast<int>(installed.size());
}

PK_EXPORT int emulated_remove() {
  installed.clear();
  return 0;
}

// --- what torch says about CUDA

extern "C" {

int32_t aoti_torch_device_type_cuda() { return aoti_torch_device_type_cpu(); }

AOTITorchError aoti_torch_create_device_guard(int32_t, DeviceGuardHandle* guard) {
  *guard = nullptr;
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_delete_device_guard(DeviceGuardHandle) { return AOTI_TORCH_SUCCESS; }

AOTITorchError aoti_torch_get_current_cuda_stream(int32_t, void** stream) {
  *stream = nullptr;
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError torch_c10_cuda_check_msg(int32_t error, const char* file, const char*, uint32_t line, bool,
                                        char** message) {
  *message = nullptr;
  if (error == cudaSuccess) return AOTI_TORCH_SUCCESS;
  const std::string failure = error == cudaErrorLaunchFailure ? emulated_failure() : "";
  const std::string text = "CUDA error " + std::to_string(error) + (failure.empty() ? "" : ": " + failure) + " (" +
                           file + ":" + std::to_string(line) + ")";
  *message = static_cast<char*>(std::malloc(text.size() + 1));
  std::memcpy(*message, text.c_str(), text.size() + 1);
  return AOTI_TORCH_SUCCESS;
}

void torch_c10_cuda_free_error_msg(char* message) { std::free(message); }
}
