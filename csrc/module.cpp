// The Python module `pointkernels._C`. Importing it registers the operators; what it defines itself describes the
// build. This is the only file that includes pybind11.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <torch/headeronly/version.h>

#include <initializer_list>
#include <string>

#include "cpu/search/knn_path.h"
#include "cpu/search/projection.h"
#include "cpu/simd/isa.h"

// setup.py defines POINTKERNELS_VERSION, _CUDA_VERSION and _CUDA_ARCHITECTURES as bare words, the last with commas.
#define QUOTE_WORDS(...) #__VA_ARGS__
#define QUOTE(...) QUOTE_WORDS(__VA_ARGS__)

namespace {

using pointkernels::Isa;

pybind11::dict build_info() {
  pybind11::list compiled, usable;
  for (const Isa isa : pointkernels::kCompiledIsas) {
    compiled.append(pointkernels::isa_name(isa));
    if (pointkernels::isa_supported(isa)) usable.append(pointkernels::isa_name(isa));
  }
  pybind11::dict info;
  info["version"] = QUOTE(POINTKERNELS_VERSION);
  info["compiler"] = __VERSION__;
  info["torch"] = TORCH_VERSION;
  info["cuda"] = QUOTE(POINTKERNELS_CUDA_VERSION);
  info["cuda_architectures"] = QUOTE(POINTKERNELS_CUDA_ARCHITECTURES);
  info["isas_compiled"] = compiled;
  info["isas_usable"] = usable;
  info["isa"] = pointkernels::isa_name(pointkernels::current_isa());
  info["knn_path"] = pointkernels::knn_path_name(pointkernels::knn_path());
  return info;
}

void set_isa(const std::string& name) {
  for (const Isa isa : pointkernels::kCompiledIsas) {
    if (name == pointkernels::isa_name(isa) && pointkernels::isa_supported(isa)) {
      pointkernels::set_isa(isa);
      return;
    }
  }
  throw pybind11::value_error("the instruction set must be one that this build and machine support, got '" + name +
                              "'");
}

void set_knn_path(const std::string& name) {
  using pointkernels::KnnPath;
  for (const KnnPath path : {KnnPath::kAuto, KnnPath::kBrute, KnnPath::kLeaves, KnnPath::kProjected}) {
    if (name == pointkernels::knn_path_name(path)) {
      pointkernels::set_knn_path(path);
      return;
    }
  }
  throw pybind11::value_error("the path of knn must be auto, brute, leaves or projected, got '" + name + "'");
}

using Floats = pybind11::array_t<float, pybind11::array::c_style | pybind11::array::forcecast>;

int64_t knn_projection_dims(const Floats& points, int64_t k) {
  if (points.ndim() != 2) throw pybind11::value_error("points must be (N, D)");
  const int64_t count = points.shape(0), dims = points.shape(1);
  return pointkernels::projection_for<float>({points.data(), count, points.data(), count, false, dims, k}, false)
      .dims();
}

}  // namespace

PYBIND11_MODULE(_C, module) {
  module.doc() = "Registers the pointkernels operators with torch.";
  module.def("build_info", &build_info, "What this binary was built with and what it uses on this machine.");
  module.def("set_isa", &set_isa, "Use the inner loops of one instruction set from now on (for tests).");
  module.def("set_knn_path", &set_knn_path, "Search neighbours on the CPU in one way from now on (for tests).");
  module.def("knn_projection_dims", &knn_projection_dims,
             "By how many coordinates points (N, D) are searched first for k neighbours, 0 for all (for tests).");
}
