// What the operators of this folder share on the host side of the device.
#pragma once

#include <cuda_runtime.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/macros.h>
#include <torch/headeronly/util/shim_utils.h>

#include "../common/tensors.h"

namespace pointkernels::cuda {

using torch::stable::accelerator::DeviceGuard;

// The caller's stream on the device of `tensor`.
inline cudaStream_t current_stream(const Tensor& tensor) {
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(tensor.get_device_index(), &stream));
  return static_cast<cudaStream_t>(stream);
}

inline void check_device(const Tensor& tensor, const char* name, const Tensor& like) {
  STD_TORCH_CHECK(tensor.is_cuda() && tensor.get_device_index() == like.get_device_index(), name,
                  " must be on the CUDA device of the other tensors");
}

inline void check_device(const std::optional<Tensor>& tensor, const char* name, const Tensor& like) {
  if (tensor.has_value()) check_device(*tensor, name, like);
}

inline bool is_float32(const Tensor& tensor) { return tensor.scalar_type() == ScalarType::Float; }

}  // namespace pointkernels::cuda
