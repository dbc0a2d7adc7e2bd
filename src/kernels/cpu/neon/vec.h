// The vectors of AArch64 NEON: 4 floats. Included only by sources compiled for it; everything has internal linkage.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

namespace marlin {
namespace {

using Vec = float32x4_t;
constexpr int kLanes = 4;
// 24 sums, 4 weight vectors and 1 broadcast: 29 of 32 registers.
constexpr int kTileVectors = 4;
constexpr int kTileTokens = 6;
// Few tokens: 8 sums, 2 vectors of x per token, the 4 pairs of a step, a value and up to 8 decoding constants: 29.
constexpr int kDirectSums = 8;
constexpr int kDirectTokens = 4;
// Chosen by counting instructions of fp4, not by timing: a vector of values for 8 tokens takes 15 direct and 18
// unpacked, for 12 tokens 23 either way.
constexpr std::size_t kFewTokens = 8;

inline Vec Zero() { return vdupq_n_f32(0); }
inline Vec Set(float x) { return vdupq_n_f32(x); }
inline Vec Broadcast(const float* p) { return vld1q_dup_f32(p); }
inline Vec Load(const float* p) { return vld1q_f32(p); }
// fp16 in memory.
inline Vec Load(const std::uint16_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
inline void Store(std::uint16_t* p, Vec a) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(a))); }
inline void Store(float* p, Vec a) { vst1q_f32(p, a); }
inline void Stream(float* p, Vec a) { Store(p, a); }  // nothing here stores past the caches
inline void EndStream() {}
inline Vec Fma(Vec a, Vec b, Vec c) { return vfmaq_f32(c, a, b); }
inline Vec Fnma(Vec a, Vec b, Vec c) { return vfmsq_f32(c, a, b); }  // c - a * b
inline Vec Add(Vec a, Vec b) { return vaddq_f32(a, b); }
inline Vec Sub(Vec a, Vec b) { return vsubq_f32(a, b); }
inline Vec Mul(Vec a, Vec b) { return vmulq_f32(a, b); }
inline Vec Div(Vec a, Vec b) { return vdivq_f32(a, b); }
// Both return b when one of them is NaN, which NEON's own maximum and minimum do not.
inline Vec Max(Vec a, Vec b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
inline Vec Min(Vec a, Vec b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
// yes where a < limit, else no; no where one of the two is NaN
inline Vec SelectBelow(Vec a, Vec limit, Vec yes, Vec no) { return vbslq_f32(vcltq_f32(a, limit), yes, no); }
inline Vec Round(Vec a) { return vrndnq_f32(a); }

inline Vec PowerOf2(int32x4_t n) { return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23)); }
// a * 2^n, n an integer in -252..254. Two factors, so that neither leaves the range of normal floats.
inline Vec ScaleByPowerOf2(Vec a, Vec n) {
  const int32x4_t whole = vcvtq_s32_f32(n);
  const int32x4_t half = vshrq_n_s32(whole, 1);
  return Mul(Mul(a, PowerOf2(half)), PowerOf2(vsubq_s32(whole, half)));
}
inline float ReduceAdd(Vec a) { return vaddvq_f32(a); }
inline float ReduceMax(Vec a) { return vmaxvq_f32(a); }
inline float First(Vec a) { return vgetq_lane_f32(a, 0); }

// count < kLanes; the other lanes are `rest` and are not read.
inline Vec LoadPartial(const float* p, std::size_t count, float rest) {
  Vec a = Set(rest);
  if (count > 0) a = vld1q_lane_f32(p, a, 0);
  if (count > 1) a = vld1q_lane_f32(p + 1, a, 1);
  if (count > 2) a = vld1q_lane_f32(p + 2, a, 2);
  return a;
}
inline void StorePartial(float* p, std::size_t count, Vec a) {
  if (count > 0) vst1q_lane_f32(p, a, 0);
  if (count > 1) vst1q_lane_f32(p + 1, a, 1);
  if (count > 2) vst1q_lane_f32(p + 2, a, 2);
}

// Vectors of double: what dense products need.
constexpr int kDoubleLanes = 2;
inline float64x2_t Broadcast(const double* p) { return vld1q_dup_f64(p); }
inline float64x2_t Load(const double* p) { return vld1q_f64(p); }
inline void Store(double* p, float64x2_t a) { vst1q_f64(p, a); }
inline float64x2_t Fma(float64x2_t a, float64x2_t b, float64x2_t c) { return vfmaq_f64(c, a, b); }

// Sums in double.
struct DoubleSum {
  float64x2_t low;
  float64x2_t high;
};
inline DoubleSum ZeroDouble() { return {vdupq_n_f64(0), vdupq_n_f64(0)}; }
inline DoubleSum AddDouble(DoubleSum s, Vec a) {
  return {vaddq_f64(s.low, vcvt_f64_f32(vget_low_f32(a))), vaddq_f64(s.high, vcvt_high_f64_f32(a))};
}
inline double ReduceDouble(DoubleSum s) { return vaddvq_f64(vaddq_f64(s.low, s.high)); }

}  // namespace
}  // namespace marlin
