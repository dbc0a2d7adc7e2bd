// Quantized weights x at most 16 tokens in fp16: the kernel, a template that the files few_*.cu instantiate for the
// formats. The time is that of reading the weights, so everything serves one steady stream of them:
//
// - One warp of a block copies whole records and the tokens' columns into a ring in shared memory. Eight warps decode
//   and multiply (mma.m16n8k16). Four of them share a block's rows, two its columns.
// - Codes are decoded to exact fp16 numbers. Scales multiply fp32 sums, once for each row and group, or the codes where
//   that is exact too.
// - Biases of the groups of a record are one small product with the sums of the tokens' numbers of 32 columns.
// - Two blocks fit a multiprocessor, and the next kernel of the stream may start before this one has ended
//   (programmatic dependent launch): its ring fills while this one drains. It starts late, when few copies are left.
// - Matrices with the same input are multiplied by one kernel: its rows are those of all.
// - Few rows: two or four blocks of a cluster divide the columns. Each sends its sums to the block that owns the rows.
//   The order of sums is fixed, so results have the same bits from run to run.
#pragma once

#include <cuda_fp16.h>

#include <algorithm>

#include "kernels/cuda/few.h"
#include "kernels/cuda/few_decode.h"
#include "kernels/cuda/few_launch.h"
#include "kernels/cuda/launch.cuh"

namespace marlin::cuda {

// Blocks without work keep a place of every multiprocessor until the next kernel has put its blocks there. Without them
// some multiprocessors would have two free places and others one, and two blocks of the next kernel would share one.
// The kernel after that would find the same, and so on. Cycles were found by trying (H200).
inline constexpr long long kHeldCycles = 2000;        // after all blocks let the next kernel start
inline constexpr long long kMostHeldCycles = 100000;  // before that
inline constexpr int kAtOnce = 1 << 30;               // copies_left of a kernel that lets the next one start at once
inline constexpr long long kHeldAtOnceCycles = 4000;  // of such a kernel

inline constexpr int kRowWarps = 4, kColWarps = 2;
inline constexpr int kWorkers = kRowWarps * kColWarps;  // and one warp that copies
inline constexpr int kParts = 4 / kColWarps;            // of 64 columns of each record for a warp

// kTiles: of 16 rows, of a block.
template <class Type, int kTokenBlocks, int kTiles>
struct FewShape {
  static constexpr FewFormat kFormat = Type::kFormat;
  static constexpr FewRecord kAt = RecordOf(kFormat);
  static constexpr int kRecord = kAt.bytes;
  static constexpr int kBits = BitsOf(kFormat.coding);
  static constexpr int kGroup = kFormat.group;
  static constexpr bool kUnits = kFormat.scale == FewScale::kUnits;
  // Zeros are subtracted from sums: these start with -zero x the sum of the tokens' numbers.
  static constexpr int kZero = ZeroOf(kFormat.coding, kFormat.biased);
  static constexpr bool kStarts = kZero != 0;
  static constexpr int kWarpTiles = kTiles / kRowWarps;
  static constexpr int kTilesLog2 = kTiles == 4 ? 2 : kTiles == 8 ? 3 : 4;
  // Of which the second is there for the next kernel. One where the registers of a warp are too few for two.
  static constexpr int kBlocksOfProcessor = kTiles == 16 || (kTiles == 8 && kTokenBlocks == 2 && kBits > 4) ? 1 : 2;

  // Bytes of a place of the ring, and how many places there are: as many as leave room for those blocks.
  static constexpr int kInputBytes = kTokenBlocks * 4096;
  static constexpr int kTokenSumsBytes = kFormat.biased ? kTokenBlocks * 256 : 0;
  static constexpr int kCodeBytes = (kTiles * kRecord + 127) / 128 * 128;
  static constexpr int kSums = kTiles * kTokenBlocks * 128;  // of a warp of columns
  static constexpr int kMostStages = kTokenBlocks == 1 ? 7 : 5;
  static constexpr int kRoom = (kBlocksOfProcessor == 2 ? 115712 : 216000) - kColWarps * kSums * 4 - 1152;
  static constexpr int kStages = std::min(kMostStages, kRoom / (kInputBytes + kTokenSumsBytes + kCodeBytes));
  static_assert(kStages >= 2);
  // In shared memory.
  static constexpr int kTokenSums = kStages * kInputBytes;
  static constexpr int kCodes = kTokenSums + kStages * kTokenSumsBytes;
  static constexpr int kReduced = kCodes + kStages * kCodeBytes;
  static constexpr int kBarriers = kReduced + kColWarps * kSums * 4;
  static constexpr int kBytes = kBarriers + kStages * 16 + 8 + 1024;  // 1024: to align

  static constexpr int kTogether = std::min(kGroup, 64);  // columns whose products are summed in one chain
  // What a warp meets of a record: groups and words of scales.
  static constexpr int kGroups = kGroup >= 128 ? 1 : 128 / kGroup;
  static constexpr int kScaleBytes = BytesOfScale(kFormat) * 2;  // of both rows
  static constexpr int kScaleWords = kGroups * kScaleBytes / 4;
  static __device__ int FirstGroup(int col_warp) { return kGroup == 256 ? 0 : col_warp * 128 / kGroup; }
};

#if MARLIN_HAS_BULK_COPIES
// The part of the work of a block: columns begin_block to begin_block + count - 1 of tiles that begin with first_tile.
struct FewWork {
  int first_tile, tiles, begin_block, count;
};

// Blocks of the running kernel: how many of those that work let the next kernel start, and how many of those without
// work have seen that all did. Kernels that let it start at once do not count.
static __device__ unsigned few_started, few_seen;

__device__ inline void LetNextStart(const FewArgs& args) {
  if (args.held > 0 && args.copies_left != kAtOnce) atomicAdd(&few_started, 1u);
  LaunchNext();
}

// Holds for `cycles` at most, while the condition is true.
template <class Condition>
__device__ void HoldWhile(Condition condition, long long cycles) {
  for (const long long start = clock64(); condition() && clock64() - start < cycles;) __nanosleep(100);
}
__device__ inline void HoldPlace(const FewArgs& args) {
  if (threadIdx.x != 0) return;
  LaunchNext();
  WaitForPrevious();
  if (args.copies_left == kAtOnce) return HoldWhile([] { return true; }, kHeldAtOnceCycles);
  const auto working = static_cast<unsigned>(args.clusters << args.cluster_log2);
  const volatile unsigned& started = few_started;
  HoldWhile([&] { return started < working; }, kMostHeldCycles);
  // The last one clears the counter: blocks of the next kernel count after this kernel has ended.
  const auto last = static_cast<unsigned>(args.held - 1);
  if (atomicInc(&few_seen, last) == last) few_started = 0;
  HoldWhile([] { return true; }, kHeldCycles);
}

// The matrix of a tile, whose number becomes that in the matrix.
template <int kTiles>
__device__ const FewMatrix& MatrixOf(const FewArgs& args, int& tile) {
  int i = 0;
  for (; i + 1 < args.count && tile >= args.matrices[i].panels / (kTiles / 4); ++i) {
    tile -= args.matrices[i].panels / (kTiles / 4);
  }
  return args.matrices[i];
}

// The warp that copies.
template <class Shape, int kTiles>
__device__ void Copy(const FewArgs& args, std::uint32_t shared, const FewWork& work) {
  constexpr int kStages = Shape::kStages;
  const std::uint32_t full = shared + Shape::kBarriers, empty = full + kStages * 8, reduced = empty + kStages * 8;
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int total = (work.tiles - work.first_tile + args.clusters - 1) / args.clusters * work.count;
  const int ahead = total < kStages ? total : kStages;
  const std::uint64_t once = EvictFirst(), again = EvictLast();
  int tile = work.first_tile, block = 0;
  const std::size_t panel_bytes = static_cast<std::size_t>(args.blocks) * (4 * Shape::kRecord);
  const auto records_of = [&](int of_tile) {
    const std::uint8_t* const records = MatrixOf<kTiles>(args, of_tile).records;
    return records + of_tile * (kTiles / 4) * panel_bytes + work.begin_block * (4 * Shape::kRecord);
  };
  const std::uint8_t* from = records_of(tile);  // the next records
  const auto weights = [&](int stage) {
    BarrierExpect(full + stage * 8, Shape::kInputBytes + Shape::kTokenSumsBytes + kTiles * Shape::kRecord);
#pragma unroll
    for (int panel = 0; panel < kTiles / 4; ++panel) {
      CopyBulk(shared + Shape::kCodes + stage * Shape::kCodeBytes + panel * 4 * Shape::kRecord,
               from + panel * panel_bytes, 4 * Shape::kRecord, full + stage * 8, once);
    }
    from += 4 * Shape::kRecord;
    if (++block == work.count) {
      block = 0;
      tile += args.clusters;
      if (tile < work.tiles) from = records_of(tile);
    }
  };
  const auto input = [&](int stage, int of_block) {
    const auto from = static_cast<std::size_t>(work.begin_block + of_block);
    CopyBulk(shared + stage * Shape::kInputBytes, args.halves + from * Shape::kInputBytes, Shape::kInputBytes,
             full + stage * 8, again);
    if constexpr (Shape::kTokenSumsBytes > 0) {
      CopyBulk(shared + Shape::kTokenSums + stage * Shape::kTokenSumsBytes,
               args.token_sums + from * Shape::kTokenSumsBytes, Shape::kTokenSumsBytes, full + stage * 8, again);
    }
  };
  if (lane == 0) {
    for (int stage = 0; stage < kStages; ++stage) {
      BarrierInit(full + stage * 8, 1);
      BarrierInit(empty + stage * 8, kWorkers * kArrivalsOfWarp);
    }
    BarrierInit(reduced, 1);
    FenceBarrierInit();
    for (int stage = 0; stage < ahead; ++stage) weights(stage);  // they do not depend on the kernel before
    if (args.cluster_log2 > 0) {
      int bytes = 0;  // what the cluster sends here
      for (int tokens = args.tokens; tokens > 0; tokens -= 8) bytes += (tokens >= 8 ? 4 : (tokens + 1) / 2) * 128;
      BarrierExpect(reduced, bytes * kColWarps * kTiles);
    }
  }
  __syncwarp();
  if (args.cluster_log2 > 0) ClusterArrive();
  __syncthreads();
  if (lane == 0) {
    if (total - ahead <= args.copies_left) LetNextStart(args);
    WaitForPrevious();
    int of_block = 0;
    for (int stage = 0; stage < ahead; ++stage) {
      input(stage, of_block);
      if (++of_block == work.count) of_block = 0;
    }
    int stage = 0;
    std::uint32_t phase = 0;
    for (int copied = ahead; copied < total; ++copied) {
      BarrierWait(empty + stage * 8, phase);
      const int this_block = block;
      weights(stage);
      input(stage, this_block);
      if (total - 1 - copied == args.copies_left) LetNextStart(args);
      if (++stage == kStages) {
        stage = 0;
        phase ^= 1;
      }
    }
  }
  __syncwarp();
  if (args.cluster_log2 > 0) ClusterWait();
}

// Where a lane finds its part of the first record of its warp.
struct FewPlaces {
  std::uint32_t codes, more, scales, zeros, biases, units;
};
template <class Shape>
__device__ FewPlaces PlacesOf(std::uint32_t tile, int col_warp, int lane) {
  constexpr FewRecord kAt = Shape::kAt;
  constexpr FewCoding kCoding = Shape::kFormat.coding;
  constexpr int kGroups = GroupsOfRecord(Shape::kGroup);
  const int g = lane / 4, t = lane % 4, first = Shape::FirstGroup(col_warp);
  FewPlaces out;
  out.codes = Kept(tile + PlaceOfWord(kCoding, col_warp * kParts, lane, 0));
  out.more = Kept(tile + PlaceOfWord(kCoding, col_warp * kParts, lane, 4));
  out.scales = Kept(tile + kAt.scales + (g * kGroups + first) * Shape::kScaleBytes);
  out.zeros = Kept(tile + kAt.zeros + first * 8 + g);
  // Biases of the groups of columns 64 t to 64 t + 63.
  out.biases = Kept(tile + kAt.biases + (g * kGroups + t * kGroups / 4) * BytesOfScale(Shape::kFormat));
  out.units = Kept(tile + kAt.units + g * 4);
  return out;
}

// What a lane needs of a record.
template <class Shape>
struct FewTile {
  std::uint32_t codes[kParts][Shape::kBits];
  std::uint32_t scales[Shape::kScaleWords];
  std::uint32_t zeros[Shape::kGroups];
  std::uint32_t biases[2];  // of row g and g + 8, as two fp16 numbers: of columns 64 t and 64 t + 32
  std::uint32_t units[2];   // of scales, and of biases; of row g and g + 8

  __device__ void Load(const FewPlaces& from, std::uint32_t offset) {
    constexpr FewCoding kCoding = Shape::kFormat.coding;
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      const int of_codes = PlaceOfWord(kCoding, part, 0, 0) - PlaceOfWord(kCoding, 0, 0, 0);
      LoadWords<4>(from.codes + offset + of_codes, &codes[part][0]);
      if constexpr (Shape::kBits > 4) {
        const int of_more = PlaceOfWord(kCoding, part, 0, 4) - PlaceOfWord(kCoding, 0, 0, 4);
        LoadWords<Shape::kBits - 4>(from.more + offset + of_more, &codes[part][4]);
      }
    }
    LoadWords<Shape::kScaleWords>(from.scales + offset, scales);
    if constexpr (kCoding == FewCoding::kInt4Zeros) {
#pragma unroll
      for (int i = 0; i < Shape::kGroups; ++i) zeros[i] = Load1(from.zeros + offset + i * 8);
    }
    if constexpr (Shape::kFormat.biased) LoadBiases(from.biases + offset);
    if constexpr (Shape::kUnits) {
      units[0] = Load4(from.units + offset);
      if constexpr (Shape::kFormat.biased) units[1] = Load4(from.units + offset + 32);
    }
  }
  __device__ void LoadBiases(std::uint32_t from) {
    constexpr int kRows = 8 * GroupsOfRecord(Shape::kGroup) * BytesOfScale(Shape::kFormat);
#pragma unroll
    for (int upper = 0; upper < 2; ++upper) {
      const std::uint32_t at = from + upper * kRows;
      if constexpr (Shape::kUnits) {
        biases[upper] = BytesToHalves(Load2(at));
      } else if constexpr (Shape::kGroup == 32) {
        biases[upper] = Load4(at);
      } else {
        biases[upper] = Load2(at) * 0x10001u;
      }
    }
  }

  // The codes of 16 columns, as the operand A of an mma.
  __device__ void Decode(int part, int step, int group, const Iq4Tables& tables, std::uint32_t (&a)[4]) const {
    constexpr FewCoding kCoding = Shape::kFormat.coding;
    DecodeStep<kCoding, 0>(codes[part], step, a, tables);
    if constexpr (kCoding == FewCoding::kInt4Zeros) SubtractZeros(a, zeros[group]);
    if constexpr (ScalesCodes(Shape::kFormat)) {
      const std::uint32_t both = E4m3ToHalves(scales[group / 2] >> (group % 2 * 16));
#pragma unroll
      for (int n = 0; n < 4; ++n) a[n] = MultiplyHalves(a[n], n % 2 == 0 ? LowerTwice(both) : UpperTwice(both));
    }
  }

  // The scales of row g and g + 8.
  __device__ float2 Scales(int group) const {
    constexpr FewScale kScale = Shape::kFormat.scale;
    if constexpr (kScale == FewScale::kHalf) {
      return FloatsOf(scales[group]);
    } else {
      const std::uint32_t word = scales[group / 2];  // of two groups
      const bool even = group % 2 == 0;
      if constexpr (kScale == FewScale::kE8m0) {
        const std::uint32_t lower = even ? word << 23 : word << 7, upper = even ? word << 15 : word >> 1;
        return {__uint_as_float(lower & 0x7f800000u), __uint_as_float(upper & 0x7f800000u)};
      } else {
        static_assert(kScale == FewScale::kUnits);
        const float2 unit = FloatsOf(units[0]);
        return {SignedByte(word, even ? 0 : 2) * unit.x, SignedByte(word, even ? 1 : 3) * unit.y};
      }
    }
  }

  static __device__ float SignedByte(std::uint32_t word, int i) {
    return static_cast<float>(static_cast<std::int8_t>(word >> (8 * i) & 0xff));
  }
  // The two lowest bytes, below 128, to fp16 numbers.
  static __device__ std::uint32_t BytesToHalves(std::uint32_t bytes) {
    return SubtractHalves(Permute(bytes, kLowerInteger, 0x5150), kLowerInteger);
  }
  static __device__ float2 FloatsOf(std::uint32_t halves) {
    return __half22float2(*reinterpret_cast<const __half2*>(&halves));
  }
};

// sums += biases x sums of tokens. Of the two halves of a sum of tokens each warp of columns takes one.
template <class Shape>
__device__ void AddBiases(const FewTile<Shape>& tile, std::uint32_t token_sums, float (&sums)[4]) {
  if constexpr (Shape::kUnits) {
    float of_units[4] = {};
    MultiplyAddHalf(of_units, tile.biases[0], tile.biases[1], token_sums);
    const float2 unit = FewTile<Shape>::FloatsOf(tile.units[1]);
#pragma unroll
    for (int r = 0; r < 4; ++r) sums[r] = __fmaf_rn(r < 2 ? unit.x : unit.y, of_units[r], sums[r]);
  } else {
    MultiplyAddHalf(sums, tile.biases[0], tile.biases[1], token_sums);
  }
}

// sums = from + the products of 16 columns of a record with the tokens.
template <int kTokenBlocks>
__device__ void MultiplyStep(const std::uint32_t (&a)[4], const std::uint32_t (&tokens)[kTokenBlocks][2][4], int step,
                             const float (&from)[kTokenBlocks][4], float (&sums)[kTokenBlocks][4]) {
#pragma unroll
  for (int b = 0; b < kTokenBlocks; ++b) {
    const std::uint32_t(&own)[4] = tokens[b][step / 2];
    MultiplyAddTo(sums[b], a, own[step % 2 * 2], own[step % 2 * 2 + 1], from[b]);
  }
}

// What the sums of a group start with that begins at a step.
template <class Shape, int kTokenBlocks>
__device__ void StartSums(const std::uint32_t (&tokens)[kTokenBlocks][2][4], int step,
                          float (&starts)[kTokenBlocks][4]) {
#pragma unroll
  for (int b = 0; b < kTokenBlocks; ++b) {
#pragma unroll
    for (float& sum : starts[b]) sum = 0;
  }
  if constexpr (Shape::kStarts) {
    constexpr std::uint32_t kZero = TwoHalves(-Shape::kZero / PowerOfNumbers(Shape::kFormat.coding));
    constexpr std::uint32_t kZeros[4] = {kZero, kZero, kZero, kZero};
#pragma unroll
    for (int i = 0; i < Shape::kTogether / 16; ++i) MultiplyStep(kZeros, tokens, step + i, starts, starts);
  }
}

// sums += scales of the rows x parts
template <int kTokenBlocks>
__device__ void AddScaled(float2 scales, const float (&parts)[kTokenBlocks][4], float (&sums)[kTokenBlocks][4]) {
#pragma unroll
  for (int b = 0; b < kTokenBlocks; ++b) {
#pragma unroll
    for (int r = 0; r < 4; ++r) sums[b][r] = __fmaf_rn(r < 2 ? scales.x : scales.y, parts[b][r], sums[b][r]);
  }
}

// sums += the products of a warp's part of records with the tokens.
template <class Shape, int kTokenBlocks>
__device__ void MultiplyRecords(const FewTile<Shape> (&tiles)[Shape::kWarpTiles],
                                const std::uint32_t (&tokens)[kParts][kTokenBlocks][2][4], const Iq4Tables& tables,
                                float (&sums)[Shape::kWarpTiles][kTokenBlocks][4]) {
  constexpr int kGroup = Shape::kGroup, kTogether = Shape::kTogether;
  float parts[Shape::kWarpTiles][kParts][kTokenBlocks][4];  // independent chains
#pragma unroll
  for (int step = 0; step < 4; ++step) {
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      const int group = kGroup >= 128 ? 0 : (part * 64 + step * 16) / kGroup;
      const bool begins = step * 16 % kTogether == 0, ends = (step + 1) * 16 % kTogether == 0;
      float starts[kTokenBlocks][4];
      if (begins) StartSums<Shape>(tokens[part], step, starts);
#pragma unroll
      for (int i = 0; i < Shape::kWarpTiles; ++i) {
        std::uint32_t a[4];
        tiles[i].Decode(part, step, group, tables, a);
        if constexpr (ScalesCodes(Shape::kFormat)) {
          MultiplyStep(a, tokens[part], step, sums[i], sums[i]);
        } else {
          MultiplyStep(a, tokens[part], step, begins ? starts : parts[i][part], parts[i][part]);
          if (ends) AddScaled(tiles[i].Scales(group), parts[i][part], sums[i]);
        }
      }
    }
  }
}

// The outputs of a tile that a block writes: all, or a slice of the rows. A thread has every 256th.
template <int kTiles>
struct FewOutputs {
  const FewMatrix& matrix;
  int slice_log2, rank, tile;  // tile: of the matrix
  __device__ FewOutputs(const FewArgs& args, int of_all, int own_rank, int log2)
      : matrix(MatrixOf<kTiles>(args, of_all)), slice_log2(log2), rank(own_rank), tile(of_all) {}
  __device__ int rows_log2() const { return 4 + slice_log2; }
  __device__ int TokenOf(int i) const { return i >> rows_log2(); }
  __device__ int RowOf(int i) const { return i & ((1 << rows_log2()) - 1); }  // of the slice
  __device__ int MatrixRowOf(int i) const { return tile * kTiles * 16 + (rank << rows_log2()) + RowOf(i); }
  __device__ float& At(int i) const {
    return matrix.out.data[static_cast<std::size_t>(TokenOf(i)) * matrix.out.stride + MatrixRowOf(i)];
  }
};

// What a thread's first output needs beside its sum. It is read while the products are computed.
struct FewAhead {
  float power = 0, before = 0, bias = 0;
};
template <int kTiles>
__device__ FewAhead ReadAhead(const FewArgs& args, const FewOutputs<kTiles>& outputs, int i) {
  FewAhead out;
  const int row = outputs.MatrixRowOf(i);
  if (outputs.TokenOf(i) >= args.tokens || row >= outputs.matrix.rows) return out;
  out.power = args.powers[outputs.TokenOf(i)];
  if (args.adds) out.before = outputs.At(i);
  if (outputs.matrix.bias != nullptr) out.bias = outputs.matrix.bias[row];
  return out;
}

// Writes the sums of a tile, or of the slice of it that the block owns: [rank][columns' warp][tile of the slice]
// [tokens] in `reduced`.
template <int kTokenBlocks, int kTiles>
__device__ void WriteOut(const FewArgs& args, const float* reduced, const FewOutputs<kTiles>& outputs, FewAhead ahead) {
  const int slot = (kTokenBlocks * 128) << outputs.slice_log2;
  for (int i = static_cast<int>(threadIdx.x); i < args.tokens << outputs.rows_log2(); i += kWorkers * kWarp) {
    const int token = outputs.TokenOf(i), row = outputs.RowOf(i), upper = row >> 3 & 1;
    const float* const from = reduced + ((row >> 4) * kTokenBlocks + (token >> 3)) * 128 +
                              ((row & 7) * 4 + (token >> 1 & 3)) * 4 + upper * 2 + (token & 1);
    float sum = 0;
    for (int part = 0; part < kColWarps << args.cluster_log2; ++part) sum += from[part * slot];
    if (i != static_cast<int>(threadIdx.x)) ahead = ReadAhead(args, outputs, i);
    if (outputs.MatrixRowOf(i) >= outputs.matrix.rows) continue;
    const float value = sum * outputs.matrix.factor * ahead.power + ahead.bias;
    outputs.At(i) = args.adds ? __fmaf_rn(args.factor, value, ahead.before) : value;
  }
}

// Every warp sends its sums to the block that owns the rows, where WriteOut reads them.
template <class Shape, int kTokenBlocks>
__device__ void SendSums(const FewArgs& args, std::uint32_t shared, int rank, int slice_log2,
                         const float (&sums)[Shape::kWarpTiles][kTokenBlocks][4]) {
  const int warp = static_cast<int>(threadIdx.x / kWarp), lane = static_cast<int>(threadIdx.x % kWarp);
  const int row_warp = warp / kColWarps, col_warp = warp % kColWarps, slot = (kTokenBlocks * 128) << slice_log2;
  const std::uint32_t reduced = shared + Shape::kBarriers + Shape::kStages * 16;
#pragma unroll
  for (int i = 0; i < Shape::kWarpTiles; ++i) {
    const int own = row_warp * Shape::kWarpTiles + i, owner = own >> slice_log2;
    const std::uint32_t local =
        shared + Shape::kReduced +
        ((rank * kColWarps + col_warp) * slot + (own & ((1 << slice_log2) - 1)) * kTokenBlocks * 128 + lane * 4) * 4;
#pragma unroll
    for (int b = 0; b < kTokenBlocks; ++b) {
      if (b * 8 + 2 * (lane % 4) >= args.tokens) continue;
      if (args.cluster_log2 > 0) {
        StoreInCluster(AddressInCluster(local, owner) + b * 512, sums[i][b], AddressInCluster(reduced, owner));
      } else {
        Store16(local + b * 512, sums[i][b]);
      }
    }
  }
}

// The warps that multiply.
template <class Shape, int kTokenBlocks, int kTiles>
__device__ void Work(const FewArgs& args, std::uint32_t shared, const float* reduced_sums, int rank,
                     const FewWork& work) {
  constexpr int kWarpTiles = Shape::kWarpTiles, kStages = Shape::kStages;
  const int warp = static_cast<int>(threadIdx.x / kWarp), lane = static_cast<int>(threadIdx.x % kWarp);
  const int row_warp = warp / kColWarps, col_warp = warp % kColWarps;
  const std::uint32_t full = shared + Shape::kBarriers, empty = full + kStages * 8, reduced = empty + kStages * 8;
  // Row lane mod 8 of 16-byte unit lane / 8, where few.h puts it.
  const std::uint32_t input0 =
      Kept(shared + col_warp * kParts * kTokenBlocks * 1024 + (lane % 8) * 128 + ((lane / 8) ^ (lane % 8)) * 16);
  const FewPlaces places =
      PlacesOf<Shape>(shared + Shape::kCodes + row_warp * kWarpTiles * Shape::kRecord, col_warp, lane);
  const std::uint32_t token_sums0 = Kept(shared + Shape::kTokenSums + lane / 4 * 32 + col_warp * 16 + lane % 4 * 4);
  const std::uint32_t arriving = Kept(lane);  // lane 0 arrives for its warp
  const int slice_log2 = Shape::kTilesLog2 - args.cluster_log2;
  Iq4Tables tables;
  if constexpr (Shape::kFormat.coding == FewCoding::kIq4) tables = Iq4Tables::InRegisters();
  const int count = static_cast<int>(Kept(work.count));
  int stage = 0;
  std::uint32_t phase = 0;
  for (int tile = work.first_tile; tile < work.tiles; tile += args.clusters) {
    float sums[kWarpTiles][kTokenBlocks][4] = {};
    const FewOutputs<kTiles> outputs(args, tile, rank, slice_log2);
    WaitForPrevious();
    const FewAhead ahead = ReadAhead(args, outputs, static_cast<int>(threadIdx.x));
    for (int block = 0; block < count; ++block) {
      BarrierWait(full + stage * 8, phase);
      const std::uint32_t offset = stage * Shape::kCodeBytes, input = input0 + stage * Shape::kInputBytes;
      FewTile<Shape> records[kWarpTiles];
      std::uint32_t tokens[kParts][kTokenBlocks][2][4];
      std::uint32_t token_sums[kTokenBlocks];
#pragma unroll
      for (int i = 0; i < kWarpTiles; ++i) records[i].Load(places, offset + i * Shape::kRecord);
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
#pragma unroll
        for (int b = 0; b < kTokenBlocks; ++b) {
          LoadMatrices(tokens[part][b][0], input + (part * kTokenBlocks + b) * 1024);
          LoadMatrices(tokens[part][b][1], (input ^ 64) + (part * kTokenBlocks + b) * 1024);
        }
      }
      if constexpr (Shape::kFormat.biased) {
#pragma unroll
        for (int b = 0; b < kTokenBlocks; ++b) {
          token_sums[b] = Load4(token_sums0 + stage * Shape::kTokenSumsBytes + b * 256);
        }
      }
      WarpArrive(empty + stage * 8, arriving);
      if (++stage == kStages) {
        stage = 0;
        phase ^= 1;
      }
      if constexpr (Shape::kFormat.biased) {
#pragma unroll
        for (int i = 0; i < kWarpTiles; ++i) {
#pragma unroll
          for (int b = 0; b < kTokenBlocks; ++b) AddBiases<Shape>(records[i], token_sums[b], sums[i][b]);
        }
      }
      MultiplyRecords<Shape, kTokenBlocks>(records, tokens, tables, sums);
    }

    if (args.cluster_log2 > 0) {
      ClusterWait();  // all blocks run, and their barriers are there
    } else if (tile != work.first_tile) {
      WaitForThreads(1, kWorkers * kWarp);
    }
    SendSums<Shape, kTokenBlocks>(args, shared, rank, slice_log2, sums);
    if (args.cluster_log2 > 0) {
      BarrierWaitForCluster(reduced, 0);
    } else {
      WaitForThreads(1, kWorkers * kWarp);
    }
    WriteOut<kTokenBlocks, kTiles>(args, reduced_sums, outputs, ahead);
  }
}
#endif

template <class Type, int kTokenBlocks, int kTiles>
__global__ void __launch_bounds__((kWorkers + 1) * kWarp, FewShape<Type, kTokenBlocks, kTiles>::kBlocksOfProcessor)
    FewKernel(const __grid_constant__ FewArgs args) {
#if MARLIN_HAS_BULK_COPIES
  using Shape = FewShape<Type, kTokenBlocks, kTiles>;
  extern __shared__ std::uint8_t memory[];
  const int rank = static_cast<int>(blockIdx.x) & ((1 << args.cluster_log2) - 1);
  const std::uint32_t shared = (SharedAddress(memory) + 1023u) & ~1023u;
  FewWork work;
  work.first_tile = static_cast<int>(blockIdx.x) >> args.cluster_log2;
  work.tiles = args.panels / (kTiles / 4);
  work.begin_block = (args.blocks * rank) >> args.cluster_log2;
  work.count = ((args.blocks * (rank + 1)) >> args.cluster_log2) - work.begin_block;
  if (work.first_tile >= args.clusters) {
    HoldPlace(args);
    return;
  }
  if (threadIdx.x / kWarp == kWorkers) {
    Copy<Shape, kTiles>(args, shared, work);
    return;
  }
  if (args.cluster_log2 > 0) ClusterArrive();
  __syncthreads();
  const auto* const reduced =
      reinterpret_cast<const float*>(memory + (shared - SharedAddress(memory)) + Shape::kReduced);
  Work<Shape, kTokenBlocks, kTiles>(args, shared, reduced, rank, work);
#endif
}

// copies_left: found by trying (H200); no more than the ring has places.
template <class Type, int kTokenBlocks, int kTiles>
void LaunchFew(FewArgs args, const FewDivision& division, int copies_left, cudaStream_t stream) {
  using Shape = FewShape<Type, kTokenBlocks, kTiles>;
  const auto kernel = &FewKernel<Type, kTokenBlocks, kTiles>;
  static const cudaError_t kAllowed =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Shape::kBytes);
  static_cast<void>(kAllowed);  // a launch that does not fit is an error too
  copies_left = std::min(copies_left, Shape::kStages);
  args.cluster_log2 = division.cluster_log2;
  args.clusters = division.blocks >> division.cluster_log2;
  const int tiles = args.panels / (kTiles / 4), rounds = (tiles + args.clusters - 1) / args.clusters;
  const int copies = rounds * (args.blocks >> division.cluster_log2);
  constexpr bool kTwoPlaces = Shape::kBlocksOfProcessor == 2;
  const bool at_once = kTwoPlaces && copies <= Shape::kStages + copies_left;
  args.copies_left = at_once ? kAtOnce : copies_left;
  const int all = division.processors >> division.cluster_log2 << division.cluster_log2;
  args.held = kTwoPlaces && (at_once || rounds == 1) ? std::max(all - division.blocks, 0) : 0;
  const auto blocks = static_cast<unsigned>(division.blocks + args.held);
  LaunchClusters(kernel, blocks, 1 << division.cluster_log2, (kWorkers + 1) * kWarp, Shape::kBytes, stream, args);
}

template <class Type>
void LaunchFewOf(const FewArgs& args, const FewDivision& division, cudaStream_t stream) {
  if (args.tokens <= 8) {
    if (division.tiles == 4) return LaunchFew<Type, 1, 4>(args, division, 4, stream);
    if (division.tiles == 8) return LaunchFew<Type, 1, 8>(args, division, 4, stream);
    return LaunchFew<Type, 1, 16>(args, division, 2, stream);
  }
  if (division.tiles == 4) return LaunchFew<Type, 2, 4>(args, division, 2, stream);
  if (division.tiles == 8) return LaunchFew<Type, 2, 8>(args, division, 1, stream);
  LaunchFew<Type, 2, 16>(args, division, 2, stream);
}

// Launches the kernel of the format, if it is one of this coding.
template <FewCoding kCoding, bool kBiased>
bool LaunchOneOf(const FewFormat& format, const FewArgs& args, const FewDivision& division, cudaStream_t stream) {
  return WithTypeOf<kCoding, kBiased>(format, [&]<class Type>() { LaunchFewOf<Type>(args, division, stream); });
}

}  // namespace marlin::cuda
