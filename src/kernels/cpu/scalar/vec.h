// The "vectors" of portable C++: one float. The compiler may combine neighbours as it likes.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "base/half.h"

namespace marlin {
namespace {

using Vec = float;
constexpr int kLanes = 1;
constexpr int kTileVectors = 8;
constexpr int kTileTokens = 4;

inline Vec Zero() { return 0; }
inline Vec Set(float x) { return x; }
inline Vec Broadcast(const float* p) { return *p; }
inline Vec Load(const float* p) { return *p; }
// fp16 in memory.
inline Vec Load(const std::uint16_t* p) { return HalfToFloat(*p); }
inline void Store(std::uint16_t* p, Vec a) { *p = FloatToHalf(a); }
inline void Store(float* p, Vec a) { *p = a; }
inline void Stream(float* p, Vec a) { Store(p, a); }
inline void EndStream() {}
inline Vec Fma(Vec a, Vec b, Vec c) { return a * b + c; }  // rounds twice: std::fma is a slow call without hardware
inline Vec Add(Vec a, Vec b) { return a + b; }
inline Vec Sub(Vec a, Vec b) { return a - b; }
inline Vec Mul(Vec a, Vec b) { return a * b; }
inline Vec Div(Vec a, Vec b) { return a / b; }
// Both return b when one of them is NaN.
inline Vec Max(Vec a, Vec b) { return a > b ? a : b; }
inline Vec Min(Vec a, Vec b) { return a < b ? a : b; }
// yes where a < limit, else no; no where one of the two is NaN
inline Vec SelectBelow(Vec a, Vec limit, Vec yes, Vec no) { return a < limit ? yes : no; }
// To the nearest integer for |a| < 2^22: 1.5 * 2^23 leaves no bits for a fraction.
inline Vec Round(Vec a) { return (a + 12582912.0f) - 12582912.0f; }

inline float PowerOf2(int n) { return std::bit_cast<float>(static_cast<std::uint32_t>(n + 127) << 23); }
// a * 2^n, n an integer in -252..254. Two factors, so that neither leaves the range of normal floats.
inline Vec ScaleByPowerOf2(Vec a, Vec n) {
  if (n != n) return n;
  const int whole = static_cast<int>(n);
  const int half = whole / 2;
  return a * PowerOf2(half) * PowerOf2(whole - half);
}
inline float ReduceAdd(Vec a) { return a; }
inline float ReduceMax(Vec a) { return a; }
inline float First(Vec a) { return a; }
inline Vec LoadPartial(const float*, std::size_t, float rest) { return rest; }  // a vector of one has no parts
inline void StorePartial(float*, std::size_t, Vec) {}

constexpr int kDoubleLanes = 1;
inline double Broadcast(const double* p) { return *p; }
inline double Load(const double* p) { return *p; }
inline void Store(double* p, double a) { *p = a; }
inline double Fma(double a, double b, double c) { return a * b + c; }

using DoubleSum = double;
inline DoubleSum ZeroDouble() { return 0; }
inline DoubleSum AddDouble(DoubleSum s, Vec a) { return s + static_cast<double>(a); }
inline double ReduceDouble(DoubleSum s) { return s; }

}  // namespace
}  // namespace marlin
