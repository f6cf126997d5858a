// The vectors of simd.h in the registers of Arm (AArch64 Advanced SIMD). Included by simd.h.
#pragma once

#include <arm_neon.h>

#include <cstdint>

namespace {

// For every choice of four lanes, their bytes in order.
struct CompressTable {
  uint8_t orders[16][16];
  constexpr CompressTable() : orders() {
    for (uint32_t chosen = 0; chosen < 16; ++chosen) {
      int place = 0;
      for (uint8_t lane = 0; lane < 4; ++lane) {
        if ((chosen >> lane & 1) == 0) continue;
        for (uint8_t byte = 0; byte < 4; ++byte) orders[chosen][4 * place + byte] = 4 * lane + byte;
        ++place;
      }
    }
  }
};
constexpr CompressTable kCompressTable;

inline uint8x16_t compressed(uint8x16_t lanes, uint32_t chosen) {
  return vqtbl1q_u8(lanes, vld1q_u8(kCompressTable.orders[chosen]));
}

struct Floats {
  using value = float;
  using Mask = uint32x4_t;
  static constexpr int64_t width = 4;
  float32x4_t v;

  static Floats load(const float* p) { return {vld1q_f32(p)}; }
  static Floats broadcast(float x) { return {vdupq_n_f32(x)}; }
  void store(float* p) const { vst1q_f32(p, v); }
  static Floats fma(Floats a, Floats b, Floats c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
  // Not vminq and vmaxq, which return NaN where either operand is one.
  static Floats min_or_second(Floats a, Floats b) { return {vbslq_f32(vcltq_f32(a.v, b.v), a.v, b.v)}; }
  static Floats max_or_second(Floats a, Floats b) { return {vbslq_f32(vcgtq_f32(a.v, b.v), a.v, b.v)}; }
  static Mask less(Floats a, Floats b) { return vcltq_f32(a.v, b.v); }
  static Mask less_equal(Floats a, Floats b) { return vcleq_f32(a.v, b.v); }
  static Mask equal(Floats a, Floats b) { return vceqq_f32(a.v, b.v); }
  static Mask above(Floats a, Floats b) { return vmvnq_u32(vcleq_f32(a.v, b.v)); }
  static Mask is_number(Floats a) { return vceqq_f32(a.v, a.v); }
  static Mask matches(const uint8_t* p, int64_t number) {
    uint32_t four;
    __builtin_memcpy(&four, p, 4);
    const uint8x8_t equal = vceq_u8(vcreate_u8(four), vdup_n_u8(static_cast<uint8_t>(number)));
    return vreinterpretq_u32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u8(equal)))));
  }
  static Mask matches(const int32_t* p, int64_t number) {
    return vceqq_s32(vld1q_s32(p), vdupq_n_s32(static_cast<int32_t>(number)));
  }
  static Mask both(Mask a, Mask b) { return vandq_u32(a, b); }
  static uint32_t bits(Mask mask) {
    const uint32_t places[] = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(mask, vld1q_u32(places)));
  }
  static Floats select(Mask mask, Floats a, Floats b) { return {vbslq_f32(mask, a.v, b.v)}; }
  static Floats add_where(Mask mask, Floats a, Floats b) { return {vbslq_f32(mask, vaddq_f32(a.v, b.v), a.v)}; }
  static int64_t compress(Mask mask, Floats a, float* to) {
    const uint32_t chosen = bits(mask);
    vst1q_f32(to, vreinterpretq_f32_u8(compressed(vreinterpretq_u8_f32(a.v), chosen)));
    return __builtin_popcount(chosen);
  }
  static void compress_integers(Mask mask, const int32_t* from, int32_t* to) {
    vst1q_s32(to, vreinterpretq_s32_u8(compressed(vreinterpretq_u8_s32(vld1q_s32(from)), bits(mask))));
  }
  static void load_columns(const float* const* rows, int64_t at, Floats* columns) {
    for (int64_t half = 0; half < 8; half += 4) {
      float32x4_t row[4];
      for (int64_t i = 0; i < 4; ++i) row[i] = vld1q_f32(rows[i] + at + half);
      const float64x2_t low01 = vreinterpretq_f64_f32(vzip1q_f32(row[0], row[1]));
      const float64x2_t high01 = vreinterpretq_f64_f32(vzip2q_f32(row[0], row[1]));
      const float64x2_t low23 = vreinterpretq_f64_f32(vzip1q_f32(row[2], row[3]));
      const float64x2_t high23 = vreinterpretq_f64_f32(vzip2q_f32(row[2], row[3]));
      columns[half] = {vreinterpretq_f32_f64(vzip1q_f64(low01, low23))};
      columns[half + 1] = {vreinterpretq_f32_f64(vzip2q_f64(low01, low23))};
      columns[half + 2] = {vreinterpretq_f32_f64(vzip1q_f64(high01, high23))};
      columns[half + 3] = {vreinterpretq_f32_f64(vzip2q_f64(high01, high23))};
    }
  }
  void store_integers(int32_t* p) const { vst1q_s32(p, vcvtq_s32_f32(v)); }
  void store_bytes(uint8_t* p) const {
    const uint16x4_t words = vmovn_u32(vreinterpretq_u32_s32(vcvtq_s32_f32(v)));
    const uint32_t four = vget_lane_u32(vreinterpret_u32_u8(vmovn_u16(vcombine_u16(words, words))), 0);
    __builtin_memcpy(p, &four, 4);
  }
  void add_to(double* p) const {
    vst1q_f64(p, vaddq_f64(vld1q_f64(p), vcvt_f64_f32(vget_low_f32(v))));
    vst1q_f64(p + 2, vaddq_f64(vld1q_f64(p + 2), vcvt_high_f64_f32(v)));
  }
  static float largest(Floats a) { return vmaxvq_f32(a.v); }
};
inline Floats operator+(Floats a, Floats b) { return {vaddq_f32(a.v, b.v)}; }
inline Floats operator-(Floats a, Floats b) { return {vsubq_f32(a.v, b.v)}; }
inline Floats operator*(Floats a, Floats b) { return {vmulq_f32(a.v, b.v)}; }

struct Doubles {
  using value = double;
  using Mask = uint64x2_t;
  static constexpr int64_t width = 2;
  float64x2_t v;

  static Doubles load(const double* p) { return {vld1q_f64(p)}; }
  static Doubles broadcast(double x) { return {vdupq_n_f64(x)}; }
  void store(double* p) const { vst1q_f64(p, v); }
  static Doubles fma(Doubles a, Doubles b, Doubles c) { return {vfmaq_f64(c.v, a.v, b.v)}; }
  static Doubles min_or_second(Doubles a, Doubles b) { return {vbslq_f64(vcltq_f64(a.v, b.v), a.v, b.v)}; }
  static Doubles max_or_second(Doubles a, Doubles b) { return {vbslq_f64(vcgtq_f64(a.v, b.v), a.v, b.v)}; }
  static Mask less(Doubles a, Doubles b) { return vcltq_f64(a.v, b.v); }
  static Mask less_equal(Doubles a, Doubles b) { return vcleq_f64(a.v, b.v); }
  static Mask equal(Doubles a, Doubles b) { return vceqq_f64(a.v, b.v); }
  static Mask above(Doubles a, Doubles b) { return veorq_u64(vcleq_f64(a.v, b.v), vdupq_n_u64(~uint64_t{0})); }
  static Mask is_number(Doubles a) { return vceqq_f64(a.v, a.v); }
  static Mask matches(const uint8_t* p, int64_t number) { return pair(p[0] == number, p[1] == number); }
  static Mask matches(const int32_t* p, int64_t number) {
    const uint32x2_t equal = vceq_s32(vld1_s32(p), vdup_n_s32(static_cast<int32_t>(number)));
    return vreinterpretq_u64_s64(vmovl_s32(vreinterpret_s32_u32(equal)));
  }
  static Mask both(Mask a, Mask b) { return vandq_u64(a, b); }
  static uint32_t bits(Mask mask) {
    return static_cast<uint32_t>((vgetq_lane_u64(mask, 0) & 1) | (vgetq_lane_u64(mask, 1) & 2));
  }
  static Doubles select(Mask mask, Doubles a, Doubles b) { return {vbslq_f64(mask, a.v, b.v)}; }
  static Doubles add_where(Mask mask, Doubles a, Doubles b) { return {vbslq_f64(mask, vaddq_f64(a.v, b.v), a.v)}; }
  // Only where the second lane alone is wanted does one move.
  static int64_t compress(Mask mask, Doubles a, double* to) {
    const uint32_t chosen = bits(mask);
    vst1q_f64(to, chosen == 2 ? vdupq_laneq_f64(a.v, 1) : a.v);
    return __builtin_popcount(chosen);
  }
  static void compress_integers(Mask mask, const int32_t* from, int32_t* to) {
    const int32x2_t values = vld1_s32(from);
    vst1_s32(to, bits(mask) == 2 ? vdup_lane_s32(values, 1) : values);
  }
  static void load_columns(const double* const* rows, int64_t at, Doubles* columns) {
    for (int64_t j = 0; j < 8; j += 2) {
      const float64x2_t a = vld1q_f64(rows[0] + at + j), b = vld1q_f64(rows[1] + at + j);
      columns[j] = {vzip1q_f64(a, b)};
      columns[j + 1] = {vzip2q_f64(a, b)};
    }
  }
  void store_integers(int32_t* p) const { vst1_s32(p, vmovn_s64(vcvtq_s64_f64(v))); }
  void store_bytes(uint8_t* p) const {
    int32_t numbers[2];
    store_integers(numbers);
    for (int lane = 0; lane < 2; ++lane) p[lane] = static_cast<uint8_t>(numbers[lane]);
  }
  void add_to(double* p) const { vst1q_f64(p, vaddq_f64(vld1q_f64(p), v)); }
  static double largest(Doubles a) { return vmaxvq_f64(a.v); }

 private:
  static Mask pair(bool first, bool second) {
    return vcombine_u64(vcreate_u64(first ? ~uint64_t{0} : 0), vcreate_u64(second ? ~uint64_t{0} : 0));
  }
};
inline Doubles operator+(Doubles a, Doubles b) { return {vaddq_f64(a.v, b.v)}; }
inline Doubles operator-(Doubles a, Doubles b) { return {vsubq_f64(a.v, b.v)}; }
inline Doubles operator*(Doubles a, Doubles b) { return {vmulq_f64(a.v, b.v)}; }

}  // namespace
