// exp of a vector of floats; included after an instruction set's vec.h.
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

}  // namespace
}  // namespace marlin
