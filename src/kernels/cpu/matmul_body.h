// Matrix multiplication in terms of an instruction set's vectors; included once by each folder of cpu/, after its own
// vec.h and codes.h, which define Vec, kLanes, the vector functions, the tile shape (kTileVectors, kTileTokens,
// kDirectSums) and one struct per weight format. Everything has internal linkage.
//
// Few tokens: codes are decoded in registers and used at once. Many: a block of 64 rows x 64 k is unpacked to fp32 in
// the L1 cache and multiplied in register tiles. Both sum in the order that tile.h promises.
#pragma once

#include "kernels/cpu/tile.h"
#include "kernels/layout.h"

namespace marlin {
namespace {

constexpr int kPanelVectors = 64 / kLanes;

// Independent chains of a PeakLoop. Latencies are 4 to 6 in two pipes, or 4 in four where vectors are short; with 12
// chains of AVX-512's dot products of bytes a processor reached nine tenths of what 14 did. AVX2 has 16 registers.
constexpr int kPeakChains = kLanes == 8 ? 12 : kLanes == 16 ? 14 : 16;

inline std::size_t Smaller(std::size_t a, std::size_t b) { return a < b ? a : b; }

// Distance in bytes by which weights are prefetched.
constexpr std::size_t kIntoL2Ahead = 8192;
constexpr std::size_t kIntoL1Ahead = 1024;

// Prefetches weights ahead of the 64-byte line that is read now, into L1 or past the caches.
[[gnu::always_inline]] inline void FetchSoon(const std::uint8_t* line, bool past_caches) {
  if (past_caches) {
    __builtin_prefetch(line + 6144, 0, 0);
  } else {
    __builtin_prefetch(line + kIntoL1Ahead);
  }
}

// The same from memory into the L2 cache first, further ahead: the few requests that L1 can have open do not wait for
// memory.
[[gnu::always_inline]] inline void FetchAhead(const std::uint8_t* line, bool past_caches) {
  if (!past_caches) __builtin_prefetch(line + kIntoL2Ahead, 0, 2);
  FetchSoon(line, past_caches);
}

// The part of a panel that is summed in one chain.
struct Block {
  const std::uint8_t* header;  // of its group
  const std::uint8_t* codes;
  std::size_t k;  // of its first column
  std::size_t length;
  bool first;  // of its group
};

// The header's part of FetchAhead, for callers that prefetch the codes themselves.
[[gnu::always_inline]] inline void FetchAheadOfHeader(const Block& block, bool past_caches) {
  if (!block.first) return;
  for (const std::uint8_t* line = block.header; line < block.codes; line += 64) FetchAhead(line, past_caches);
}

// visit(Block) in the order of k, at most kLength at a time.
template <std::size_t kLength = kBlockLength, class Visitor>
inline void ForEachBlock(const MatmulTile& tile, Visitor visit) {
  const PanelGeometry& geometry = *tile.geometry;
  const std::size_t block_bytes = kLength * 64 * geometry.code_bits / 8;
  const std::uint8_t* header = tile.panel;
  for (std::size_t k = 0; k < geometry.cols; header += geometry.group_bytes) {
    const std::size_t end = Smaller(k + geometry.group, geometry.cols);
    const std::uint8_t* codes = header + geometry.code_offset;
    for (bool first = true; k < end; codes += block_bytes, first = false) {
      const Block block{header, codes, k, Smaller(end - k, kLength), first};
      visit(block);
      k += block.length;
    }
  }
}

// out[t][0..63] = fma(scales, sum_k w[k][0..63] x[t][k], in[t][0..63]); `in` null means zeros.
template <class Element = float>
struct Product {
  const Element* w;  // [length][64], fp32 or fp16
  std::size_t w_stride;
  std::size_t length;
  const float* x;
  std::size_t x_stride;
  const float* scales;  // [64]; null means ones
  const float* in;
  std::size_t in_stride;
  float* out;
  std::size_t out_stride;
};

// One register tile: kTileVectors vectors of rows from row `first`, T tokens.
template <int T, class Element>
inline void RegisterTile(const Product<Element>& p, std::size_t first) {
  constexpr int kV = kTileVectors;
  Vec sum[T][kV];
  for (int t = 0; t < T; ++t) {
    for (int v = 0; v < kV; ++v) sum[t][v] = Zero();
  }
  const Element* w = p.w + first;
  const float* x = p.x;
  const Element* const w_end = w + p.length * p.w_stride;
  for (; w != w_end; w += p.w_stride, ++x) {
    Vec row[kV];
    for (int v = 0; v < kV; ++v) row[v] = Load(w + v * kLanes);
    for (int t = 0; t < T; ++t) {
      const Vec token = Broadcast(x + static_cast<std::size_t>(t) * p.x_stride);
      for (int v = 0; v < kV; ++v) sum[t][v] = Fma(row[v], token, sum[t][v]);
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < kV; ++v) {
    const std::size_t r = first + static_cast<std::size_t>(v) * kLanes;
    const Vec scale = p.scales == nullptr ? Set(1.0f) : Load(p.scales + r);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const std::size_t token = static_cast<std::size_t>(t);
      const Vec before = p.in == nullptr ? Zero() : Load(p.in + token * p.in_stride + r);
      Store(p.out + token * p.out_stride + r, Fma(scale, sum[t][v], before));
    }
  }
}

// The 64 rows for `tokens` <= T tokens.
template <int T, class Element>
[[gnu::noinline]] void TileOfTokens(const Product<Element>& p) {
  for (std::size_t first = 0; first < 64; first += kTileVectors * kLanes) RegisterTile<T>(p, first);
}

template <int T = kTileTokens, class Element>
inline void MultiplyTokens(const Product<Element>& p, std::size_t tokens) {
  if constexpr (T > 1) {
    if (tokens < T) return MultiplyTokens<T - 1>(p, tokens);
  }
  TileOfTokens<T>(p);
}

// x of a later tile of tokens is fetched while this one multiplies: its pieces are too short for the hardware to
// notice.
inline void FetchTokens(const float* x, std::size_t x_stride, std::size_t length, std::size_t tokens) {
  for (std::size_t t = 0; t < tokens; ++t) {
    for (std::size_t k = 0; k < length; k += 16) __builtin_prefetch(x + t * x_stride + k);
  }
}

// Any number of tokens.
inline void Multiply(const Product<>& whole, std::size_t m) {
  Product<> p = whole;
  for (std::size_t t = 0; t < m; t += kTileTokens) {
    p.x = whole.x + t * whole.x_stride;
    if (whole.in != nullptr) p.in = whole.in + t * whole.in_stride;
    p.out = whole.out + t * whole.out_stride;
    const std::size_t next = Smaller(t + kTileTokens, m);
    FetchTokens(whole.x + next * whole.x_stride, whole.x_stride, whole.length, Smaller(m - next, kTileTokens));
    MultiplyTokens(p, Smaller(m - t, kTileTokens));
  }
}

inline void CopyRows(const MatmulTile& tile, const float* totals) {
  const bool whole_lines = (reinterpret_cast<std::uintptr_t>(tile.y) | tile.y_stride * sizeof(float)) % 64 == 0;
  if (tile.store_past_caches && whole_lines && tile.rows == 64) {
    for (std::size_t t = 0; t < tile.m; ++t) {
      for (std::size_t r = 0; r < 64; r += kLanes) Stream(tile.y + t * tile.y_stride + r, Load(totals + t * 64 + r));
    }
    return EndStream();
  }
  for (std::size_t t = 0; t < tile.m; ++t) {
    float* const y = tile.y + t * tile.y_stride;
    std::size_t r = 0;
    for (; r + kLanes <= tile.rows; r += kLanes) Store(y + r, Load(totals + t * 64 + r));
    for (; r < tile.rows; ++r) y[r] = totals[t * 64 + r];
  }
}

template <class Code>
void MatmulManyTokens(const MatmulTile& tile) {
  float* const weights = tile.workspace;
  float* const scales = weights + 64 * kBlockLength;
  float* const totals = scales + 64;
  ForEachBlock(tile, [&](const Block& block) {
    Code::Unpack(tile, block, weights, scales);
    Product<> p{weights, 64, block.length, tile.x + block.k, tile.x_stride, scales, totals, 64, totals, 64};
    if (block.k == 0) p.in = nullptr;
    if (block.k + block.length == tile.geometry->cols && tile.rows == 64) {  // the last block writes the result
      p.out = tile.y;
      p.out_stride = tile.y_stride;
    }
    Multiply(p, tile.m);
  });
  if (tile.rows != 64) CopyRows(tile, totals);
}

}  // namespace
}  // namespace marlin
