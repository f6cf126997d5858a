// The vectors of simd.h in the registers of AVX2. Included by simd.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace {

// For every choice of eight lanes, their numbers in order, a byte each.
struct CompressTable {
  uint64_t orders[256];
  constexpr CompressTable() : orders() {
    for (uint32_t chosen = 0; chosen < 256; ++chosen) {
      int place = 0;
      for (uint64_t lane = 0; lane < 8; ++lane) {
        if (chosen >> lane & 1) orders[chosen] |= lane << (8 * place++);
      }
    }
  }
};
constexpr CompressTable kCompressTable;

inline __m256i compressed_order(uint32_t chosen) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(kCompressTable.orders + chosen)));
}

struct Floats {
  using value = float;
  using Mask = __m256;
  static constexpr int64_t width = 8;
  __m256 v;

  static Floats load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static Floats broadcast(float x) { return {_mm256_set1_ps(x)}; }
  void store(float* p) const { _mm256_storeu_ps(p, v); }
  static Floats fma(Floats a, Floats b, Floats c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
  static Floats min_or_second(Floats a, Floats b) { return {_mm256_min_ps(a.v, b.v)}; }
  static Mask less(Floats a, Floats b) { return _mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ); }
  static Mask less_equal(Floats a, Floats b) { return _mm256_cmp_ps(a.v, b.v, _CMP_LE_OQ); }
  static Mask equal(Floats a, Floats b) { return _mm256_cmp_ps(a.v, b.v, _CMP_EQ_OQ); }
  static Mask above(Floats a, Floats b) { return _mm256_cmp_ps(a.v, b.v, _CMP_NLE_UQ); }
  static Mask is_number(Floats a) { return _mm256_cmp_ps(a.v, a.v, _CMP_ORD_Q); }
  static Mask matches(const uint8_t* p, int64_t number) {
    const __m128i values = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    const __m128i equal = _mm_cmpeq_epi8(values, _mm_set1_epi8(static_cast<char>(number)));
    return _mm256_castsi256_ps(_mm256_cvtepi8_epi32(equal));
  }
  static Mask matches(const int32_t* p, int64_t number) {
    const __m256i values = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(values, _mm256_set1_epi32(static_cast<int>(number))));
  }
  static Mask both(Mask a, Mask b) { return _mm256_and_ps(a, b); }
  static uint32_t bits(Mask mask) { return static_cast<uint32_t>(_mm256_movemask_ps(mask)); }
  static Floats select(Mask mask, Floats a, Floats b) { return {_mm256_blendv_ps(b.v, a.v, mask)}; }
  static Floats max_or_second(Floats a, Floats b) { return {_mm256_max_ps(a.v, b.v)}; }
  static Floats add_where(Mask mask, Floats a, Floats b) { return {_mm256_add_ps(a.v, _mm256_and_ps(mask, b.v))}; }
  static int64_t compress(Mask mask, Floats a, float* to) {
    const uint32_t chosen = bits(mask);
    _mm256_storeu_ps(to, _mm256_permutevar8x32_ps(a.v, compressed_order(chosen)));
    return __builtin_popcount(chosen);
  }
  static void compress_integers(Mask mask, const int32_t* from, int32_t* to) {
    const __m256i values = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to),
                        _mm256_permutevar8x32_epi32(values, compressed_order(bits(mask))));
  }
  // Halves of rows are put together while they are loaded, which takes fewer shuffles than whole rows.
  static void load_columns(const float* const* rows, int64_t at, Floats* columns) {
    for (int64_t half = 0; half < 8; half += 4) {
      __m256 part[4];  // rows i and i + 4
      for (int64_t i = 0; i < 4; ++i) {
        const __m128 low = _mm_loadu_ps(rows[i] + at + half), high = _mm_loadu_ps(rows[i + 4] + at + half);
        part[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(low), high, 1);
      }
      const __m256d low01 = _mm256_castps_pd(_mm256_unpacklo_ps(part[0], part[1]));
      const __m256d high01 = _mm256_castps_pd(_mm256_unpackhi_ps(part[0], part[1]));
      const __m256d low23 = _mm256_castps_pd(_mm256_unpacklo_ps(part[2], part[3]));
      const __m256d high23 = _mm256_castps_pd(_mm256_unpackhi_ps(part[2], part[3]));
      columns[half] = {_mm256_castpd_ps(_mm256_unpacklo_pd(low01, low23))};
      columns[half + 1] = {_mm256_castpd_ps(_mm256_unpackhi_pd(low01, low23))};
      columns[half + 2] = {_mm256_castpd_ps(_mm256_unpacklo_pd(high01, high23))};
      columns[half + 3] = {_mm256_castpd_ps(_mm256_unpackhi_pd(high01, high23))};
    }
  }
  void store_integers(int32_t* p) const { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_cvttps_epi32(v)); }
  void store_bytes(uint8_t* p) const {
    const __m256i bytes = _mm256_and_si256(_mm256_cvttps_epi32(v), _mm256_set1_epi32(255));
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(words, words));
  }
  void add_to(double* p) const {
    const __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(v)), high = _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
    _mm256_storeu_pd(p, _mm256_add_pd(_mm256_loadu_pd(p), low));
    _mm256_storeu_pd(p + 4, _mm256_add_pd(_mm256_loadu_pd(p + 4), high));
  }
  static float largest(Floats a) {
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
  }
};
inline Floats operator+(Floats a, Floats b) { return {_mm256_add_ps(a.v, b.v)}; }
inline Floats operator-(Floats a, Floats b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline Floats operator*(Floats a, Floats b) { return {_mm256_mul_ps(a.v, b.v)}; }

struct Doubles {
  using value = double;
  using Mask = __m256d;
  static constexpr int64_t width = 4;
  __m256d v;

  static Doubles load(const double* p) { return {_mm256_loadu_pd(p)}; }
  static Doubles broadcast(double x) { return {_mm256_set1_pd(x)}; }
  void store(double* p) const { _mm256_storeu_pd(p, v); }
  static Doubles fma(Doubles a, Doubles b, Doubles c) { return {_mm256_fmadd_pd(a.v, b.v, c.v)}; }
  static Doubles min_or_second(Doubles a, Doubles b) { return {_mm256_min_pd(a.v, b.v)}; }
  static Mask less(Doubles a, Doubles b) { return _mm256_cmp_pd(a.v, b.v, _CMP_LT_OQ); }
  static Mask less_equal(Doubles a, Doubles b) { return _mm256_cmp_pd(a.v, b.v, _CMP_LE_OQ); }
  static Mask equal(Doubles a, Doubles b) { return _mm256_cmp_pd(a.v, b.v, _CMP_EQ_OQ); }
  static Mask above(Doubles a, Doubles b) { return _mm256_cmp_pd(a.v, b.v, _CMP_NLE_UQ); }
  static Mask is_number(Doubles a) { return _mm256_cmp_pd(a.v, a.v, _CMP_ORD_Q); }
  static Mask matches(const uint8_t* p, int64_t number) {
    int32_t four;
    __builtin_memcpy(&four, p, 4);
    const __m128i equal = _mm_cmpeq_epi8(_mm_cvtsi32_si128(four), _mm_set1_epi8(static_cast<char>(number)));
    return _mm256_castsi256_pd(_mm256_cvtepi8_epi64(equal));
  }
  static Mask matches(const int32_t* p, int64_t number) {
    const __m128i values = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    const __m128i equal = _mm_cmpeq_epi32(values, _mm_set1_epi32(static_cast<int>(number)));
    return _mm256_castsi256_pd(_mm256_cvtepi32_epi64(equal));
  }
  static Mask both(Mask a, Mask b) { return _mm256_and_pd(a, b); }
  static uint32_t bits(Mask mask) { return static_cast<uint32_t>(_mm256_movemask_pd(mask)); }
  static Doubles select(Mask mask, Doubles a, Doubles b) { return {_mm256_blendv_pd(b.v, a.v, mask)}; }
  static Doubles max_or_second(Doubles a, Doubles b) { return {_mm256_max_pd(a.v, b.v)}; }
  static Doubles add_where(Mask mask, Doubles a, Doubles b) { return {_mm256_add_pd(a.v, _mm256_and_pd(mask, b.v))}; }
  static int64_t compress(Mask mask, Doubles a, double* to) {
    // As pairs of 32-bit lanes, whose sign bits both say what the 64-bit lane says.
    const uint32_t halves = static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castpd_ps(mask)));
    _mm256_storeu_ps(reinterpret_cast<float*>(to),
                     _mm256_permutevar8x32_ps(_mm256_castpd_ps(a.v), compressed_order(halves)));
    return __builtin_popcount(bits(mask));
  }
  static void compress_integers(Mask mask, const int32_t* from, int32_t* to) {
    const __m128i values = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    const __m256i moved = _mm256_permutevar8x32_epi32(_mm256_castsi128_si256(values), compressed_order(bits(mask)));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(moved));
  }
  static void load_columns(const double* const* rows, int64_t at, Doubles* columns) {
    for (int64_t half = 0; half < 8; half += 4) {
      __m256d part[4];
      for (int64_t i = 0; i < 4; ++i) part[i] = _mm256_loadu_pd(rows[i] + at + half);
      const __m256d even01 = _mm256_unpacklo_pd(part[0], part[1]), odd01 = _mm256_unpackhi_pd(part[0], part[1]);
      const __m256d even23 = _mm256_unpacklo_pd(part[2], part[3]), odd23 = _mm256_unpackhi_pd(part[2], part[3]);
      columns[half] = {_mm256_permute2f128_pd(even01, even23, 0x20)};
      columns[half + 1] = {_mm256_permute2f128_pd(odd01, odd23, 0x20)};
      columns[half + 2] = {_mm256_permute2f128_pd(even01, even23, 0x31)};
      columns[half + 3] = {_mm256_permute2f128_pd(odd01, odd23, 0x31)};
    }
  }
  void store_integers(int32_t* p) const { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvttpd_epi32(v)); }
  void store_bytes(uint8_t* p) const {
    int32_t numbers[4];
    store_integers(numbers);
    for (int lane = 0; lane < 4; ++lane) p[lane] = static_cast<uint8_t>(numbers[lane]);
  }
  void add_to(double* p) const { _mm256_storeu_pd(p, _mm256_add_pd(_mm256_loadu_pd(p), v)); }
  static double largest(Doubles a) {
    const __m128d half = _mm_max_pd(_mm256_castpd256_pd128(a.v), _mm256_extractf128_pd(a.v, 1));
    return _mm_cvtsd_f64(_mm_max_sd(half, _mm_unpackhi_pd(half, half)));
  }
};
inline Doubles operator+(Doubles a, Doubles b) { return {_mm256_add_pd(a.v, b.v)}; }
inline Doubles operator-(Doubles a, Doubles b) { return {_mm256_sub_pd(a.v, b.v)}; }
inline Doubles operator*(Doubles a, Doubles b) { return {_mm256_mul_pd(a.v, b.v)}; }

}  // namespace
