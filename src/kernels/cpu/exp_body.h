// exp, tanh and the normal distribution of a vector of floats; included after an instruction set's vec.h.
#pragma once

namespace marlin {
namespace {

// Within 2 units in the last place; 0 below -87.33, where results would no longer be normal numbers, which take some
// processors a hundred times as long; infinity above 88.73, NaN for NaN, exactly 1 for 0.
//
// exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln 2 / 2. ln 2 is subtracted in two parts: the upper one has 15
// bits, so that n times it is exact. exp(r) is its Taylor sum to r^7: the rest is below 0.3466^8 / 8! = 5.2e-9.
inline Vec Exp(Vec all) {
  const Vec lowest = Set(-87.33f);
  const Vec x = Max(lowest, Min(Set(89.0f), all));  // both return x when it is NaN
  const Vec n = Round(Mul(x, Set(1.44269504f)));
  Vec r = Fma(n, Set(-0.693145751953125f), x);   // 22713 / 2^15
  r = Fma(n, Set(-1.4286068203094173e-06f), r);  // ln 2 minus that
  Vec sum = Set(1.0f / 5040);
  sum = Fma(sum, r, Set(1.0f / 720));
  sum = Fma(sum, r, Set(1.0f / 120));
  sum = Fma(sum, r, Set(1.0f / 24));
  sum = Fma(sum, r, Set(1.0f / 6));
  sum = Fma(sum, r, Set(0.5f));
  sum = Fma(sum, r, Set(1.0f));
  sum = Fma(sum, r, Set(1.0f));
  return SelectBelow(all, lowest, Zero(), ScaleByPowerOf2(sum, n));
}

// Within 2e-7 of itself. Below 0.625 an odd polynomial, fitted to a relative error of 4.4e-9; above it 1 - 2 / (1 +
// exp(2 |x|)). NaN for NaN.
inline Vec Tanh(Vec x) {
  const Vec square = Mul(x, x);
  Vec near = Set(-0.00570494681596756f);
  near = Fma(near, square, Set(0.020639052614569664f));
  near = Fma(near, square, Set(-0.05373970419168472f));
  near = Fma(near, square, Set(0.13331441581249237f));
  near = Fma(near, square, Set(-0.3333328068256378f));
  near = Fma(Mul(near, square), x, x);
  const Vec size = Max(x, Sub(Zero(), x));
  const Vec far = Sub(Set(1.0f), Div(Set(2.0f), Add(Set(1.0f), Exp(Add(size, size)))));
  return SelectBelow(size, Set(0.625f), near, SelectBelow(x, Zero(), Sub(Zero(), far), far));
}

inline Vec SoftCapped(Vec x, Vec cap) { return Mul(cap, Tanh(Div(x, cap))); }

// x times the normal distribution function, x/2 (1 + erf(x / sqrt(2))): within 4e-7 of itself above 0, within 1e-6 of
// itself or 1e-11 below. The tail beyond |x| is exp(-x^2 / 2) t P(t), t = 1 / (1 + 0.35 |x|), with a P fitted to a
// relative error of 3.2e-8. NaN for NaN.
inline Vec TimesNormal(Vec x) {
  const Vec size = Max(x, Sub(Zero(), x));
  const Vec t = Div(Set(1.0f), Fma(Set(0.35f), size, Set(1.0f)));
  Vec sum = Set(-0.029145462438464165f);
  sum = Fma(sum, t, Set(0.1439695507287979f));
  sum = Fma(sum, t, Set(-0.25571006536483765f));
  sum = Fma(sum, t, Set(0.15916967391967773f));
  sum = Fma(sum, t, Set(-0.02310694381594658f));
  sum = Fma(sum, t, Set(0.10550685971975327f));
  sum = Fma(sum, t, Set(0.11983313411474228f));
  sum = Fma(sum, t, Set(0.1398618370294571f));
  sum = Fma(sum, t, Set(0.13962140679359436f));
  const Vec tail = Mul(Exp(Mul(Mul(x, x), Set(-0.5f))), Mul(sum, t));
  return Mul(x, SelectBelow(x, Zero(), tail, Sub(Set(1.0f), tail)));
}

}  // namespace
}  // namespace marlin
