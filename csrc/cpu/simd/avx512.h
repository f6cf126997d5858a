// The vectors of simd.h in the registers of AVX-512. Included by simd.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace {

struct Floats {
  using value = float;
  using Mask = __mmask16;
  static constexpr int64_t width = 16;
  __m512 v;

  static Floats load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static Floats broadcast(float x) { return {_mm512_set1_ps(x)}; }
  void store(float* p) const { _mm512_storeu_ps(p, v); }
  static Floats fma(Floats a, Floats b, Floats c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
  static Floats min_or_second(Floats a, Floats b) { return {_mm512_min_ps(a.v, b.v)}; }
  static Mask less(Floats a, Floats b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ); }
  static Mask less_equal(Floats a, Floats b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ); }
  static Mask equal(Floats a, Floats b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ); }
  static Mask above(Floats a, Floats b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_NLE_UQ); }
  static Mask is_number(Floats a) { return _mm512_cmp_ps_mask(a.v, a.v, _CMP_ORD_Q); }
  static Mask matches(const uint8_t* p, int64_t number) {
    const __m128i values = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm_cmpeq_epi8_mask(values, _mm_set1_epi8(static_cast<char>(number)));
  }
  static Mask matches(const int32_t* p, int64_t number) {
    return _mm512_cmpeq_epi32_mask(_mm512_loadu_si512(p), _mm512_set1_epi32(static_cast<int>(number)));
  }
  static Mask both(Mask a, Mask b) { return static_cast<Mask>(a & b); }
  static uint32_t bits(Mask mask) { return mask; }
  static Floats select(Mask mask, Floats a, Floats b) { return {_mm512_mask_blend_ps(mask, b.v, a.v)}; }
  static Floats max_or_second(Floats a, Floats b) { return {_mm512_max_ps(a.v, b.v)}; }
  static Floats add_where(Mask mask, Floats a, Floats b) { return {_mm512_mask_add_ps(a.v, mask, a.v, b.v)}; }
  // Through a register: stores that compress are slow on AMD.
  static int64_t compress(Mask mask, Floats a, float* to) {
    _mm512_storeu_ps(to, _mm512_maskz_compress_ps(mask, a.v));
    return __builtin_popcount(mask);
  }
  static void compress_integers(Mask mask, const int32_t* from, int32_t* to) {
    _mm512_storeu_si512(to, _mm512_maskz_compress_epi32(mask, _mm512_loadu_si512(from)));
  }
  static void load_columns(const float* const* rows, int64_t at, Floats* columns) {
    __m512 part[8];  // two rows each: 0 and 4 to 3 and 7, then 8 and 12 to 11 and 15
    for (int64_t i = 0; i < 8; ++i) {
      const float* const* pair = rows + (i < 4 ? i : i + 4);
      const __m256 low = _mm256_loadu_ps(pair[0] + at), high = _mm256_loadu_ps(pair[4] + at);
      part[i] = _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
    }
    __m512 turned[8];  // column j of eight rows, and column j + 4, in turn in quarters of turned[j] and turned[j + 4]
    for (int64_t i = 0; i < 8; i += 4) {
      const __m512d low01 = _mm512_castps_pd(_mm512_unpacklo_ps(part[i], part[i + 1]));
      const __m512d high01 = _mm512_castps_pd(_mm512_unpackhi_ps(part[i], part[i + 1]));
      const __m512d low23 = _mm512_castps_pd(_mm512_unpacklo_ps(part[i + 2], part[i + 3]));
      const __m512d high23 = _mm512_castps_pd(_mm512_unpackhi_ps(part[i + 2], part[i + 3]));
      turned[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(low01, low23));
      turned[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low01, low23));
      turned[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high01, high23));
      turned[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high01, high23));
    }
    for (int64_t j = 0; j < 4; ++j) {
      columns[j] = {_mm512_shuffle_f32x4(turned[j], turned[j + 4], 0x88)};
      columns[j + 4] = {_mm512_shuffle_f32x4(turned[j], turned[j + 4], 0xDD)};
    }
  }
  void store_integers(int32_t* p) const { _mm512_storeu_si512(p, _mm512_cvttps_epi32(v)); }
  void store_bytes(uint8_t* p) const {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(v)));
  }
  void add_to(double* p) const {
    const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(v)),
                  high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
    _mm512_storeu_pd(p, _mm512_add_pd(_mm512_loadu_pd(p), low));
    _mm512_storeu_pd(p + 8, _mm512_add_pd(_mm512_loadu_pd(p + 8), high));
  }
  static float largest(Floats a) { return _mm512_reduce_max_ps(a.v); }
};
inline Floats operator+(Floats a, Floats b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Floats operator-(Floats a, Floats b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Floats operator*(Floats a, Floats b) { return {_mm512_mul_ps(a.v, b.v)}; }

struct Doubles {
  using value = double;
  using Mask = __mmask8;
  static constexpr int64_t width = 8;
  __m512d v;

  static Doubles load(const double* p) { return {_mm512_loadu_pd(p)}; }
  static Doubles broadcast(double x) { return {_mm512_set1_pd(x)}; }
  void store(double* p) const { _mm512_storeu_pd(p, v); }
  static Doubles fma(Doubles a, Doubles b, Doubles c) { return {_mm512_fmadd_pd(a.v, b.v, c.v)}; }
  static Doubles min_or_second(Doubles a, Doubles b) { return {_mm512_min_pd(a.v, b.v)}; }
  static Mask less(Doubles a, Doubles b) { return _mm512_cmp_pd_mask(a.v, b.v, _CMP_LT_OQ); }
  static Mask less_equal(Doubles a, Doubles b) { return _mm512_cmp_pd_mask(a.v, b.v, _CMP_LE_OQ); }
  static Mask equal(Doubles a, Doubles b) { return _mm512_cmp_pd_mask(a.v, b.v, _CMP_EQ_OQ); }
  static Mask above(Doubles a, Doubles b) { return _mm512_cmp_pd_mask(a.v, b.v, _CMP_NLE_UQ); }
  static Mask is_number(Doubles a) { return _mm512_cmp_pd_mask(a.v, a.v, _CMP_ORD_Q); }
  static Mask matches(const uint8_t* p, int64_t number) {
    const __m128i values = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return static_cast<Mask>(_mm_cmpeq_epi8_mask(values, _mm_set1_epi8(static_cast<char>(number))));
  }
  static Mask matches(const int32_t* p, int64_t number) {
    const __m256i values = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm256_cmpeq_epi32_mask(values, _mm256_set1_epi32(static_cast<int>(number)));
  }
  static Mask both(Mask a, Mask b) { return static_cast<Mask>(a & b); }
  static uint32_t bits(Mask mask) { return mask; }
  static Doubles select(Mask mask, Doubles a, Doubles b) { return {_mm512_mask_blend_pd(mask, b.v, a.v)}; }
  static Doubles max_or_second(Doubles a, Doubles b) { return {_mm512_max_pd(a.v, b.v)}; }
  static Doubles add_where(Mask mask, Doubles a, Doubles b) { return {_mm512_mask_add_pd(a.v, mask, a.v, b.v)}; }
  static int64_t compress(Mask mask, Doubles a, double* to) {
    _mm512_storeu_pd(to, _mm512_maskz_compress_pd(mask, a.v));
    return __builtin_popcount(mask);
  }
  static void compress_integers(Mask mask, const int32_t* from, int32_t* to) {
    const __m256i values = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_maskz_compress_epi32(mask, values));
  }
  static void load_columns(const double* const* rows, int64_t at, Doubles* columns) {
    const __m512i front = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
    const __m512i back = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
    for (int64_t half = 0; half < 8; half += 4) {
      __m512d part[4];  // rows i and i + 4
      for (int64_t i = 0; i < 4; ++i) {
        const __m256d low = _mm256_loadu_pd(rows[i] + at + half), high = _mm256_loadu_pd(rows[i + 4] + at + half);
        part[i] = _mm512_insertf64x4(_mm512_castpd256_pd512(low), high, 1);
      }
      const __m512d even01 = _mm512_unpacklo_pd(part[0], part[1]), odd01 = _mm512_unpackhi_pd(part[0], part[1]);
      const __m512d even23 = _mm512_unpacklo_pd(part[2], part[3]), odd23 = _mm512_unpackhi_pd(part[2], part[3]);
      columns[half] = {_mm512_permutex2var_pd(even01, front, even23)};
      columns[half + 1] = {_mm512_permutex2var_pd(odd01, front, odd23)};
      columns[half + 2] = {_mm512_permutex2var_pd(even01, back, even23)};
      columns[half + 3] = {_mm512_permutex2var_pd(odd01, back, odd23)};
    }
  }
  void store_integers(int32_t* p) const { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvttpd_epi32(v)); }
  void store_bytes(uint8_t* p) const {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm256_cvtepi32_epi8(_mm512_cvttpd_epi32(v)));
  }
  void add_to(double* p) const { _mm512_storeu_pd(p, _mm512_add_pd(_mm512_loadu_pd(p), v)); }
  static double largest(Doubles a) { return _mm512_reduce_max_pd(a.v); }
};
inline Doubles operator+(Doubles a, Doubles b) { return {_mm512_add_pd(a.v, b.v)}; }
inline Doubles operator-(Doubles a, Doubles b) { return {_mm512_sub_pd(a.v, b.v)}; }
inline Doubles operator*(Doubles a, Doubles b) { return {_mm512_mul_pd(a.v, b.v)}; }

}  // namespace
