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
