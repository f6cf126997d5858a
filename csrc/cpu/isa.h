// Choice of instruction set at run time.
//
// The inner loops of every CPU kernel are compiled once per instruction set (isa_scalar.cpp, isa_avx2.cpp,
// isa_avx512.cpp) and reached through a table of function pointers. Those files take raw pointers and use nothing of
// the C++ standard library, so that they export no inline function compiled for a machine that may not be this one.
#pragma once

#include <cstdint>

namespace pointkernels {

// Candidates are kept in blocks of this many points, coordinate by coordinate (D x 16): one AVX-512 register of floats.
inline constexpr int64_t kBlock = 16;
// Queries that share each load of a candidate block: four accumulators, four broadcasts and the candidates fit the
// sixteen AVX2 registers.
inline constexpr int64_t kQueryTile = 4;

template <typename T>
struct EdgeConvGather;  // edge_conv.h
template <typename T>
struct EdgeConvScatter;

template <typename T>
struct IsaKernels {
  // Copies `count` rows of D coordinates into blocks; the last block is filled with NaN, which no threshold admits.
  void (*pack)(const T* rows, int64_t count, int64_t dims, T* blocks);

  // Canonical squared distances from kQueryTile queries (kQueryTile x D) to all blocks, stored as rows of
  // `blocks * kBlock`; group_minima (kQueryTile x groups) receives the smallest distance of each group, where candidate
  // c belongs to group c % groups and groups is a multiple of kBlock. NaN counts as absent.
  void (*distances)(const T* queries, const T* blocks, int64_t block_count, int64_t dims, T* distances, T* group_minima,
                    int64_t groups);

  // A value that at least k of the values (non-negative, padded to a multiple of kBlock) do not exceed, close to the
  // smallest such value; +inf when fewer than k are finite.
  T (*threshold)(const T* values, int64_t count, int64_t k);

  // Appends the candidates with distance <= bound, in index order, and returns how many there are.
  int64_t (*admit)(const T* distances, int64_t count, T bound, T* admitted, int32_t* indices);

  // Sorts `count` distinct candidates in index order by (distance, index) and writes the first k. No NaN.
  void (*rank)(const T* distances, const int32_t* indices, int64_t count, int64_t k, T* sorted, int64_t* order);

  // The first candidates, in index order, whose distance to the query (D) is below squared_radius, at most `limit` and
  // without candidate number `excluded`; returns how many there are.
  int64_t (*first_within)(const T* query, const T* blocks, int64_t block_count, int64_t dims, T squared_radius,
                          int64_t excluded, int64_t limit, T* distances, int64_t* indices);

  // One round of farthest point sampling: lowers `smallest` by the distances to `sample` (D) and returns the index of
  // the largest entry, the lowest of equals.
  int64_t (*lower_and_find_farthest)(const T* blocks, int64_t block_count, int64_t dims, const T* sample, T* smallest);

  // EdgeConv over the edges out of rows [begin, end): extrema, winners and, when wanted, sums. Adds the sum and the sum
  // of squares of all pre-activations to moments (2 x channels).
  void (*edge_conv_gather)(const EdgeConvGather<T>& task, int64_t begin, int64_t end, double* moments);

  // Gradient of the node products of rows [begin, end), over the edges into them.
  void (*edge_conv_scatter)(const EdgeConvScatter<T>& task, int64_t begin, int64_t end);
};

enum class Isa { kScalar, kAvx2, kAvx512 };

extern const IsaKernels<float> kScalarFloat, kAvx2Float, kAvx512Float;
extern const IsaKernels<double> kScalarDouble, kAvx2Double, kAvx512Double;

const char* isa_name(Isa isa);
bool isa_supported(Isa isa);  // by this build and this machine

// The best supported one, unless POINTKERNELS_ISA (scalar, avx2, avx512) names a lower one or set_isa() was called.
Isa current_isa();
void set_isa(Isa isa);

template <typename T>
const IsaKernels<T>& isa_kernels();

}  // namespace pointkernels
