// The vectors of AVX-512: 16 floats. Included only by sources compiled for it; everything has internal linkage.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace marlin {
namespace {

using Vec = __m512;
constexpr int kLanes = 16;
// 24 sums, 4 weight vectors and 1 broadcast: 29 of 32 registers.
constexpr int kTileVectors = 4;
constexpr int kTileTokens = 6;
// Few tokens: 24 sums, a word of codes, a value and the decoding constants.
constexpr int kDirectSums = 24;
constexpr int kDirectTokens = 6;
constexpr std::size_t kFewTokens = 18;  // more are faster unpacked

inline Vec Zero() { return _mm512_setzero_ps(); }
inline Vec Set(float x) { return _mm512_set1_ps(x); }
inline Vec Broadcast(const float* p) { return _mm512_set1_ps(*p); }
inline Vec Load(const float* p) { return _mm512_loadu_ps(p); }
// fp16 in memory.
inline Vec Load(const std::uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline void Store(std::uint16_t* p, Vec a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}
inline void Store(float* p, Vec a) { _mm512_storeu_ps(p, a); }
// Past the caches; p is aligned. Other threads see it after EndStream.
inline void Stream(float* p, Vec a) { _mm512_stream_ps(p, a); }
inline void EndStream() { _mm_sfence(); }
inline Vec Fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
inline Vec Fnma(Vec a, Vec b, Vec c) { return _mm512_fnmadd_ps(a, b, c); }  // c - a * b
inline Vec Add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
inline Vec Sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
inline Vec Mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
inline Vec Div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
// Both return b when one of them is NaN.
inline Vec Max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
inline Vec Min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
// yes where a < limit, else no; no where one of the two is NaN
inline Vec SelectBelow(Vec a, Vec limit, Vec yes, Vec no) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, limit, _CMP_LT_OQ), no, yes);
}
inline Vec Round(Vec a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
// a * 2^n, n an integer.
inline Vec ScaleByPowerOf2(Vec a, Vec n) { return _mm512_scalef_ps(a, n); }
inline float ReduceAdd(Vec a) { return _mm512_reduce_add_ps(a); }
inline float ReduceMax(Vec a) { return _mm512_reduce_max_ps(a); }
inline float First(Vec a) { return _mm512_cvtss_f32(a); }

inline __mmask16 FirstLanes(std::size_t count) { return static_cast<__mmask16>((1u << count) - 1u); }
// count < kLanes; the other lanes are `rest` and are not read.
inline Vec LoadPartial(const float* p, std::size_t count, float rest) {
  return _mm512_mask_loadu_ps(Set(rest), FirstLanes(count), p);
}
inline void StorePartial(float* p, std::size_t count, Vec a) { _mm512_mask_storeu_ps(p, FirstLanes(count), a); }

// Vectors of double: what dense products need.
constexpr int kDoubleLanes = 8;
inline __m512d Broadcast(const double* p) { return _mm512_set1_pd(*p); }
inline __m512d Load(const double* p) { return _mm512_loadu_pd(p); }
inline void Store(double* p, __m512d a) { _mm512_storeu_pd(p, a); }
inline __m512d Fma(__m512d a, __m512d b, __m512d c) { return _mm512_fmadd_pd(a, b, c); }

// Sums in double.
struct DoubleSum {
  __m512d low;
  __m512d high;
};
inline DoubleSum ZeroDouble() { return {_mm512_setzero_pd(), _mm512_setzero_pd()}; }
inline DoubleSum AddDouble(DoubleSum s, Vec a) {
  return {_mm512_add_pd(s.low, _mm512_cvtps_pd(_mm512_castps512_ps256(a))),
          _mm512_add_pd(s.high, _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1)))};
}
inline double ReduceDouble(DoubleSum s) { return _mm512_reduce_add_pd(_mm512_add_pd(s.low, s.high)); }

}  // namespace
}  // namespace marlin
