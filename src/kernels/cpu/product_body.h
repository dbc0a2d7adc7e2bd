// A register tile of a product of dense matrices, in float or double; included by ops_body.h.
#pragma once

#include "kernels/cpu/tile.h"

namespace marlin {
namespace {

// kTileTokens rows, kTileVectors vectors of columns.
template <class T, int kLanesOfT>
void DenseTile(const T* a, const T* b, std::size_t length, T factor, T* c, std::size_t c_stride) noexcept {
  using V = decltype(Load(b));
  constexpr int kV = kTileVectors;
  V sum[kTileTokens][kV] = {};
  for (const T* const end = a + length * kTileTokens; a != end; a += kTileTokens, b += kV * kLanesOfT) {
    V column[kV];
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v) column[v] = Load(b + v * kLanesOfT);
#pragma GCC unroll 8
    for (int t = 0; t < kTileTokens; ++t) {
      const V row = Broadcast(a + t);
#pragma GCC unroll 8
      for (int v = 0; v < kV; ++v) sum[t][v] = Fma(column[v], row, sum[t][v]);
    }
  }
  const V scale = Broadcast(&factor);
#pragma GCC unroll 8
  for (int t = 0; t < kTileTokens; ++t) {
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v) {
      T* const to = c + static_cast<std::size_t>(t) * c_stride + v * kLanesOfT;
      Store(to, Fma(scale, sum[t][v], Load(to)));
    }
  }
}

template <class T, int kLanesOfT>
constexpr ProductKernel<T> kProduct = {kTileTokens, kTileVectors* kLanesOfT, DenseTile<T, kLanesOfT>};

}  // namespace
}  // namespace marlin
