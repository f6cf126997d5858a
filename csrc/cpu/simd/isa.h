// Choice of instruction set at run time.
//
// The inner loops of every CPU kernel are compiled once per instruction set (builds/isa_scalar.cpp, isa_avx2.cpp and
// isa_avx512.cpp, or isa_neon.cpp, which are empty on other processors) and reached through a table of tables, one for
// each family of kernels, which declares it in its own folder. Those files take raw pointers and use nothing of the C++
// standard library, so that they export no inline function compiled for a machine that may not be this one.
#pragma once

namespace pointkernels {

struct GraphKernels;  // graph/graph_kernels.h
template <typename T>
struct EdgeConvKernels;  // edge_conv/edge_conv_kernels.h
template <typename T>
struct LinearKernels;  // linear/linear.h
template <typename T>
struct ProjectionKernels;  // search/projection.h
template <typename T>
struct SamplingKernels;  // sampling/farthest_point_sampling.h
template <typename T>
struct SearchKernels;  // search/search_kernels.h
template <typename T>
struct TwoLayerKernels;  // edge_conv/two_layer.h

template <typename T>
struct IsaKernels {
  const EdgeConvKernels<T>* edge_conv;
  const GraphKernels* graph;
  const LinearKernels<T>* linear;
  const ProjectionKernels<T>* projection;
  const SamplingKernels<T>* sampling;
  const SearchKernels<T>* search;
  const TwoLayerKernels<T>* two_layer;
};

enum class Isa { kScalar, kAvx2, kAvx512, kNeon };

// Those that are compiled for this processor, from the slowest to the fastest.
#if defined(__x86_64__)
inline constexpr Isa kCompiledIsas[] = {Isa::kScalar, Isa::kAvx2, Isa::kAvx512};
#elif defined(__aarch64__)
inline constexpr Isa kCompiledIsas[] = {Isa::kScalar, Isa::kNeon};
#else
inline constexpr Isa kCompiledIsas[] = {Isa::kScalar};
#endif

extern const IsaKernels<float> kScalarFloat, kAvx2Float, kAvx512Float, kNeonFloat;
extern const IsaKernels<double> kScalarDouble, kAvx2Double, kAvx512Double, kNeonDouble;

const char* isa_name(Isa isa);
bool isa_supported(Isa isa);  // by this build and this machine

// The best supported one, unless POINTKERNELS_ISA (scalar, avx2, avx512, neon) names a lower one or set_isa() was
// called.
Isa current_isa();
void set_isa(Isa isa);

template <typename T>
const IsaKernels<T>& isa_kernels();

}  // namespace pointkernels
