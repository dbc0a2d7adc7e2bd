// 4-bit weights x at most 16 tokens in fp16. The time is that of reading the weights, so everything serves one steady
// stream of them:
//
// - One warp of a block copies whole records and the tokens' columns into a ring in shared memory. Eight warps decode
//   and multiply (mma.m16n8k16). Four of them share a block's rows, two its columns.
// - Codes are decoded to exact fp16 numbers. Scales multiply fp32 sums, once for each row and group.
// - Two blocks fit a multiprocessor, and the next kernel of the stream may start before this one has ended
// (programmatic
//   dependent launch): its ring fills while this one drains. It starts late, when few copies are left.
// - Few rows: two blocks of a cluster divide the columns. Each sends its sums to the block that owns the rows.
//   The order of sums is fixed, so results have the same bits from run to run.
#include <cuda_fp16.h>

#include <algorithm>
#include <array>
#include <utility>

#include "kernels/cuda/halves.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/norm.cuh"
#include "kernels/cuda/power.cuh"
#include "kernels/cuda/w4.h"
#include "kernels/cuda/w4_decode.cuh"

namespace marlin::cuda {
namespace {

struct FewArgs {
  const std::uint8_t* records;
  const std::uint8_t* halves;
  const float* powers;
  const float* bias;  // or null
  View<float> out;
  int tokens;
  int rows;
  int panels;
  int blocks;        // of columns
  int cluster_log2;  // blocks of a cluster divide the columns
  int clusters;      // that work side by side: the distance between the tiles of one
  int copies_left;   // when the next kernel may start
};

// Blocks without work keep a place of every multiprocessor for so long that the next kernel, which starts at once, puts
// no two of its blocks on one.
constexpr long long kHeldCycles = 4000;
constexpr int kAtOnce = 1 << 30;  // copies_left of such a kernel

constexpr int kRowWarps = 4, kColWarps = 2;
constexpr int kWorkers = kRowWarps * kColWarps;  // and one warp that copies
constexpr int kParts = 4 / kColWarps;            // of 64 columns of each record for a warp

// kTiles: of 16 rows, of a block.
template <W4Coding kCoding, int kGroup, int kTokenBlocks, int kTiles, int kStages>
struct FewShape {
  static constexpr int kRecord = RecordBytes(kCoding, kGroup);
  static constexpr int kWarpTiles = kTiles / kRowWarps;
  static constexpr int kInputBytes = kTokenBlocks * 4096;
  static constexpr int kCodeBytes = (kTiles * kRecord + 127) / 128 * 128;
  static constexpr int kSums = kTiles * kTokenBlocks * 128;  // of a warp of columns
  static constexpr int kTilesLog2 = kTiles == 4 ? 2 : kTiles == 8 ? 3 : 4;
  static constexpr int kBlocksOfProcessor = kTiles == 16 ? 1 : 2;
  // In shared memory.
  static constexpr int kCodes = kStages * kInputBytes;
  static constexpr int kReduced = kCodes + kStages * kCodeBytes;
  static constexpr int kBarriers = kReduced + kColWarps * kSums * 4;
  static constexpr int kBytes = kBarriers + kStages * 16 + 8 + 1024;  // 1024: to align
  // Groups that a warp meets in a record.
  static constexpr int kGroups = kGroup == 32 ? 2 * kParts : kGroup == 64 ? kParts : 1;
  static __device__ int FirstGroup(int col_warp) { return kGroup == 256 ? 0 : col_warp * 128 / kGroup; }
};

// The warp that copies: columns begin_block to begin_block + count - 1 of each tile.
template <class Shape, int kStages, int kTiles>
__device__ void Copy(const FewArgs& args, std::uint32_t shared, int first_tile, int tiles, int begin_block, int count) {
  const std::uint32_t full = shared + Shape::kBarriers, empty = full + kStages * 8, reduced = empty + kStages * 8;
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int total = (tiles - first_tile + args.clusters - 1) / args.clusters * count;
  const int ahead = total < kStages ? total : kStages;
  const std::uint64_t once = EvictFirst(), again = EvictLast();
  int tile = first_tile, block = 0;
  const auto weights = [&](int stage) {
    BarrierExpect(full + stage * 8, Shape::kInputBytes + kTiles * Shape::kRecord);
    for (int panel = 0; panel < kTiles / 4; ++panel) {
      const std::size_t place =
          static_cast<std::size_t>(tile * (kTiles / 4) + panel) * args.blocks + begin_block + block;
      CopyBulk(shared + Shape::kCodes + stage * Shape::kCodeBytes + panel * 4 * Shape::kRecord,
               args.records + place * (4 * Shape::kRecord), 4 * Shape::kRecord, full + stage * 8, once);
    }
    if (++block == count) {
      block = 0;
      tile += args.clusters;
    }
  };
  const auto input = [&](int stage, int of_block) {
    CopyBulk(shared + stage * Shape::kInputBytes,
             args.halves + static_cast<std::size_t>(begin_block + of_block) * Shape::kInputBytes, Shape::kInputBytes,
             full + stage * 8, again);
  };
  if (lane == 0) {
    for (int stage = 0; stage < kStages; ++stage) {
      BarrierInit(full + stage * 8, 1);
      BarrierInit(empty + stage * 8, kWorkers * kWarp);
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
    if (total - ahead <= args.copies_left) LaunchNext();
    WaitForPrevious();
    int of_block = 0;
    for (int stage = 0; stage < ahead; ++stage) {
      input(stage, of_block);
      if (++of_block == count) of_block = 0;
    }
    int stage = 0;
    std::uint32_t phase = 0;
    for (int copied = ahead; copied < total; ++copied) {
      BarrierWait(empty + stage * 8, phase);
      const int this_block = block;
      weights(stage);
      input(stage, this_block);
      if (total - 1 - copied == args.copies_left) LaunchNext();
      if (++stage == kStages) {
        stage = 0;
        phase ^= 1;
      }
    }
  }
  __syncwarp();
  if (args.cluster_log2 > 0) ClusterWait();
}

template <W4Coding kCoding, int kGroup, int kTokenBlocks, int kTiles, int kStages>
__global__ void __launch_bounds__((kWorkers + 1) * kWarp,
                                  FewShape<kCoding, kGroup, kTokenBlocks, kTiles, kStages>::kBlocksOfProcessor)
    FewKernel(FewArgs args) {
  using Shape = FewShape<kCoding, kGroup, kTokenBlocks, kTiles, kStages>;
  constexpr int kWarpTiles = Shape::kWarpTiles, kGroups = Shape::kGroups;
  extern __shared__ std::uint8_t memory[];
  const int warp = static_cast<int>(threadIdx.x / kWarp), lane = static_cast<int>(threadIdx.x % kWarp);
  const int rank = static_cast<int>(blockIdx.x) & ((1 << args.cluster_log2) - 1);
  const int first_tile = static_cast<int>(blockIdx.x) >> args.cluster_log2;
  const std::uint32_t shared = (SharedAddress(memory) + 1023u) & ~1023u;
  const int tiles = args.panels / (kTiles / 4);
  const int begin_block = (args.blocks * rank) >> args.cluster_log2;
  const int count = ((args.blocks * (rank + 1)) >> args.cluster_log2) - begin_block;
  if (first_tile >= args.clusters) {
    LaunchNext();
    WaitForPrevious();
    for (const long long start = clock64(); clock64() - start < kHeldCycles;) __nanosleep(100);
    return;
  }
  if (warp == kWorkers) {
    Copy<Shape, kStages, kTiles>(args, shared, first_tile, tiles, begin_block, count);
    return;
  }

  if (args.cluster_log2 > 0) ClusterArrive();
  __syncthreads();
  const std::uint32_t full = shared + Shape::kBarriers, empty = full + kStages * 8, reduced = empty + kStages * 8;
  const int row_warp = warp / kColWarps, col_warp = warp % kColWarps;
  const int g = lane / 4, t = lane % 4;
  // Row lane mod 8 of 16-byte unit lane / 8, where w4.h puts it.
  const std::uint32_t input_lane = (lane % 8) * 128 + ((lane / 8) ^ (lane % 8)) * 16;
  const std::uint32_t tile0 = shared + Shape::kCodes + row_warp * kWarpTiles * Shape::kRecord;
  const std::uint32_t codes0 = tile0 + col_warp * kParts * 512 + lane * 16;
  const std::uint32_t scales0 = tile0 + kRecordCodeBytes + Shape::FirstGroup(col_warp) * 32 + g * 4;
  const std::uint32_t zeros0 = tile0 + kRecordCodeBytes + ScaleBytes(kGroup) + Shape::FirstGroup(col_warp) * 8 + g;
  int stage = 0;
  std::uint32_t phase = 0;
  bool again = false;
  for (int tile = first_tile; tile < tiles; tile += args.clusters) {
    float sums[kWarpTiles][kTokenBlocks][4] = {};
    for (int block = 0; block < count; ++block) {
      BarrierWait(full + stage * 8, phase);
      const std::uint32_t offset = stage * Shape::kCodeBytes;
      const std::uint32_t input =
          shared + stage * Shape::kInputBytes + col_warp * kParts * kTokenBlocks * 1024 + input_lane;
      uint4 words[kWarpTiles][kParts];
      std::uint32_t tokens[kParts][kTokenBlocks][2][4];
      std::uint32_t scales[kWarpTiles][kGroups], zeros[kWarpTiles][kGroups];
#pragma unroll
      for (int i = 0; i < kWarpTiles; ++i) {
#pragma unroll
        for (int part = 0; part < kParts; ++part)
          words[i][part] = Load16(codes0 + offset + i * Shape::kRecord + part * 512);
      }
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
#pragma unroll
        for (int b = 0; b < kTokenBlocks; ++b) {
          LoadMatrices(tokens[part][b][0], input + (part * kTokenBlocks + b) * 1024);
          LoadMatrices(tokens[part][b][1], (input ^ 64) + (part * kTokenBlocks + b) * 1024);
        }
      }
#pragma unroll
      for (int i = 0; i < kWarpTiles; ++i) {
#pragma unroll
        for (int n = 0; n < kGroups; ++n) {
          scales[i][n] = Load4(scales0 + offset + i * Shape::kRecord + n * 32);
          zeros[i][n] = kCoding == W4Coding::kInt4 ? Load1(zeros0 + offset + i * Shape::kRecord + n * 8) : 0;
        }
      }
      BarrierArrive(empty + stage * 8);
      if (++stage == kStages) {
        stage = 0;
        phase ^= 1;
      }

      float parts[kWarpTiles][kParts][kTokenBlocks][4];  // independent chains
#pragma unroll
      for (int step = 0; step < 4; ++step) {
#pragma unroll
        for (int part = 0; part < kParts; ++part) {
          const int group = kGroup == 32 ? part * 2 + step / 2 : kGroup == 64 ? part : 0;
          const bool begins = step == 0 || (kGroup == 32 && step == 2), ends = step == 3 || (kGroup == 32 && step == 1);
#pragma unroll
          for (int i = 0; i < kWarpTiles; ++i) {
            if (begins) {
#pragma unroll
              for (int b = 0; b < kTokenBlocks; ++b) {
#pragma unroll
                for (float& sum : parts[i][part][b]) sum = 0;
              }
            }
            const uint4& word = words[i][part];
            std::uint32_t a[4];
            DecodeWord<kCoding>(step == 0 ? word.x : step == 1 ? word.y : step == 2 ? word.z : word.w, a);
            if constexpr (kCoding == W4Coding::kInt4) SubtractZeros(a, zeros[i][group]);
#pragma unroll
            for (int b = 0; b < kTokenBlocks; ++b) {
              const std::uint32_t(&own)[4] = tokens[part][b][step / 2];
              MultiplyAdd(parts[i][part][b], a, own[step % 2 * 2], own[step % 2 * 2 + 1]);
            }
            if (!ends) continue;
            const __half2 both = *reinterpret_cast<const __half2*>(&scales[i][group]);
            const float lower = __low2float(both), upper = __high2float(both);
#pragma unroll
            for (int b = 0; b < kTokenBlocks; ++b) {
#pragma unroll
              for (int r = 0; r < 4; ++r) {
                sums[i][b][r] = __fmaf_rn(r < 2 ? lower : upper, parts[i][part][b][r], sums[i][b][r]);
              }
            }
          }
        }
      }
    }

    // Every warp sends its sums to the block that owns the rows: [rank][columns' warp][tile of the slice][tokens].
    const int slice_log2 = Shape::kTilesLog2 - args.cluster_log2;
    const int slot = (kTokenBlocks * 128) << slice_log2;
    if (args.cluster_log2 > 0) {
      ClusterWait();  // all blocks run, and their barriers are there
    } else if (again) {
      WaitForThreads(1, kWorkers * kWarp);
    }
    again = true;
#pragma unroll
    for (int i = 0; i < kWarpTiles; ++i) {
      const int own = row_warp * kWarpTiles + i, owner = own >> slice_log2;
      const std::uint32_t local =
          shared + Shape::kReduced +
          ((rank * kColWarps + col_warp) * slot + (own & ((1 << slice_log2) - 1)) * kTokenBlocks * 128 + lane * 4) * 4;
#pragma unroll
      for (int b = 0; b < kTokenBlocks; ++b) {
        if (b * 8 + 2 * t >= args.tokens) continue;
        if (args.cluster_log2 > 0) {
          StoreInCluster(AddressInCluster(local, owner) + b * 512, sums[i][b], AddressInCluster(reduced, owner));
        } else {
          Store16(local + b * 512, sums[i][b]);
        }
      }
    }
    if (args.cluster_log2 > 0) {
      BarrierWaitForCluster(reduced, 0);
    } else {
      WaitForThreads(1, kWorkers * kWarp);
    }
    WaitForPrevious();
    const auto* const all = reinterpret_cast<const float*>(memory + (shared - SharedAddress(memory)) + Shape::kReduced);
    const int rows_log2 = 4 + slice_log2, slice_rows = 1 << rows_log2;
    for (int i = static_cast<int>(threadIdx.x); i < args.tokens << rows_log2; i += kWorkers * kWarp) {
      const int token = i >> rows_log2, row = i & (slice_rows - 1), upper = row >> 3 & 1;
      const float* const from = all + ((row >> 4) * kTokenBlocks + (token >> 3)) * 128 +
                                ((row & 7) * 4 + (token >> 1 & 3)) * 4 + upper * 2 + (token & 1);
      float sum = 0;
      for (int part = 0; part < kColWarps << args.cluster_log2; ++part) sum += from[part * slot];
      const int out_row = tile * kTiles * 16 + rank * slice_rows + row;
      if (out_row >= args.rows) continue;
      const float value = sum * kUndoPower<kCoding> * args.powers[token];
      args.out.data[static_cast<std::size_t>(token) * args.out.stride + out_row] =
          args.bias == nullptr ? value : value + args.bias[out_row];
    }
  }
}

// How the rows of a weight are divided.
struct Division {
  int tiles = 4;  // of a block
  int cluster_log2 = 0;
  int blocks = 0;  // in all
};

// The division whose busiest block has the least to read; larger tiles where that is equal.
Division Divide(int panels, int column_blocks, int processors) {
  Division best;
  double least = 0;
  for (const int tiles : {16, 8, 4}) {
    if (panels % (tiles / 4) != 0) continue;
    const int count = panels / (tiles / 4);
    for (const int log2 : {0, 1}) {
      if (log2 > 0 && (tiles == 16 || count << log2 > processors || column_blocks < 8)) continue;
      const int side_by_side = std::min(count, processors >> log2);
      const double work = static_cast<double>((count + side_by_side - 1) / side_by_side * tiles) / (1 << log2);
      if (best.blocks != 0 && work >= least) continue;
      best = {tiles, log2, side_by_side << log2};
      least = work;
    }
  }
  return best;
}

template <W4Coding kCoding, int kGroup, int kTokenBlocks, int kTiles, int kStages>
void Launch(FewArgs args, const Division& division, int processors, int copies_left, cudaStream_t stream) {
  using Shape = FewShape<kCoding, kGroup, kTokenBlocks, kTiles, kStages>;
  const auto kernel = &FewKernel<kCoding, kGroup, kTokenBlocks, kTiles, kStages>;
  static const cudaError_t kAllowed =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Shape::kBytes);
  static_cast<void>(kAllowed);  // a launch that does not fit is an error too
  args.cluster_log2 = division.cluster_log2;
  args.clusters = division.blocks >> division.cluster_log2;
  args.copies_left = copies_left;
  cudaLaunchConfig_t config = {};
  const int tiles = args.panels / (kTiles / 4);
  const int copies = (tiles + args.clusters - 1) / args.clusters * (args.blocks >> division.cluster_log2);
  const bool short_run = kTiles == 4 && copies <= kStages + 1;
  if (short_run) args.copies_left = kAtOnce;
  const int all = processors >> division.cluster_log2 << division.cluster_log2;
  config.gridDim = dim3(static_cast<unsigned>(short_run ? std::max(division.blocks, all) : division.blocks));
  config.blockDim = dim3((kWorkers + 1) * kWarp);
  config.dynamicSmemBytes = Shape::kBytes;
  config.stream = stream;
  cudaLaunchAttribute attributes[2];
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim.x = 1u << division.cluster_log2;
  attributes[1].val.clusterDim.y = attributes[1].val.clusterDim.z = 1;
  config.attrs = attributes;
  config.numAttrs = division.cluster_log2 > 0 ? 2 : 1;
  cudaLaunchKernelEx(&config, kernel, args);
}

// Stages: as many as leave room for two blocks on a multiprocessor. Trigger: found by trying (H200).
template <W4Coding kCoding, int kGroup>
void LaunchOf(const FewArgs& args, const Division& division, int processors, cudaStream_t stream) {
  constexpr bool kSmall = kGroup <= 64;
  if (args.tokens <= 8) {
    if (division.tiles == 4) return Launch<kCoding, kGroup, 1, 4, 7>(args, division, processors, 4, stream);
    if (division.tiles == 8)
      return Launch < kCoding, kGroup, 1, 8, kSmall ? 4 : 5 > (args, division, processors, 2, stream);
    return Launch < kCoding, kGroup, 1, 16, kGroup == 32 ? 4 : 5 > (args, division, processors, 2, stream);
  }
  if (division.tiles == 4) return Launch<kCoding, kGroup, 2, 4, 5>(args, division, processors, 2, stream);
  if (division.tiles == 8) return Launch<kCoding, kGroup, 2, 8, 3>(args, division, processors, 1, stream);
  Launch<kCoding, kGroup, 2, 16, kGroup == 32 ? 3 : 4>(args, division, processors, 2, stream);
}

// Where a number of a rounded token lies, in bytes.
__device__ std::size_t PlaceOfHalf(std::size_t token, std::size_t col, std::size_t padded_tokens) {
  const std::size_t unit = col % 64 / 8 ^ token % 8;
  return (col / 64 * padded_tokens + token) * 128 + unit * 16 + col % 8 * 2;
}

__device__ void PutHalves(const float* row, std::size_t cols, float power, std::size_t padded_tokens,
                          std::size_t padded_cols, std::uint8_t* halves) {
  for (std::size_t i = threadIdx.x; i < padded_cols; i += kThreads) {
    const __half value = __float2half_rn(i < cols ? row[i] / power : 0.0f);
    *reinterpret_cast<__half*>(halves + PlaceOfHalf(blockIdx.x, i, padded_tokens)) = value;
  }
}

// A block for each token: its largest number first.
__global__ void RoundToHalvesKernel(View<const float> x, std::size_t padded_tokens, std::size_t padded_cols,
                                    std::uint8_t* halves, float* powers) {
  __shared__ float scratch[kThreads];
  const std::size_t token = blockIdx.x;
  const bool real = token < x.rows;
  const float* const row = x.data + token * x.stride;
  const float power = real ? PowerOfRow(row, x.cols, scratch) : 1.0f;
  if (real && threadIdx.x == 0) powers[token] = power;
  PutHalves(row, real ? x.cols : 0, power, padded_tokens, padded_cols, halves);
}

// The same after the norm.
__global__ void NormalizeToHalvesKernel(NormKind kind, View<const float> x, const float* weight, const float* bias,
                                        float eps, View<float> y, std::size_t padded_tokens, std::size_t padded_cols,
                                        std::uint8_t* halves, float* powers) {
  __shared__ double scratch[kThreads];
  const std::size_t token = blockIdx.x;
  const bool real = token < x.rows;
  float* const to = y.data + token * y.stride;
  float power = 1;
  if (real) {
    const float* const from = x.data + token * x.stride;
    const RowNorm norm = NormOfRow(kind, from, x.cols, eps, weight, bias, scratch);
    // A thread reads later what it writes here.
    for (std::size_t i = threadIdx.x; i < x.cols; i += kThreads) to[i] = norm.Of(from[i], i);
    power = PowerOfRow(to, x.cols, reinterpret_cast<float*>(scratch));
    if (threadIdx.x == 0) powers[token] = power;
  }
  PutHalves(to, real ? x.cols : 0, power, padded_tokens, padded_cols, halves);
}

// A thread for each number: the word that holds its code is decoded.
template <W4Coding kCoding>
__global__ void EmbedW4Kernel(W4Matrix w, View<const std::int32_t> tokens, View<float> out) {
  const std::size_t i = GlobalThread();
  if (i >= out.rows * w.cols) return;
  const std::size_t token = i / w.cols, col = i % w.cols;
  const auto row = static_cast<std::size_t>(tokens.data[token * tokens.stride]);
  const std::size_t tile = row / kRecordRows, block = col / kRecordCols, own = row % kRecordRows, k = col % 16;
  const auto record = static_cast<std::size_t>(RecordBytes(kCoding, w.format.group));
  const std::uint8_t* const at = w.records + ((tile / 4 * w.blocks() + block) * 4 + tile % 4) * record;
  const std::size_t g = own % 8, upper = own / 8, lane = g * 4 + k % 8 / 2;
  const std::size_t word = (col % kRecordCols / 64 * 32 + lane) * 4 + col % 64 / 16;
  const std::size_t group = col % kRecordCols / static_cast<std::size_t>(w.format.group);
  std::uint32_t a[4];
  DecodeWord<kCoding>(reinterpret_cast<const std::uint32_t*>(at)[word], a);
  if constexpr (kCoding == W4Coding::kInt4) {
    SubtractZeros(a, at[kRecordCodeBytes + ScaleBytes(w.format.group) + group * 8 + g]);
  }
  const std::size_t number = upper + k / 8 * 2;
  const __half2 pair = *reinterpret_cast<const __half2*>(&a[number]);
  const float value = (k % 2 == 0 ? __low2float(pair) : __high2float(pair)) * kUndoPower<kCoding>;
  const auto* const scales = reinterpret_cast<const __half*>(at + kRecordCodeBytes) + group * 16 + g * 2;
  out.data[token * out.stride + col] = value * __half2float(scales[upper]);
}

// A decoded row in fp32.
struct ToFloats {
  float* out;
  std::size_t cols;  // of a row; numbers beyond those of the matrix are 0
  __device__ void Put(std::size_t row, std::size_t col, float value) const { out[row * cols + col] = value; }
};
// The same in fp16, divided by a power of two.
struct ToHalves {
  __half* out;
  std::size_t cols;
  float factor;
  __device__ void Put(std::size_t row, std::size_t col, float value) const {
    out[row * cols + col] = __float2half_rn(value * factor);
  }
};

// A thread for each word.
template <W4Coding kCoding, class To>
__global__ void DecodeW4Kernel(W4Matrix w, std::size_t first, std::size_t count, To to) {
  const std::size_t i = GlobalThread();
  const std::size_t words = kRecordCodeBytes / 4;
  const std::size_t tiles = (count + kRecordRows - 1) / kRecordRows;
  if (i >= tiles * w.blocks() * words) return;
  const std::size_t word = i % words, block = i / words % w.blocks(),
                    tile = first / kRecordRows + i / words / w.blocks();
  const std::size_t record = static_cast<std::size_t>(RecordBytes(kCoding, w.format.group));
  const std::uint8_t* const at = w.records + ((tile / 4 * w.blocks() + block) * 4 + tile % 4) * record;
  std::uint32_t a[4];
  DecodeWord<kCoding>(reinterpret_cast<const std::uint32_t*>(at)[word], a);
  const std::size_t step = word % 4, lane = word / 4 % 32, part = word / 128, g = lane / 4, t = lane % 4;
  const std::size_t group = (part * 64 + step * 16) / static_cast<std::size_t>(w.format.group);
  const auto* const scales = reinterpret_cast<const __half*>(at + kRecordCodeBytes) + group * 16 + g * 2;
  if constexpr (kCoding == W4Coding::kInt4) {
    SubtractZeros(a, at[kRecordCodeBytes + ScaleBytes(w.format.group) + group * 8 + g]);
  }
  for (int code = 0; code < 8; ++code) {
    const bool upper = code / 2 % 2 != 0;
    const std::size_t row = (tile * kRecordRows - first) + g + (upper ? 8 : 0);
    const std::size_t col = block * kRecordCols + part * 64 + step * 16 + code / 4 * 8 + t * 2 + code % 2;
    if (row >= count || col >= to.cols) continue;
    const __half2 pair = *reinterpret_cast<const __half2*>(&a[code / 2]);
    const float value = (code % 2 == 0 ? __low2float(pair) : __high2float(pair)) * kUndoPower<kCoding>;
    to.Put(row, col, col < w.cols ? value * __half2float(scales[upper ? 1 : 0]) : 0.0f);
  }
}

template <class To>
void DecodeW4(const W4Matrix& weight, std::size_t first, std::size_t count, To to, cudaStream_t stream) {
  const std::size_t words = (count + kRecordRows - 1) / kRecordRows * weight.blocks() * (kRecordCodeBytes / 4);
  if (words == 0) return;
  const unsigned blocks = Blocks(words, kThreads);
  if (weight.format.coding == W4Coding::kFp4) {
    DecodeW4Kernel<W4Coding::kFp4><<<blocks, kThreads, 0, stream>>>(weight, first, count, to);
  } else {
    DecodeW4Kernel<W4Coding::kInt4><<<blocks, kThreads, 0, stream>>>(weight, first, count, to);
  }
}

}  // namespace

bool CanMultiplyW4Few(int major) { return major >= 9; }

void RoundToHalves(View<const float> x, std::uint8_t* halves, float* powers, cudaStream_t stream) {
  const std::size_t tokens = HalfTokens(x.rows), cols = PaddedToRecords(x.cols);
  RoundToHalvesKernel<<<static_cast<unsigned>(tokens), kThreads, 0, stream>>>(x, tokens, cols, halves, powers);
}

void NormalizeToHalves(NormKind kind, View<const float> x, View<const float> weight, View<const float> bias, float eps,
                       View<float> y, std::uint8_t* halves, float* powers, cudaStream_t stream) {
  const std::size_t tokens = HalfTokens(x.rows), cols = PaddedToRecords(x.cols);
  NormalizeToHalvesKernel<<<static_cast<unsigned>(tokens), kThreads, 0, stream>>>(kind, x, weight.data, bias.data, eps,
                                                                                  y, tokens, cols, halves, powers);
}

void MultiplyW4Few(const W4Matrix& weight, View<const float> bias, const std::uint8_t* halves, const float* powers,
                   View<float> out, cudaStream_t stream) {
  if (out.rows == 0 || weight.rows == 0) return;
  static const int kProcessors = [] {
    int device = 0, count = 0;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device);
    return count;
  }();
  const FewArgs args = {weight.records,
                        halves,
                        powers,
                        bias.data,
                        out,
                        static_cast<int>(out.rows),
                        static_cast<int>(weight.rows),
                        static_cast<int>(weight.panels()),
                        static_cast<int>(weight.blocks()),
                        0,
                        0,
                        0};
  const Division division = Divide(args.panels, args.blocks, kProcessors);
  const auto is = [&](W4Coding coding, int group) {
    return weight.format.coding == coding && weight.format.group == group;
  };
  if (is(W4Coding::kFp4, 32)) return LaunchOf<W4Coding::kFp4, 32>(args, division, kProcessors, stream);
  if (is(W4Coding::kFp4, 64)) return LaunchOf<W4Coding::kFp4, 64>(args, division, kProcessors, stream);
  if (is(W4Coding::kFp4, 128)) return LaunchOf<W4Coding::kFp4, 128>(args, division, kProcessors, stream);
  if (is(W4Coding::kFp4, 256)) return LaunchOf<W4Coding::kFp4, 256>(args, division, kProcessors, stream);
  if (is(W4Coding::kInt4, 32)) return LaunchOf<W4Coding::kInt4, 32>(args, division, kProcessors, stream);
  if (is(W4Coding::kInt4, 64)) return LaunchOf<W4Coding::kInt4, 64>(args, division, kProcessors, stream);
  if (is(W4Coding::kInt4, 128)) return LaunchOf<W4Coding::kInt4, 128>(args, division, kProcessors, stream);
}

void EmbedW4Rows(const W4Matrix& weight, View<const std::int32_t> tokens, View<float> out, cudaStream_t stream) {
  if (out.rows * weight.cols == 0) return;
  const unsigned blocks = Blocks(out.rows * weight.cols, kThreads);
  if (weight.format.coding == W4Coding::kFp4) {
    EmbedW4Kernel<W4Coding::kFp4><<<blocks, kThreads, 0, stream>>>(weight, tokens, out);
  } else {
    EmbedW4Kernel<W4Coding::kInt4><<<blocks, kThreads, 0, stream>>>(weight, tokens, out);
  }
}

void DecodeW4Rows(const W4Matrix& weight, std::size_t first, std::size_t count, float* out, cudaStream_t stream) {
  DecodeW4(weight, first, count, ToFloats{out, weight.cols}, stream);
}

void DecodeW4RowsToHalves(const W4Matrix& weight, std::size_t first, std::size_t count, float power, void* halves,
                          cudaStream_t stream) {
  DecodeW4(weight, first, count, ToHalves{static_cast<__half*>(halves), PaddedCols(weight.cols), 1 / power}, stream);
}

}  // namespace marlin::cuda
