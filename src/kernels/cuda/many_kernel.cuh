// Quantized weights x more than a few tokens in fp16: the kernel, a template that the files many_*.cu instantiate for
// the formats. It needs wgmma: compute capability 9.0.
//
// - A block computes a tile of 256 rows of the weight and 32, 64 or 128 tokens. Each of two warpgroups multiplies two
//   panels of 64 rows: while the tensor cores multiply one, the warps decode the other. Weights are the operand A of
//   wgmma, which may lie in registers; tokens are B, in shared memory.
// - Scales and biases are applied to the weights, in fp16 (many_power.h), so sums stay in their registers.
// - One warp copies whole records into a ring, another one tokens. Weights do not depend on the kernel before, so their
//   ring fills before that has ended (programmatic dependent launch).
// - Few tiles: the blocks of a cluster divide the columns of one tile. Each sends its sums to the block that owns the
//   tokens, which adds them in the order of the blocks. So results have the same bits from run to run.
// - Many tiles: blocks serve one after the other, in an order that reads weights and tokens from the L2 cache.
#pragma once

#include <algorithm>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/many_launch.h"
#include "kernels/cuda/many_step.cuh"
#include "kernels/cuda/wgmma.cuh"

namespace marlin::cuda {

inline constexpr int kWarpgroup = 128;  // threads
inline constexpr int kMultipliers = 2 * kWarpgroup;
inline constexpr int kManyThreads = 3 * kWarpgroup;  // those of the third warpgroup copy
inline constexpr int kTilesTogether = 8;             // of tokens, that share weights in the L2 cache

template <class FormatType, int kTileTokens>
struct ManyShape {
  using Type = FormatType;
  static constexpr int kTokens = kTileTokens;
  static constexpr int kRecord = RecordOf(Type::kFormat).bytes;
  // A place of each ring: 64 columns of tokens, 256 columns of weights.
  static constexpr int kInputBytes = kTokens * 128;
  static constexpr int kCodeBytes = kManyRows / static_cast<int>(kRecordRows) * kRecord;
  static constexpr int kRoom = 226 * 1024 - 1024 - 256;  // of 227 KiB, without what aligns it, and barriers
  // Tokens of more than one record's columns, and three places of weights, if there is room.
  static constexpr int kFewInputs = kTokens == 128 ? 5 : 8, kMostInputs = kTokens == 128 ? 8 : 12;
  static constexpr int kCodeStages = (kRoom - 3 * kCodeBytes) / kInputBytes >= kFewInputs ? 3 : 2;
  static constexpr int kInputStages = std::min(kMostInputs, (kRoom - kCodeStages * kCodeBytes) / kInputBytes);
  static_assert(kInputStages >= 4);
  // In shared memory. Operands begin at multiples of 1024.
  static constexpr int kCodes = kInputStages * kInputBytes;
  static constexpr int kBarriers = kCodes + kCodeStages * kCodeBytes;
  static constexpr int kBytes = kBarriers + (kInputStages + kCodeStages) * 16 + 1024;  // 1024: to align
  static_assert(kBytes <= 227 * 1024);
  // The sums of a tile take the place of the rings, when their work is done.
  static_assert(kBarriers >= kTokens * kManyRows * 4);
  static constexpr int kTokenBlocksLog2 = kTokens == 32 ? 2 : kTokens == 64 ? 3 : 4;
  static_assert(8 << kTokenBlocksLog2 == kTokens);
};

#if MARLIN_HAS_WGMMA

// A ring: place i is full when a copy has brought it, and empty when all warps that multiply have read it.
template <int kStages>
struct ManyRing {
  std::uint32_t full, empty;  // barriers
  int stage = 0;
  std::uint32_t phase = 0;

  __device__ __forceinline__ explicit ManyRing(std::uint32_t barriers)
      : full(barriers), empty(barriers + kStages * 8) {}
  __device__ __forceinline__ void Init() const {
    for (int i = 0; i < kStages; ++i) {
      BarrierInit(full + i * 8, 1);
      BarrierInit(empty + i * 8, kMultipliers);
    }
  }
  __device__ __forceinline__ void WaitFull() const { BarrierWait(full + stage * 8, phase); }
  // Places are empty in the beginning: the phase before the first has ended.
  __device__ __forceinline__ void WaitEmpty() const { BarrierWait(empty + stage * 8, phase ^ 1); }
  __device__ __forceinline__ void Advance() {
    if (++stage == kStages) {
      stage = 0;
      phase ^= 1;
    }
  }
};

// The tiles of a block, and its columns of them: blocks `begin` to `end` - 1 of 256.
struct ManyWork {
  int first, step, count;  // tiles
  int begin, end;

  __device__ __forceinline__ explicit ManyWork(const ManyArgs& args) {
    const int own = static_cast<int>(blockIdx.x), size_log2 = args.cluster_log2, rank = own & ((1 << size_log2) - 1);
    first = own >> size_log2;
    step = static_cast<int>(gridDim.x) >> size_log2;
    count = args.row_tiles * args.token_tiles;
    begin = (args.blocks * rank) >> size_log2;
    end = (args.blocks * (rank + 1)) >> size_log2;
  }
};

// Tile number `tile`: some tiles of tokens, for each tile of rows.
struct ManyPlace {
  int row_tile, token_tile;

  __device__ __forceinline__ ManyPlace(const ManyArgs& args, int tile) {
    const int group = tile / (kTilesTogether * args.row_tiles), first = group * kTilesTogether;
    const int left = args.token_tiles - first, together = left < kTilesTogether ? left : kTilesTogether;
    const int own = tile - first * args.row_tiles;
    row_tile = own / together;
    token_tile = first + own % together;
  }
};

// Panels of a tile of rows that the weight has.
__device__ __forceinline__ int PanelsOf(const ManyArgs& args, int row_tile) {
  const int left = args.panels - row_tile * 4;
  return left < 4 ? left : 4;
}

// One lane copies the weights.
template <class Shape>
__device__ __forceinline__ void CopyWeights(const ManyArgs& args, std::uint32_t shared, const ManyWork& work,
                                            ManyRing<Shape::kCodeStages> ring) {
  constexpr int kPanelBytes = 4 * Shape::kRecord;
  const std::uint64_t policy = args.token_tiles == 1 ? EvictFirst() : EvictLast();
  for (int tile = work.first; tile < work.count; tile += work.step) {
    const int row_tile = ManyPlace(args, tile).row_tile, panels = PanelsOf(args, row_tile);
    for (int block = work.begin; block < work.end; ++block) {
      ring.WaitEmpty();
      BarrierExpect(ring.full + ring.stage * 8, panels * kPanelBytes);
      for (int panel = 0; panel < panels; ++panel) {
        const std::size_t place = static_cast<std::size_t>(row_tile * 4 + panel) * args.blocks + block;
        CopyBulk(shared + Shape::kCodes + ring.stage * Shape::kCodeBytes + panel * kPanelBytes,
                 args.records + place * kPanelBytes, kPanelBytes, ring.full + ring.stage * 8, policy);
      }
      ring.Advance();
    }
  }
  LaunchNext();
}

// One lane copies the tokens. A copy brings a whole box, with zeros for what there is not.
template <class Shape>
__device__ __forceinline__ void CopyTokens(const ManyArgs& args, const CUtensorMap& map, std::uint32_t shared,
                                           const ManyWork& work, ManyRing<Shape::kInputStages> ring) {
  PrefetchMap(map);
  const std::uint64_t policy = EvictLast();
  WaitForPrevious();
  for (int tile = work.first; tile < work.count; tile += work.step) {
    const int first_token = ManyPlace(args, tile).token_tile * Shape::kTokens;
    for (int part = work.begin * 4; part < work.end * 4; ++part) {
      ring.WaitEmpty();
      BarrierExpect(ring.full + ring.stage * 8, Shape::kInputBytes);
      CopyBox(shared + ring.stage * Shape::kInputBytes, map, part * 64, first_token, ring.full + ring.stage * 8,
              policy);
      ring.Advance();
    }
  }
}

// The sums of a lane: two panels, for each 8 tokens 2 of rows g and 2 of rows g + 8.
template <class Shape>
using ManySums = float[2][Shape::kTokens / 2];

// Where the sums of a lane belong.
struct ManyLane {
  int thread, warp, lane;
  __device__ __forceinline__ ManyLane()
      : thread(static_cast<int>(threadIdx.x)), warp(thread / kWarp), lane(thread % kWarp) {}
  // In the tile: the lower one of its two rows of a panel, the first of its two tokens of 8.
  __device__ __forceinline__ int Row(int panel) const { return warp / 4 * 128 + panel * 64 + warp % 4 * 16 + lane / 4; }
  __device__ __forceinline__ int Token() const { return lane % 4 * 2; }
  // Of the records of 16 rows.
  __device__ __forceinline__ int Record(int panel) const { return warp / 4 * 8 + panel * 4 + warp % 4; }
};

// Adds the products of a tile. Sums begin with zeros.
template <class Shape>
__device__ __forceinline__ void AddProducts(const ManyArgs& args, std::uint32_t shared, const ManyWork& work,
                                            const ManyPlaces& places, const ManyLane& own, const Iq4Tables& tables,
                                            ManyRing<Shape::kCodeStages>& codes, ManyRing<Shape::kInputStages>& inputs,
                                            ManySums<Shape>& sums) {
  using Part = ManyPart<typename Shape::Type>;
  constexpr int kPanelBytes = 4 * Shape::kRecord;
  std::uint32_t a[2][16];
  int in_use = -1;  // the place of tokens whose products may still run
  for (int block = work.begin; block < work.end; ++block) {
    codes.WaitFull();
    const std::uint32_t offset = static_cast<std::uint32_t>(codes.stage * Shape::kCodeBytes);
    Part parts[2];  // one is read while the other is decoded
    parts[0].Load(places, offset, 0);
#pragma unroll
    for (int part = 0; part < 4; ++part) {
      const std::uint64_t input = OperandAt(shared + static_cast<std::uint32_t>(inputs.stage * Shape::kInputBytes));
      inputs.WaitFull();
#pragma unroll
      for (int panel = 0; panel < 2; ++panel) {
        const int next = part * 2 + panel + 1;
        if (next < 8) parts[next % 2].Load(places, offset + next % 2 * kPanelBytes, next / 2);
        WaitForProducts<1>();  // those before the last have read this operand A
        parts[panel].Hold();
        if (panel == 1) {
          if (in_use >= 0) BarrierArrive(inputs.empty + in_use * 8);
          in_use = inputs.stage;
        }
        parts[panel].Prepare(args.factors);
#pragma unroll
        for (int step = 0; step < 4; ++step) {
          std::uint32_t of_step[4];
          parts[panel].Decode(step, tables, of_step);
#pragma unroll
          for (int n = 0; n < 4; ++n) a[panel][step * 4 + n] = of_step[n];
        }
        BeginProducts();
#pragma unroll
        for (int step = 0; step < 4; ++step) {
          WarpgroupProduct<Shape::kTokens>::Add(sums[panel], a[panel] + step * 4, input + step * kStepOfOperand);
        }
        CommitProducts();
      }
      inputs.Advance();
    }
    BarrierArrive(codes.empty + codes.stage * 8);  // every lane: as fast as one of each warp
    codes.Advance();
  }
  WaitForProducts<0>();
#pragma unroll
  for (int panel = 0; panel < 2; ++panel) {
#pragma unroll
    for (float& sum : sums[panel]) asm volatile("" : "+f"(sum)::"memory");
  }
  if (in_use >= 0) BarrierArrive(inputs.empty + in_use * 8);
}

// Where a lane writes its sums: those of two tokens of 8, and of two rows of two panels.
struct ManyOut {
  float* to;  // of its first token and row
  float bias[2][2];
  bool real[2][2];  // rows
  int token;        // the first

  __device__ __forceinline__ ManyOut(const ManyArgs& args, const ManyPlace& place, const ManyLane& own, int tile_tokens)
      : token(place.token_tile * tile_tokens + own.Token()) {
    const int row = place.row_tile * kManyRows + own.Row(0);
    to = args.out.data + static_cast<std::size_t>(token) * args.out.stride + row;
#pragma unroll
    for (int panel = 0; panel < 2; ++panel) {
#pragma unroll
      for (int upper = 0; upper < 2; ++upper) {
        const int own_row = row + panel * 64 + upper * 8;
        real[panel][upper] = own_row < args.rows;
        const bool has_bias = args.bias != nullptr && own_row < args.rows;
        bias[panel][upper] = has_bias ? args.bias[own_row] : 0.0f;
      }
    }
  }
  // What the sums of token `of_lane` (0 or 1) of the tile's 8 tokens number `block` are multiplied by.
  __device__ __forceinline__ float Factor(const ManyArgs& args, int block, int of_lane) const {
    const int own = token + block * 8 + of_lane;
    return own < args.tokens ? args.powers[own] * args.power : 0.0f;
  }
  // Calls function(i, panel, upper, output) for the outputs of a block of 8 tokens that there are.
  template <class Function>
  __device__ __forceinline__ void EachOutput(const ManyArgs& args, int block, Function function) const {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (token + block * 8 + i >= args.tokens) continue;
      float* const row = to + static_cast<std::size_t>(block * 8 + i) * args.out.stride;
#pragma unroll
      for (int panel = 0; panel < 2; ++panel) {
#pragma unroll
        for (int upper = 0; upper < 2; ++upper) {
          if (real[panel][upper]) function(i, panel, upper, row[panel * 64 + upper * 8]);
        }
      }
    }
  }

  // What the products are added to. All of some blocks is read before one is written: else each would wait for its own.
  using Before = float[2][2][2];
  __device__ __forceinline__ void Read(const ManyArgs& args, int block, Before& before) const {
    if (!args.adds) return;
    EachOutput(args, block, [&](int i, int panel, int upper, const float& out) { before[i][panel][upper] = out; });
  }

  __device__ __forceinline__ void Write(const ManyArgs& args, int block, const float (&factors)[2],
                                        const float (&sums)[2][4], const Before& before) const {
    EachOutput(args, block, [&](int i, int panel, int upper, float& out) {
      const float value = __fmaf_rn(sums[panel][upper * 2 + i], factors[i], bias[panel][upper]);
      out = args.adds ? __fmaf_rn(args.added, value, before[i][panel][upper]) : value;
    });
  }
};

// Those of 8 tokens.
template <class Shape>
__device__ __forceinline__ void SumsOf(const ManySums<Shape>& sums, int block, float (&out)[2][4]) {
#pragma unroll
  for (int panel = 0; panel < 2; ++panel) {
#pragma unroll
    for (int i = 0; i < 4; ++i) out[panel][i] = sums[panel][block * 4 + i];
  }
}

// Every block of a cluster has the sums of its columns. They go to the blocks that own 8 tokens each: [rank][panel]
// [8 tokens][thread] 4 numbers, in place of the rings. Copies have ended there, as their bytes were waited for.
template <class Shape>
__device__ __forceinline__ void WriteWithCluster(const ManyArgs& args, std::uint32_t shared, const ManyOut& out,
                                                 const ManySums<Shape>& sums) {
  constexpr int kBlockBytes = kMultipliers * 16;
  const int size = 1 << args.cluster_log2, rank = static_cast<int>(blockIdx.x) & (size - 1);
  const int owned_log2 = Shape::kTokenBlocksLog2 - args.cluster_log2, owned = 1 << owned_log2;  // of 8 tokens
  const std::uint32_t mine = shared + threadIdx.x * 16;
  __syncwarp();
  ClusterSync();  // the rings are free everywhere
#pragma unroll
  for (int block = 0; block < Shape::kTokens / 8; ++block) {
    float own[2][4];
    SumsOf<Shape>(sums, block, own);
    const int slot = (rank * 2 << owned_log2) + (block & (owned - 1));
    const std::uint32_t to = AddressInCluster(mine + slot * kBlockBytes, block >> owned_log2);
    StoreInCluster(to, own[0]);
    StoreInCluster(to + (kBlockBytes << owned_log2), own[1]);
  }
  ClusterSync();
  for (int i = 0; i < owned; ++i) {
    const int block = rank * owned + i;
    ManyOut::Before before;
    out.Read(args, block, before);
    float all[2][4] = {};
    for (int from = 0; from < size; ++from) {
#pragma unroll
      for (int panel = 0; panel < 2; ++panel) {
        const uint4 part = Load16(mine + (((from * 2 + panel) << owned_log2) + i) * kBlockBytes);
        const std::uint32_t words[4] = {part.x, part.y, part.z, part.w};
#pragma unroll
        for (int c = 0; c < 4; ++c) all[panel][c] += __uint_as_float(words[c]);
      }
    }
    const float factors[2] = {out.Factor(args, block, 0), out.Factor(args, block, 1)};
    out.Write(args, block, factors, all, before);
  }
}

template <class Shape>
__device__ __forceinline__ void WriteSums(const ManyArgs& args, const ManyOut& out, const ManySums<Shape>& sums) {
  constexpr int kBlocks = Shape::kTokens / 8, kTogether = 2;
  float factors[2][kTogether][2];  // the next ones are read before sums are written
  const auto read = [&](int first) {
#pragma unroll
    for (int i = 0; i < kTogether; ++i) {
#pragma unroll
      for (int c = 0; c < 2; ++c) factors[first / kTogether % 2][i][c] = out.Factor(args, first + i, c);
    }
  };
  read(0);
#pragma unroll
  for (int first = 0; first < kBlocks; first += kTogether) {
    if (first + kTogether < kBlocks) read(first + kTogether);
    ManyOut::Before before[kTogether];
#pragma unroll
    for (int i = 0; i < kTogether; ++i) out.Read(args, first + i, before[i]);
#pragma unroll
    for (int i = 0; i < kTogether; ++i) {
      float own[2][4];
      SumsOf<Shape>(sums, first + i, own);
      out.Write(args, first + i, factors[first / kTogether % 2][i], own, before[i]);
    }
  }
}

// The warps that multiply.
template <class Shape>
__device__ __forceinline__ void MultiplyTiles(const ManyArgs& args, std::uint32_t shared, const ManyWork& work,
                                              ManyRing<Shape::kCodeStages> codes,
                                              ManyRing<Shape::kInputStages> inputs) {
  const ManyLane own;
  const ManyPlaces places = ManyPart<typename Shape::Type>::PlacesOf(
      shared + static_cast<std::uint32_t>(Shape::kCodes + own.Record(0) * Shape::kRecord), own.lane);
  Iq4Tables tables;
  if constexpr (Shape::Type::kFormat.coding == FewCoding::kIq4) tables = Iq4Tables::InRegisters();
  WaitForPrevious();  // it may write what these warps read, and read what they write
  for (int tile = work.first; tile < work.count; tile += work.step) {
    float sums[2][Shape::kTokens / 2];
#pragma unroll
    for (int panel = 0; panel < 2; ++panel) {
#pragma unroll
      for (float& sum : sums[panel]) sum = 0;
    }
    AddProducts<Shape>(args, shared, work, places, own, tables, codes, inputs, sums);
    const ManyOut out(args, ManyPlace(args, tile), own, Shape::kTokens);
    if (args.cluster_log2 > 0) {
      WriteWithCluster<Shape>(args, shared, out, sums);  // a cluster has one tile
    } else {
      WriteSums<Shape>(args, out, sums);
    }
  }
}
#endif

template <class Type, int kTokens>
__global__ void __launch_bounds__(kManyThreads, 1)
    ManyKernel(const __grid_constant__ ManyArgs args, const __grid_constant__ CUtensorMap map) {
#if MARLIN_HAS_WGMMA
  using Shape = ManyShape<Type, kTokens>;
  extern __shared__ std::uint8_t memory[];
  const std::uint32_t shared = (SharedAddress(memory) + 1023u) & ~1023u;
  const ManyRing<Shape::kInputStages> inputs(shared + Shape::kBarriers);
  const ManyRing<Shape::kCodeStages> codes(shared + Shape::kBarriers + Shape::kInputStages * 16);
  const ManyWork work(args);
  if (threadIdx.x == 0) {
    inputs.Init();
    codes.Init();
    FenceBarrierInit();
  }
  __syncthreads();
  if (threadIdx.x < kMultipliers) {
    TakeRegisters<232>();
    MultiplyTiles<Shape>(args, shared, work, codes, inputs);
    return;
  }
  GiveRegisters<40>();
  if (threadIdx.x == kMultipliers) CopyWeights<Shape>(args, shared, work, codes);
  if (threadIdx.x == kMultipliers + kWarp) CopyTokens<Shape>(args, map, shared, work, inputs);
  __syncwarp();
  if (args.cluster_log2 > 0) {  // as the warps that multiply wait for each other
    ClusterSync();
    ClusterSync();
  }
#endif
}

template <class Type, int kTokens>
void LaunchMany(const ManyArgs& args, const CUtensorMap& map, const ManyDivision& division, cudaStream_t stream) {
  using Shape = ManyShape<Type, kTokens>;
  const auto kernel = &ManyKernel<Type, kTokens>;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Shape::kBytes);
  LaunchClusters(kernel, static_cast<unsigned>(division.blocks), 1 << division.cluster_log2, kManyThreads,
                 Shape::kBytes, stream, args, map);
}

// Launches the kernel of the format, if it is one of this coding.
template <FewCoding kCoding, bool kBiased>
bool LaunchManyOneOf(const FewFormat& format, const ManyArgs& args, const CUtensorMap& map,
                     const ManyDivision& division, cudaStream_t stream) {
  return WithTypeOf<kCoding, kBiased>(format, [&]<class Type>() {
    if (division.tokens == 32) {
      LaunchMany<Type, 32>(args, map, division, stream);
    } else if (division.tokens == 64) {
      LaunchMany<Type, 64>(args, map, division, stream);
    } else {
      LaunchMany<Type, 128>(args, map, division, stream);
    }
  });
}

}  // namespace marlin::cuda
