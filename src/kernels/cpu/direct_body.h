// Second part of matmul_body.h: unpacking, and the product for few tokens, for formats whose struct (codes.h) decodes
// vectors of rows:
//
//   kStep, kStepBytes   k per step, and its bytes for all 64 rows
//   kVectorBytes        from one vector of rows to the next
//   Zero                what decoding needs of the group's header for one vector of rows; LoadZero(header, rows)
//   Step                Load(bytes, zero); Value<kK>(step, zero): the vector of column kK of the step
//   Scale(header, row)  fp32 scales of one vector of rows
//   FmaColumn<kK>(value, x, sum)   only where it is faster than Fma with a Broadcast: value * x[kK] + sum; it may read
//                       all kStep columns of x
#pragma once

#include "kernels/cpu/matmul_body.h"

namespace marlin {
namespace {

// weight = scale * code + bias, headers [64 fp16 scales][64 fp16 biases]; the values of Code are the codes. Weights are
// decoded, with one rounding, before they are multiplied.
template <class Code>
struct BiasedCode : Code {
  struct Zero {
    Vec scale;
    Vec bias;
  };
  static Zero LoadZero(const std::uint8_t* header, int row) {
    return {GroupScale(header, row), GroupScale(header + 2 * kPanelRows, row)};
  }
  static typename Code::Step Load(const std::uint8_t* p, const Zero&) { return Code::Load(p, {}); }
  template <int kK>
  static Vec Value(const typename Code::Step& step, const Zero& zero) {
    return Fma(zero.scale, Code::template Value<kK>(step, {}), zero.bias);
  }
  static Vec Scale(const std::uint8_t*, int) { return Set(1.0f); }
};

template <class Code, int kK = 0>
[[gnu::always_inline]] inline void StoreStep(const typename Code::Step& step, const typename Code::Zero& zero,
                                             float* to) {
  if constexpr (kK < Code::kStep) {
    Store(to + kK * 64, Code::template Value<kK>(step, zero));
    StoreStep<Code, kK + 1>(step, zero, to);
  }
}

// The values of a block as fp32 [length rounded up to kStep][64], and the scales [64].
template <class Code>
inline void UnpackBlock(const Block& block, float* weights, float* scales) {
  typename Code::Zero zero[kPanelVectors];
  for (int v = 0; v < kPanelVectors; ++v) {
    zero[v] = Code::LoadZero(block.header, v * kLanes);
    Store(scales + v * kLanes, Code::Scale(block.header, v * kLanes));
  }
  const std::uint8_t* bytes = block.codes;
  for (std::size_t k = 0; k < block.length; k += Code::kStep, bytes += Code::kStepBytes) {
    for (int v = 0; v < kPanelVectors; ++v) {
      StoreStep<Code>(Code::Load(bytes + v * Code::kVectorBytes, zero[v]), zero[v], weights + k * 64 + v * kLanes);
    }
  }
}

// sum[t] += column kK.. of the step times x[t][kK..], for the first `rest` columns (all of them unless kPartial).
template <class Code, int T, bool kPartial, int kK = 0>
[[gnu::always_inline]] inline void MultiplyStep(const typename Code::Step& step, const typename Code::Zero& zero,
                                                const float* x, std::size_t x_stride, std::size_t rest, Vec* sum) {
  if constexpr (kK < Code::kStep) {
    if (kPartial && static_cast<std::size_t>(kK) >= rest) return;
    const Vec value = Code::template Value<kK>(step, zero);
    for (int t = 0; t < T; ++t) {
      if constexpr (!kPartial && requires { Code::template FmaColumn<kK>(value, x, value); }) {
        sum[t] = Code::template FmaColumn<kK>(value, x + static_cast<std::size_t>(t) * x_stride, sum[t]);
      } else {
        sum[t] = Fma(value, Broadcast(x + static_cast<std::size_t>(t) * x_stride + kK), sum[t]);
      }
    }
    MultiplyStep<Code, T, kPartial, kK + 1>(step, zero, x, x_stride, rest, sum);
  }
}

// kV vectors of rows from row `first`, T tokens: adds the block to totals [T][kV].
template <class Code, int T, int kV>
[[gnu::always_inline]] inline void DirectBlock(const MatmulTile& tile, const Block& block, int first, Vec* totals) {
  typename Code::Zero zero[kV];
  Vec sum[kV][T];
  for (int v = 0; v < kV; ++v) {
    zero[v] = Code::LoadZero(block.header, first + v * kLanes);
    for (int t = 0; t < T; ++t) sum[v][t] = Zero();
  }
  if (first == 0) FetchAheadOfHeader(block, false);
  const std::uint8_t* bytes = block.codes + first / kLanes * Code::kVectorBytes;
  const float* x = tile.x + block.k;
  std::size_t k = Code::kStep;
  for (; k <= block.length; k += Code::kStep, bytes += Code::kStepBytes, x += Code::kStep) {
    for (int v = 0; v < kV; ++v) {
      for (int line = 0; line < Code::kStepBytes; line += 256) {
        if (Code::kVectorBytes == 16 && v % 4 != 0) break;  // four vectors of 16 bytes share a cache line
        FetchAhead(bytes + line + v * Code::kVectorBytes, false);
      }
      const typename Code::Step step = Code::Load(bytes + v * Code::kVectorBytes, zero[v]);
      MultiplyStep<Code, T, false>(step, zero[v], x, tile.x_stride, Code::kStep, sum[v]);
    }
  }
  if (Code::kStep > 1 && k != block.length + Code::kStep) {
    const std::size_t rest = block.length + Code::kStep - k;
    for (int v = 0; v < kV; ++v) {
      const typename Code::Step step = Code::Load(bytes + v * Code::kVectorBytes, zero[v]);
      MultiplyStep<Code, T, true>(step, zero[v], x, tile.x_stride, rest, sum[v]);
    }
  }
  for (int v = 0; v < kV; ++v) {
    const Vec scale = Code::Scale(block.header, first + v * kLanes);
    for (int t = 0; t < T; ++t) totals[v * T + t] = Fma(scale, sum[v][t], totals[v * T + t]);
  }
}

template <class Code>
constexpr bool kIsBiased = false;
template <class Code>
constexpr bool kIsBiased<BiasedCode<Code>> = true;

// Vectors of rows that `tokens` leave registers for: a power of 2, so that it divides the panel. The scale and the bias
// of a vector count as one more token, with room for two.
template <class Code>
constexpr int DirectVectors(int tokens) {
  const int own = kIsBiased<Code> ? 1 : 0;
  int vectors = kPanelVectors;
  while (vectors > 1 && vectors * (tokens + own) > kDirectSums + 2 * own) vectors /= 2;
  return vectors;
}

template <class Code, int T>
[[gnu::noinline]] void MatmulFewTokens(const MatmulTile& tile) {
  constexpr int kV = DirectVectors<Code>(T);
  float* const out = tile.workspace;  // [T][64]
  for (int first = 0; first < 64; first += kV * kLanes) {
    Vec totals[kV * T];
    for (int i = 0; i < kV * T; ++i) totals[i] = Zero();
    ForEachBlock(tile, [&](const Block& block) { DirectBlock<Code, T, kV>(tile, block, first, totals); });
    for (int v = 0; v < kV; ++v) {
      for (int t = 0; t < T; ++t) Store(out + t * 64 + first + v * kLanes, totals[v * T + t]);
    }
  }
  CopyRows(tile, out);
}

template <class Code>
struct UnpackerOf {
  static void Unpack(const MatmulTile&, const Block& block, float* weights, float* scales) {
    UnpackBlock<Code>(block, weights, scales);
  }
};

template <class Code, int T = kDirectTokens>
inline void MatmulUpTo(const MatmulTile& tile) {
  if constexpr (T > 1) {
    if (tile.m < T) return MatmulUpTo<Code, T - 1>(tile);
  }
  MatmulFewTokens<Code, T>(tile);
}

template <class Code>
void Matmul(const MatmulTile& tile) noexcept {
  if (tile.m > kFewTokens) return MatmulManyTokens<UnpackerOf<Code>>(tile);
  MatmulTile part = tile;
  for (std::size_t t = 0; t < tile.m; t += kDirectTokens) {
    part.m = Smaller(tile.m - t, kDirectTokens);
    part.x = tile.x + t * tile.x_stride;
    part.y = tile.y + t * tile.y_stride;
    MatmulUpTo<Code>(part);
  }
}

}  // namespace
}  // namespace marlin
