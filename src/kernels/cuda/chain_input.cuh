// What the steps of a chain share, and how a block makes the input of a product: columns of one token in fp16 in its
// shared memory. Each block of 256 columns is divided by a power of two of its own, by one warp.
#pragma once

#include <cuda_fp16.h>

#include "kernels/cuda/activation.cuh"
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/chain_layout.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/power.cuh"
#include "kernels/cuda/ptx.cuh"

namespace marlin::cuda {

// Warps that work; the last warp of a block copies. Teams of four take the items of a block in turn.
inline constexpr int kChainTeams = 4, kChainWarps = 16;
inline constexpr int kChainWorkers = kChainWarps * kWarp;
inline constexpr int kChainThreads = kChainWorkers + kWarp;
inline constexpr int kMostChainStages = 32;
inline constexpr int kMostChainDim = 128;  // of a head
inline constexpr int kChainCols = static_cast<int>(kRecordCols);
inline constexpr int kMergedWarps = kChainWarps / 2;

// Shared memory, before the ring.
struct ChainShared {
  // [block of columns][256] fp16. In attention: sums of half of the warps, [warp][16 columns][lane][4] fp32.
  alignas(128) std::uint8_t columns[kMostChainCols * 2];
  float powers[kMostChainCols / kChainCols];           // of the blocks of columns
  float reduced[2][kChainTeams][kPanel];               // a panel's sums; panels take turns
  float heads[(kMostGroupHeads + 2) * kMostChainDim];  // queries, then a key, then a value
  alignas(16) __half token[2 * kMostChainDim];         // the key, then the value, as in the cache
  float peaks[kMergedWarps][kMostGroupHeads], part_sums[kMergedWarps][kMostGroupHeads];
  alignas(16) float squares[kChainWarps];
  ChainStep step;
  // Where the block is. In shared memory, as a register that lives through all phases would be kept in local memory,
  // which is slow after each barrier of all blocks. Thread 0 writes them between two barriers of the block.
  int next;             // number of the step
  int items;            // of the block, in the steps before
  int position;         // of the token
  unsigned waits;       // barriers of all blocks so far
  volatile bool quiet;  // the block waits for others, or reads what they wrote: copies hold back
  std::uint64_t full[kMostChainStages], empty[kMostChainStages];
};

// The thread, asked for anew in each phase. The compiler otherwise computes what all phases derive from it before the
// first one, and has no registers for it.
__device__ inline unsigned ChainThread() {
  unsigned out;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(out));
  return out;
}

__device__ inline int BlockOfChain() { return static_cast<int>(blockIdx.x); }

// Warps that work wait for each other. Named barrier 0 is that of all threads.
__device__ inline void WaitForWorkers() { WaitForThreads(1, kChainWorkers); }

using Eight = float[8];

// Four or eight numbers that other blocks may have written: not from the cache of the multiprocessor.
template <int kCount>
__device__ void LoadFresh(const float* from, float (&out)[kCount]) {
#pragma unroll
  for (int q = 0; q < kCount / 4; ++q) {
    const float4 v = __ldcg(reinterpret_cast<const float4*>(from) + q);
    out[4 * q] = v.x, out[4 * q + 1] = v.y, out[4 * q + 2] = v.z, out[4 * q + 3] = v.w;
  }
}
template <int kCount>
__device__ void Store(float* to, const float (&v)[kCount]) {
#pragma unroll
  for (int q = 0; q < kCount / 4; ++q) {
    reinterpret_cast<float4*>(to)[q] = make_float4(v[4 * q], v[4 * q + 1], v[4 * q + 2], v[4 * q + 3]);
  }
}

// Numbers `row` to `row` + kCount - 1 of a product in slots; they lie in one panel. All slots are read at once.
template <int kCount>
__device__ void ReadSums(const ChainSums& sums, int row, float (&out)[kCount]) {
  constexpr int kRows = static_cast<int>(kPanel);
  const int panel = sums.first_panel + row / kRows, spans = sums.division.SpansOf(panel);
  const float* const from = sums.slots + panel * kRows + row % kRows;
  float parts[kMostSpans][kCount];
#pragma unroll
  for (int s = 0; s < kMostSpans; ++s) {
#pragma unroll
    for (float& part : parts[s]) part = 0;
    if (s < spans) LoadFresh(from + s * sums.division.rows(), parts[s]);
  }
#pragma unroll
  for (int c = 0; c < kCount; ++c) {
    float sum = parts[0][c];
#pragma unroll
    for (int s = 1; s < kMostSpans; ++s) sum += parts[s][c];
    out[c] = sum * sums.factor;
    if (sums.bias != nullptr) out[c] += sums.bias[row + c];
  }
}

// The hidden state: x + factor * added.
__device__ inline void ReadHidden(const ChainInput& input, int col, Eight& out) {
  LoadFresh(input.x + col, out);
  if (input.added.slots == nullptr) return;
  Eight added;
  ReadSums(input.added, col, added);
#pragma unroll
  for (int c = 0; c < 8; ++c) out[c] = __fmaf_rn(input.factor, added[c], out[c]);
}

// A warp rounds a block of columns, of which lane i has columns 8 i to 8 i + 7.
__device__ inline void PutColumns(ChainShared& shared, int block, const Eight& v) {
  const int lane = static_cast<int>(ChainThread() % kWarp);
  float most = 0;
#pragma unroll
  for (int c = 0; c < 8; ++c) most = fmaxf(most, fabsf(v[c]));
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, step));
  const float power = PowerFor(most), factor = 1 / power;
  uint4 words;
  words.x = Pack(v[0] * factor, v[1] * factor), words.y = Pack(v[2] * factor, v[3] * factor);
  words.z = Pack(v[4] * factor, v[5] * factor), words.w = Pack(v[6] * factor, v[7] * factor);
  reinterpret_cast<uint4*>(shared.columns)[block * kWarp + lane] = words;
  if (lane == 0) shared.powers[block] = power;
}

// Calls function(block of columns, first column of this lane) for those of `count` blocks from `first` on, around the
// end, that are this warp's.
template <class Function>
__device__ void EachBlock(int first, int count, int blocks, Function function) {
  const int warp = static_cast<int>(ChainThread() / kWarp), lane = static_cast<int>(ChainThread() % kWarp);
#pragma unroll 1
  for (int i = warp; i < count; i += kChainWarps) {
    const int block = first + i < blocks ? first + i : first + i - blocks;
    function(block, block * kChainCols + lane * 8);
  }
}

// Whether this block of the kernel keeps the new hidden state of a block of columns.
__device__ inline bool KeepsHidden(const ChainInput& input, int block) {
  return input.new_x != nullptr && block % static_cast<int>(gridDim.x) == BlockOfChain();
}

// The sum of all working threads in every one of them. Results have the same bits in every block of the kernel.
__device__ inline float SumOfWorkers(ChainShared& shared, float value) {
  value = SumOfWarp(value);
  if (ChainThread() % kWarp == 0) shared.squares[ChainThread() / kWarp] = value;
  WaitForWorkers();
  static_assert(kChainWarps == 16);
  const auto* const quads = reinterpret_cast<const float4*>(shared.squares);
  const float4 a = quads[0], b = quads[1], c = quads[2], d = quads[3];
  return ((a.x + a.y) + (a.z + a.w)) + ((b.x + b.y) + (b.z + b.w)) +
         (((c.x + c.y) + (c.z + c.w)) + ((d.x + d.y) + (d.z + d.w)));
}

// The norm needs all columns, so every warp keeps its blocks of them in registers. It is computed in fp32: the result
// is rounded to fp16.
__device__ inline void MakeNormed(ChainShared& shared, const ChainInput& input) {
  constexpr int kKept = kMostNormCols / kChainCols / kChainWarps;
  const int warp = static_cast<int>(ChainThread() / kWarp), lane = static_cast<int>(ChainThread() % kWarp);
  const int blocks = (input.cols + kChainCols - 1) / kChainCols;
  float kept[kKept][8], weights[kKept][8];
  float squares = 0;
#pragma unroll
  for (int k = 0; k < kKept; ++k) {
    const int block = warp + k * kChainWarps, col = block * kChainCols + lane * 8;
#pragma unroll
    for (int c = 0; c < 8; ++c) kept[k][c] = 0, weights[k][c] = 1;
    if (col >= input.cols) continue;
    if (input.weight != nullptr) LoadFresh(input.weight + col, weights[k]);
    ReadHidden(input, col, kept[k]);
    if (KeepsHidden(input, block)) Store(input.new_x + col, kept[k]);
#pragma unroll
    for (int c = 0; c < 8; ++c) squares = __fmaf_rn(kept[k][c], kept[k][c], squares);
  }
  const float factor = rsqrtf(SumOfWorkers(shared, squares) / static_cast<float>(input.cols) + input.eps);
#pragma unroll
  for (int k = 0; k < kKept; ++k) {
    const int block = warp + k * kChainWarps;
    if (block >= blocks) continue;
#pragma unroll
    for (int c = 0; c < 8; ++c) kept[k][c] *= factor * weights[k][c];
    PutColumns(shared, block, kept[k]);
  }
}

__device__ inline float Activated(Activation activation, float x) {
  switch (activation) {
    case Activation::kSilu:
      return __fdividef(x, 1 + __expf(-x));  // to 2^-20; it is rounded to 2^-11
    case Activation::kGelu:
      return Gelu()(x);
    default:
      return GeluTanh()(x);
  }
}

// The columns that this block's items of the product meet, and no others.
__device__ inline void MakeInput(ChainShared& shared, const ChainStep& step) {
  const ChainInput& input = step.input;
  const ChainDivision& division = step.product.division;
  if (input.kind == ChainInput::Kind::kNorm) return MakeNormed(shared, input);
  const int items = division.ItemsOf(BlockOfChain());
  if (items == 0) return;
  const int begin = division.Begin(BlockOfChain());
  const int count = items < division.blocks ? items : division.blocks;
  EachBlock(begin - division.PanelOf(begin) * division.blocks, count, division.blocks, [&](int block, int col) {
    Eight v = {};
    if (col < input.cols && input.kind == ChainInput::Kind::kPlain) LoadFresh(input.x + col, v);
    if (col < input.cols && input.kind == ChainInput::Kind::kGated) {
      Eight up;
      ReadSums(input.added, col, v);
      ReadSums(input.up, col, up);
#pragma unroll
      for (int c = 0; c < 8; ++c) v[c] = Activated(input.activation, v[c]) * up[c];
    }
    PutColumns(shared, block, v);
  });
}

// The hidden state after the last product. Threads of all blocks take eight columns each.
__device__ inline void Finish(const ChainInput& input) {
  const int blocks = static_cast<int>(gridDim.x);
#pragma unroll 1
  for (int i = static_cast<int>(ChainThread()) * blocks + BlockOfChain(); i * 8 < input.cols;
       i += kChainWorkers * blocks) {
    Eight v;
    ReadHidden(input, i * 8, v);
    Store(input.new_x + i * 8, v);
  }
}

}  // namespace marlin::cuda
