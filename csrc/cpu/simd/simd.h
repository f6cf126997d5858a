// Vectors of the widest registers that the including file is compiled for.
//
// Included once by each isa_<name>.cpp, after its target pragma and the macro that names it; everything lives in an
// anonymous namespace, because code compiled for one instruction set must never be the copy that the linker keeps for
// all (one definition rule).
//
// A vector type V has V::width lanes of V::value and a V::Mask with one truth value a lane. min_or_second returns the
// second operand where either is NaN, as x86 does; above is true where a > b or either is NaN; matches compares
// V::width integers in memory with one number; add_where adds where the mask is true; largest is a vector's largest
// lane, of lanes that are not NaN. compress moves the lanes of the mask to the front and stores all V::width of them,
// so the place they go to must have room for so many; it returns how many lanes count. load_columns loads numbers
// [at, at + 8) of V::width rows, a vector for each of the eight. store_integers and store_bytes cut to integers, these
// to their lowest eight bits; add_to adds each lane to a double. Operators stand outside their class because GCC
// compiles friends without the target pragma.
#pragma once

#include <cstdint>

#if defined(POINTKERNELS_AVX512)
#include "avx512.h"
#elif defined(POINTKERNELS_AVX2)
#include "avx2.h"
#elif defined(POINTKERNELS_NEON)
#include "neon.h"
#endif

namespace {

// One lane: the scalar build, and the channels that are left over after the full vectors.
template <typename T>
struct Lane {
  using value = T;
  using Mask = bool;
  static constexpr int64_t width = 1;
  T v;

  static Lane load(const T* p) { return {*p}; }
  static Lane broadcast(T x) { return {x}; }
  void store(T* p) const { *p = v; }
  friend Lane operator+(Lane a, Lane b) { return {a.v + b.v}; }
  friend Lane operator-(Lane a, Lane b) { return {a.v - b.v}; }
  friend Lane operator*(Lane a, Lane b) { return {a.v * b.v}; }
  static Lane fma(Lane a, Lane b, Lane c) {
    if constexpr (sizeof(T) == 4) {
      return {__builtin_fmaf(a.v, b.v, c.v)};
    } else {
      return {__builtin_fma(a.v, b.v, c.v)};
    }
  }
  static Lane min_or_second(Lane a, Lane b) { return {a.v < b.v ? a.v : b.v}; }
  static Mask less(Lane a, Lane b) { return a.v < b.v; }
  static Mask less_equal(Lane a, Lane b) { return a.v <= b.v; }
  static Mask equal(Lane a, Lane b) { return a.v == b.v; }
  static Mask above(Lane a, Lane b) { return !(a.v <= b.v); }
  static Mask is_number(Lane a) { return a.v == a.v; }
  static Mask matches(const uint8_t* p, int64_t number) { return *p == number; }
  static Mask matches(const int32_t* p, int64_t number) { return *p == number; }
  static Mask both(Mask a, Mask b) { return a && b; }
  static uint32_t bits(Mask mask) { return mask; }
  static Lane select(Mask mask, Lane a, Lane b) { return mask ? a : b; }
  static Lane max_or_second(Lane a, Lane b) { return {a.v > b.v ? a.v : b.v}; }
  static Lane add_where(Mask mask, Lane a, Lane b) { return {mask ? a.v + b.v : a.v}; }
  static int64_t compress(Mask mask, Lane a, T* to) {
    *to = a.v;
    return mask;
  }
  static void compress_integers(Mask, const int32_t* from, int32_t* to) { *to = *from; }
  static void load_columns(const T* const* rows, int64_t at, Lane* columns) {
    for (int64_t j = 0; j < 8; ++j) columns[j] = {rows[0][at + j]};
  }
  void store_integers(int32_t* p) const { *p = static_cast<int32_t>(v); }
  void store_bytes(uint8_t* p) const { *p = static_cast<uint8_t>(static_cast<int32_t>(v)); }
  void add_to(double* p) const { *p += v; }
  static T largest(Lane a) { return a.v; }
};

#if !defined(POINTKERNELS_AVX512) && !defined(POINTKERNELS_AVX2) && !defined(POINTKERNELS_NEON)

using Floats = Lane<float>;
using Doubles = Lane<double>;

#endif

// Vector registers, which is how many accumulators a loop may have.
#if defined(POINTKERNELS_AVX512) || defined(POINTKERNELS_NEON)
constexpr int64_t kVectorRegisters = 32;
#else
constexpr int64_t kVectorRegisters = 16;
#endif

// Which of `count` words, at most 64, have bit number `bit`, as bits. Reads words up to the next multiple of 32.
inline uint64_t column_bits(const uint16_t* words, int64_t count, int64_t bit) {
  uint64_t column = 0;
#if defined(POINTKERNELS_AVX512)
  const __m512i wanted = _mm512_set1_epi16(static_cast<int16_t>(1 << bit));
  for (int64_t i = 0; i < count; i += 32) {
    column |= static_cast<uint64_t>(_mm512_test_epi16_mask(_mm512_loadu_si512(words + i), wanted)) << i;
  }
  return column & (~uint64_t{0} >> (64 - count));
#elif defined(POINTKERNELS_AVX2)
  const __m128i up = _mm_cvtsi32_si128(static_cast<int>(15 - bit));  // to where a number has its sign
  for (int64_t i = 0; i < count; i += 32) {
    const __m256i first = _mm256_sll_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(words + i)), up);
    const __m256i second = _mm256_sll_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(words + i + 16)), up);
    const __m256i signs = _mm256_permute4x64_epi64(_mm256_packs_epi16(first, second), 0xD8);
    column |= static_cast<uint64_t>(static_cast<uint32_t>(_mm256_movemask_epi8(signs))) << i;
  }
  return column & (~uint64_t{0} >> (64 - count));
#else
  for (int64_t i = 0; i < count; ++i) column |= static_cast<uint64_t>(words[i] >> bit & 1) << i;
  return column;
#endif
}

template <typename T>
struct VectorOf;
template <>
struct VectorOf<float> {
  using type = Floats;
};
template <>
struct VectorOf<double> {
  using type = Doubles;
};
template <typename T>
using Vector = typename VectorOf<T>::type;

}  // namespace
