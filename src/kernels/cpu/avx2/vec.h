// The vectors of AVX2 with FMA: 8 floats. Included only by sources compiled for it; everything has internal linkage.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace marlin {
namespace {

using Vec = __m256;
constexpr int kLanes = 8;
// 12 sums, 2 weight vectors and 1 broadcast: 15 of 16 registers.
constexpr int kTileVectors = 2;
constexpr int kTileTokens = 6;
// Few tokens: 8 sums, the bytes of a step, a value and the decoding constants.
constexpr int kDirectSums = 8;
constexpr int kDirectTokens = 4;
constexpr std::size_t kFewTokens = 4;  // more are faster unpacked

inline Vec Zero() { return _mm256_setzero_ps(); }
inline Vec Set(float x) { return _mm256_set1_ps(x); }
inline Vec Broadcast(const float* p) { return _mm256_broadcast_ss(p); }
inline Vec Load(const float* p) { return _mm256_loadu_ps(p); }
// fp16 in memory.
inline Vec Load(const std::uint16_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline void Store(std::uint16_t* p, Vec a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}
inline void Store(float* p, Vec a) { _mm256_storeu_ps(p, a); }
// Past the caches; p is aligned. Other threads see it after EndStream.
inline void Stream(float* p, Vec a) { _mm256_stream_ps(p, a); }
inline void EndStream() { _mm_sfence(); }
inline Vec Fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
inline Vec Fnma(Vec a, Vec b, Vec c) { return _mm256_fnmadd_ps(a, b, c); }  // c - a * b
inline Vec Add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
inline Vec Sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
inline Vec Mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
inline Vec Div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
// Both return b when one of them is NaN.
inline Vec Max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
inline Vec Min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
// yes where a < limit, else no; no where one of the two is NaN
inline Vec SelectBelow(Vec a, Vec limit, Vec yes, Vec no) {
  return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, limit, _CMP_LT_OQ));
}
inline Vec Round(Vec a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

inline Vec PowerOf2(__m256i n) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}
// a * 2^n, n an integer in -252..254. Two factors, so that neither leaves the range of normal floats.
inline Vec ScaleByPowerOf2(Vec a, Vec n) {
  const __m256i whole = _mm256_cvtps_epi32(n);
  const __m256i half = _mm256_srai_epi32(whole, 1);
  return Mul(Mul(a, PowerOf2(half)), PowerOf2(_mm256_sub_epi32(whole, half)));
}

inline float ReduceAdd(Vec a) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
inline float ReduceMax(Vec a) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
inline float First(Vec a) { return _mm256_cvtss_f32(a); }

inline __m256i FirstLanes(std::size_t count) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), lanes);
}
// count < kLanes; the other lanes are `rest` and are not read.
inline Vec LoadPartial(const float* p, std::size_t count, float rest) {
  const __m256i mask = FirstLanes(count);
  return _mm256_blendv_ps(Set(rest), _mm256_maskload_ps(p, mask), _mm256_castsi256_ps(mask));
}
inline void StorePartial(float* p, std::size_t count, Vec a) { _mm256_maskstore_ps(p, FirstLanes(count), a); }

// Vectors of double: what dense products need.
constexpr int kDoubleLanes = 4;
inline __m256d Broadcast(const double* p) { return _mm256_broadcast_sd(p); }
inline __m256d Load(const double* p) { return _mm256_loadu_pd(p); }
inline void Store(double* p, __m256d a) { _mm256_storeu_pd(p, a); }
inline __m256d Fma(__m256d a, __m256d b, __m256d c) { return _mm256_fmadd_pd(a, b, c); }

// Sums in double.
struct DoubleSum {
  __m256d low;
  __m256d high;
};
inline DoubleSum ZeroDouble() { return {_mm256_setzero_pd(), _mm256_setzero_pd()}; }
inline DoubleSum AddDouble(DoubleSum s, Vec a) {
  return {_mm256_add_pd(s.low, _mm256_cvtps_pd(_mm256_castps256_ps128(a))),
          _mm256_add_pd(s.high, _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1)))};
}
inline double ReduceDouble(DoubleSum s) {
  const __m256d sum = _mm256_add_pd(s.low, s.high);
  const __m128d pair = _mm_add_pd(_mm256_castpd256_pd128(sum), _mm256_extractf128_pd(sum, 1));
  return _mm_cvtsd_f64(_mm_add_sd(pair, _mm_unpackhi_pd(pair, pair)));
}

}  // namespace
}  // namespace marlin
