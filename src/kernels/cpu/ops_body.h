// Element-wise operations in terms of an instruction set's vectors; included once by each folder of cpu/, after
// matmul_body.h. Everything has internal linkage.
#pragma once

#include "kernels/cpu/attention_body.h"
#include "kernels/cpu/exp_body.h"
#include "kernels/cpu/matmul_body.h"
#include "kernels/cpu/product_body.h"

namespace marlin {
namespace {

// visit(i, count) over [0, n) in whole vectors, then once for the rest (count < kLanes) if there is one.
template <class Whole, class Rest>
inline void ForVectors(std::size_t n, Whole whole, Rest rest) {
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) whole(i);
  if (i < n) rest(i, n - i);
}

// y[i] = f(y[i], x[i])
template <class Function>
inline void Combine(float* y, const float* x, std::size_t n, Function f) {
  ForVectors(
      n, [&](std::size_t i) { Store(y + i, f(Load(y + i), Load(x + i))); },
      [&](std::size_t i, std::size_t count) {
        StorePartial(y + i, count, f(LoadPartial(y + i, count, 0), LoadPartial(x + i, count, 0)));
      });
}

// y[i] = f(x[i])
template <class Function>
inline void Transform(const float* x, std::size_t n, float* y, Function f) {
  ForVectors(
      n, [&](std::size_t i) { Store(y + i, f(Load(x + i))); },
      [&](std::size_t i, std::size_t count) { StorePartial(y + i, count, f(LoadPartial(x + i, count, 0))); });
}

void RmsNorm(const float* x, const float* weight, float eps, std::size_t n, float* y) noexcept {
  Vec squares = Zero();
  const auto square = [&](Vec a) { squares = Fma(a, a, squares); };
  ForVectors(
      n, [&](std::size_t i) { square(Load(x + i)); },
      [&](std::size_t i, std::size_t count) { square(LoadPartial(x + i, count, 0)); });
  const Vec factor = Set(1.0f / __builtin_sqrtf(ReduceAdd(squares) / static_cast<float>(n) + eps));
  if (weight == nullptr) return Transform(x, n, y, [&](Vec a) { return Mul(a, factor); });
  ForVectors(
      n, [&](std::size_t i) { Store(y + i, Mul(Mul(Load(x + i), factor), Load(weight + i))); },
      [&](std::size_t i, std::size_t count) {
        const Vec a = Mul(Mul(LoadPartial(x + i, count, 0), factor), LoadPartial(weight + i, count, 0));
        StorePartial(y + i, count, a);
      });
}

// Sums in double: means far from 0 cost the variance no digits.
void LayerNorm(const float* x, const float* weight, const float* bias, float eps, std::size_t n, float* y) noexcept {
  const auto mean_of = [n](auto at) {  // at(i, count): a vector, 0 beyond `count`
    DoubleSum sum = ZeroDouble();
    ForVectors(
        n, [&](std::size_t i) { sum = AddDouble(sum, at(i, static_cast<std::size_t>(kLanes))); },
        [&](std::size_t i, std::size_t count) { sum = AddDouble(sum, at(i, count)); });
    return static_cast<float>(ReduceDouble(sum) / static_cast<double>(n));
  };
  const auto load = [&](std::size_t i, std::size_t count, float rest) {
    return count == kLanes ? Load(x + i) : LoadPartial(x + i, count, rest);
  };
  const float mean = mean_of([&](std::size_t i, std::size_t count) { return load(i, count, 0); });
  const float variance = mean_of([&](std::size_t i, std::size_t count) {
    const Vec distance = Sub(load(i, count, mean), Set(mean));
    return Mul(distance, distance);
  });
  const float factor = 1.0f / __builtin_sqrtf(variance + eps);
  const auto normed = [&](Vec a, Vec w, Vec b) { return Fma(Mul(Sub(a, Set(mean)), Set(factor)), w, b); };
  const auto load_or = [](const float* from, std::size_t i, std::size_t count, float same) {
    if (from == nullptr) return Set(same);
    return count == kLanes ? Load(from + i) : LoadPartial(from + i, count, 0);
  };
  ForVectors(
      n,
      [&](std::size_t i) {
        Store(y + i, normed(Load(x + i), load_or(weight, i, kLanes, 1), load_or(bias, i, kLanes, 0)));
      },
      [&](std::size_t i, std::size_t count) {
        const Vec a = normed(LoadPartial(x + i, count, 0), load_or(weight, i, count, 1), load_or(bias, i, count, 0));
        StorePartial(y + i, count, a);
      });
}

// The pair (a, b) turned.
inline Vec TurnedA(Vec a, Vec b, Vec cos, Vec sin) { return Sub(Mul(a, cos), Mul(b, sin)); }
inline Vec TurnedB(Vec a, Vec b, Vec cos, Vec sin) { return Fma(b, cos, Mul(a, sin)); }

void Rope(float* x, std::size_t heads, std::size_t head_dim, std::size_t pairs, const float* cos,
          const float* sin) noexcept {
  for (std::size_t h = 0; h < heads; ++h) {
    float* a = x + h * head_dim;
    float* b = a + pairs;
    ForVectors(
        pairs,
        [&](std::size_t i) {
          const Vec p = Load(a + i), q = Load(b + i), c = Load(cos + i), s = Load(sin + i);
          Store(a + i, TurnedA(p, q, c, s));
          Store(b + i, TurnedB(p, q, c, s));
        },
        [&](std::size_t i, std::size_t count) {
          const Vec p = LoadPartial(a + i, count, 0), q = LoadPartial(b + i, count, 0);
          const Vec c = LoadPartial(cos + i, count, 0), s = LoadPartial(sin + i, count, 0);
          StorePartial(a + i, count, TurnedA(p, q, c, s));
          StorePartial(b + i, count, TurnedB(p, q, c, s));
        });
  }
}

// Up to kLanes pairs.
inline void TurnNeighbours(float* x, std::size_t count, const float* cos, const float* sin) {
  float a[kLanes] = {}, b[kLanes] = {}, c[kLanes] = {}, s[kLanes] = {};
  for (std::size_t i = 0; i < count; ++i) {
    a[i] = x[2 * i];
    b[i] = x[2 * i + 1];
    c[i] = cos[i];
    s[i] = sin[i];
  }
  const Vec p = Load(a), q = Load(b), cosines = Load(c), sines = Load(s);
  Store(a, TurnedA(p, q, cosines, sines));
  Store(b, TurnedB(p, q, cosines, sines));
  for (std::size_t i = 0; i < count; ++i) {
    x[2 * i] = a[i];
    x[2 * i + 1] = b[i];
  }
}

void RopeNeighbours(float* x, std::size_t heads, std::size_t head_dim, std::size_t pairs, const float* cos,
                    const float* sin) noexcept {
  for (std::size_t h = 0; h < heads; ++h) {
    const auto turn = [&](std::size_t i, std::size_t count) {
      TurnNeighbours(x + h * head_dim + 2 * i, count, cos + i, sin + i);
    };
    ForVectors(
        pairs, [&](std::size_t i) { turn(i, kLanes); }, turn);
  }
}

// a / (1 + exp(-z))
inline Vec TimesSigmoid(Vec a, Vec z) { return Div(a, Add(Set(1.0f), Exp(Sub(Zero(), z)))); }

// gate = f(gate) * up, or f(gate) where up is null
template <class Function>
inline void Gate(float* gate, const float* up, std::size_t n, Function f) {
  if (up == nullptr) return Transform(gate, n, gate, f);
  Combine(gate, up, n, [&](Vec g, Vec u) { return Mul(f(g), u); });
}

void SiluGate(float* gate, const float* up, std::size_t n) noexcept {
  Gate(gate, up, n, [](Vec g) { return TimesSigmoid(g, g); });
}

// gelu(x) = x/2 (1 + tanh(t)) = x sigmoid(2 t), t = sqrt(2/pi) (x + 0.044715 x^3)
void GeluTanhGate(float* gate, const float* up, std::size_t n) noexcept {
  constexpr float kTwiceRoot = 1.5957691216057308f;  // 2 sqrt(2/pi)
  Gate(gate, up, n, [](Vec g) {
    const Vec inner = Fma(Mul(Set(0.044715f), g), Mul(g, g), g);
    return TimesSigmoid(g, Mul(Set(kTwiceRoot), inner));
  });
}

void GeluGate(float* gate, const float* up, std::size_t n) noexcept {
  Gate(gate, up, n, [](Vec g) { return TimesNormal(g); });
}

void AddTo(float* x, const float* y, float factor, std::size_t n) noexcept {
  Combine(x, y, n, [&](Vec a, Vec b) { return Fma(Set(factor), b, a); });
}

void ScaleBy(float* x, float factor, std::size_t n) noexcept {
  Transform(x, n, x, [&](Vec a) { return Mul(a, Set(factor)); });
}

void SoftCap(float* x, float cap, std::size_t n) noexcept {
  Transform(x, n, x, [&](Vec a) { return SoftCapped(a, Set(cap)); });
}

ExpSum SumOfExp(const float* x, std::size_t n) noexcept {
  constexpr float kLowest = -__builtin_inff();
  Vec peaks = Set(kLowest);
  ForVectors(
      n, [&](std::size_t i) { peaks = Max(Load(x + i), peaks); },
      [&](std::size_t i, std::size_t count) { peaks = Max(LoadPartial(x + i, count, kLowest), peaks); });
  ExpSum result{ReduceMax(peaks), 0};
  const Vec peak = Set(result.max);
  DoubleSum sum = ZeroDouble();
  ForVectors(
      n, [&](std::size_t i) { sum = AddDouble(sum, Exp(Sub(Load(x + i), peak))); },
      [&](std::size_t i, std::size_t count) {
        sum = AddDouble(sum, Exp(Sub(LoadPartial(x + i, count, kLowest), peak)));
      });
  result.sum = ReduceDouble(sum);
  return result;
}

// (exp(t) - 1 - t) / t^2 for |t| < 1/2, its Taylor sum to t^6: the rest is below 0.5^7 / 9! = 2.2e-8.
inline Vec ExpBeyondLinear(Vec t) {
  Vec sum = Set(1.0f / 40320);
  sum = Fma(sum, t, Set(1.0f / 5040));
  sum = Fma(sum, t, Set(1.0f / 720));
  sum = Fma(sum, t, Set(1.0f / 120));
  sum = Fma(sum, t, Set(1.0f / 24));
  sum = Fma(sum, t, Set(1.0f / 6));
  return Fma(sum, t, Set(0.5f));
}

// sum P (exp(t) - 1 - t), P = exp(x - x_max) in proportion to p = softmax(x), t = log q - log p, q = softmax(y).
//
// As p and q both sum to 1, sum p (exp(t) - 1 - t) is sum p (log p - log q), but every term is at least 0, equal rows
// give exactly 0, and an error e that all t share (the rounding of `shift`) adds only e^2 / 2. With Q = exp(y - y_max)
// a term is ratio Q - P - P t; below |t| = 1/2 that would cancel, and P t^2 ExpBeyondLinear(t) takes its place.
double Divergence(const LogitPair& pair, std::size_t n) noexcept {
  constexpr float kNowhere = -3e38f;  // a logit without probability; not -infinity, whose t would be NaN
  const Vec x_max = Set(pair.x_max), y_max = Set(pair.y_max), ratio = Set(pair.ratio), shift = Set(pair.shift);
  const auto term = [&](Vec x, Vec y) {
    const Vec t = Sub(Sub(y, x), shift);
    const Vec p = Exp(Sub(x, x_max));
    const Vec q = Mul(Exp(Sub(y, y_max)), ratio);
    const Vec far = Sub(Sub(q, p), Mul(p, t));
    const Vec near = Mul(Mul(p, t), Mul(t, ExpBeyondLinear(t)));
    return SelectBelow(Max(t, Sub(Zero(), t)), Set(0.5f), near, far);
  };
  DoubleSum sum = ZeroDouble();
  ForVectors(
      n, [&](std::size_t i) { sum = AddDouble(sum, term(Load(pair.x + i), Load(pair.y + i))); },
      [&](std::size_t i, std::size_t count) {
        sum = AddDouble(sum, term(LoadPartial(pair.x + i, count, kNowhere), LoadPartial(pair.y + i, count, kNowhere)));
      });
  return ReduceDouble(sum);
}

void ToHalf(const float* x, std::size_t n, std::uint16_t* y) noexcept {
  ForVectors(
      n, [&](std::size_t i) { Store(y + i, Load(x + i)); },
      [&](std::size_t i, std::size_t count) {
        std::uint16_t whole[kLanes];
        Store(whole, LoadPartial(x + i, count, 0));
        for (std::size_t j = 0; j < count; ++j) y[i + j] = whole[j];
      });
}

void ExpAll(const float* x, std::size_t n, float* y) noexcept {
  Transform(x, n, y, [](Vec a) { return Exp(a); });
}

float RunPeak(std::size_t steps) noexcept {
  Vec chains[kPeakChains];
  for (int c = 0; c < kPeakChains; ++c) chains[c] = Set(static_cast<float>(c));
  const Vec factor = Set(0.999f);
  const Vec term = Set(0.001f);
  for (std::size_t i = 0; i < steps; ++i) {
    for (Vec& chain : chains) chain = Fma(chain, factor, term);
  }
  float total = 0;
  for (const Vec& chain : chains) total += First(chain);
  return total;
}

constexpr OpsTable kOps = {.rms_norm = RmsNorm,
                           .layer_norm = LayerNorm,
                           .rope = Rope,
                           .rope_neighbours = RopeNeighbours,
                           .attention = Attention<float>,
                           .attention_half = Attention<std::uint16_t>,
                           .to_half = ToHalf,
                           .silu = SiluGate,
                           .gelu_tanh = GeluTanhGate,
                           .gelu = GeluGate,
                           .add = AddTo,
                           .scale = ScaleBy,
                           .soft_cap = SoftCap,
                           .exp_sum = SumOfExp,
                           .divergence = Divergence,
                           .exp = ExpAll,
                           .product = kProduct<float, kLanes>,
                           .double_product = kProduct<double, kDoubleLanes>,
                           .peak = {2.0 * kLanes * kPeakChains, RunPeak}};

}  // namespace
}  // namespace marlin
