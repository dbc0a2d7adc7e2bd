// Attention of one token in a chain. A block of the kernel serves a head of keys and some of the keys: a split. It
// rotates the queries that share the head; that of the last split also rotates the new key and puts it into the cache.
//
// Keys are the rows of an mma, query heads its columns. A warp takes 16 keys, from the cache straight to the operands.
// Columns of heads stand in orders of their own, in which those of a lane lie together.
#pragma once

#include "kernels/cuda/chain_input.cuh"
#include "kernels/cuda/rope.cuh"

namespace marlin::cuda {

// What is attended to by a block.
struct ChainPart {
  int kv, split;    // of `splits`
  int first, last;  // keys; none where first > last
  bool is_last;     // it has the token's own key
};

// 8 x 8 numbers of 16 bits, of which a lane has two neighbours of row lane / 4, transposed.
__device__ inline std::uint32_t Transposed(std::uint32_t word) {
  std::uint32_t out;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(out) : "r"(word));
  return out;
}

// The sums of the products of queries, keys and values in shared memory: [query heads of the group, key, value][dim].
template <int kDim>
__device__ void ReadHeads(ChainShared& shared, const ChainAttention& args, int kv, int group) {
  constexpr int kCols = 4;  // of a thread: registers are few
#pragma unroll 1
  for (int i = static_cast<int>(ChainThread()); i < (group + 2) * (kDim / kCols); i += kChainWorkers) {
    const int head = i / (kDim / kCols), col = i % (kDim / kCols) * kCols;
    float v[kCols];
    const int row = (head < group ? kv * group + head : kv) * kDim + col;
    ReadSums(head < group ? args.queries : head == group ? args.keys : args.values, row, v);
    Store(shared.heads + head * kDim + col, v);
  }
}

template <int kDim>
__device__ void RotateHeads(ChainShared& shared, const ChainAttention& args, int position, int group) {
  const int pairs = static_cast<int>(args.of_queries.cos.cols), key_pairs = static_cast<int>(args.of_keys.cos.cols);
#pragma unroll 1
  for (int i = static_cast<int>(ChainThread()); i < group * pairs + key_pairs; i += kChainWorkers) {
    const bool is_key = i >= group * pairs;
    float* const head = shared.heads + (is_key ? group : i / pairs) * kDim;
    const RotatedPair pair = Rotated(is_key ? args.of_keys : args.of_queries, static_cast<std::size_t>(position), head,
                                     static_cast<std::size_t>(is_key ? i - group * pairs : i % pairs));
    head[pair.first] = pair.a;
    head[pair.second] = pair.b;
  }
}

// The new key and value go to the cache, and to shared memory for this block.
template <int kDim>
__device__ void AppendToCache(ChainShared& shared, const ChainAttention& args, int position, int kv, int group) {
  const int i = static_cast<int>(ChainThread());
  if (i >= 2 * kDim) return;
  auto* const to = static_cast<__half*>(i < kDim ? args.cache.keys : args.cache.values);
  const std::size_t row = static_cast<std::size_t>(position) * args.cache.kv_heads + static_cast<std::size_t>(kv);
  const __half own = __float2half_rn(shared.heads[group * kDim + i]);
  to[row * kDim + static_cast<std::size_t>(i % kDim)] = own;
  shared.token[i] = own;
}

// Peaks and sums of heads 2 t and 2 t + 1, t = lane % 4. Outputs of their columns: number 2 r + h of tile j is column
// (lane / 4) * kDim / 8 + 2 j + r of head 2 t + h.
template <int kDim>
struct ChainState {
  static constexpr int kTiles = kDim / 16;
  float peak[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};
  float output[kTiles][4] = {};

  __device__ void Scale(const float (&keep)[2]) {
#pragma unroll
    for (int h = 0; h < 2; ++h) sum[h] *= keep[h];
#pragma unroll
    for (int j = 0; j < kTiles; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) output[j][i] *= keep[i % 2];
    }
  }
};

// Columns 32 u + 8 t to 32 u + 8 t + 7, t = lane % 4, of the query of head lane / 4: operands B of two mma. They are
// read for every 16 keys: registers are few.
template <int kDim>
__device__ uint4 ChainQuery(const ChainShared& shared, int group, int u) {
  const int lane = static_cast<int>(ChainThread() % kWarp), g = lane / 4, t = lane % 4;
  if (g >= group) return make_uint4(0, 0, 0, 0);
  const auto* const from = reinterpret_cast<const float4*>(shared.heads + g * kDim + u * 32 + t * 8);
  const float4 a = from[0], b = from[1];
  return make_uint4(Pack(a.x, a.y), Pack(a.z, a.w), Pack(b.x, b.y), Pack(b.z, b.w));
}

// What a lane needs of 16 rows of the cache: units of eight columns that lie together. Places says of which rows, and
// where the token's own row is in ChainShared::token.
template <class Places>
struct ChainRows {
  uint4 own[Places::kRows][Places::kUnits];

  // Rows `first` to `last` of a head of the cache, which begins at `rows`; zeros beyond.
  __device__ void Load(const __half* rows, std::size_t stride, int first, int last) {
#pragma unroll
    for (int i = 0; i < Places::kRows; ++i) {
      const int row = first + Places::RowOf(i);
#pragma unroll
      for (int u = 0; u < Places::kUnits; ++u) {
        own[i][u] = LoadOr0(rows + static_cast<std::size_t>(row) * stride + Places::ColOf(u), row <= last);
      }
    }
  }
  // The token's own, which is number `at` of the 16.
  __device__ void LoadToken(const ChainShared& shared, int at) {
#pragma unroll
    for (int i = 0; i < Places::kRows; ++i) {
#pragma unroll
      for (int u = 0; u < Places::kUnits; ++u) {
        const __half* const from = shared.token + Places::kToken + Places::ColOf(u);
        if (Places::RowOf(i) == at) own[i][u] = *reinterpret_cast<const uint4*>(from);
      }
    }
  }
};

// Columns 32 u + 8 t to 32 u + 8 t + 7 of keys g and 8 + g. g = lane / 4, t = lane % 4.
template <int kDim>
struct KeyPlaces {
  static constexpr int kRows = 2, kUnits = kDim / 32, kToken = 0;
  static __device__ int RowOf(int i) { return 8 * i + static_cast<int>(ChainThread() % kWarp) / 4; }
  static __device__ int ColOf(int u) { return u * 32 + static_cast<int>(ChainThread() % 4) * 8; }
};
template <int kDim>
using ChainKeys = ChainRows<KeyPlaces<kDim>>;

// Columns g * kDim / 8 + 8 u to g * kDim / 8 + 8 u + 7 of values 2 t, 2 t + 1, 8 + 2 t and 8 + 2 t + 1.
template <int kDim>
struct ValuePlaces {
  static constexpr int kRows = 4, kUnits = kDim / 64, kToken = kDim;
  static __device__ int RowOf(int i) { return i / 2 * 8 + static_cast<int>(ChainThread() % 4) * 2 + i % 2; }
  static __device__ int ColOf(int u) { return static_cast<int>(ChainThread() % kWarp) / 4 * (kDim / 8) + u * 8; }
};
template <int kDim>
using ChainValues = ChainRows<ValuePlaces<kDim>>;

// Scores of keys first + g and first + 8 + g (number 2 r + h: key 8 r, head 2 t + h); -inf of keys that are not seen.
template <int kDim>
__device__ void ScoresOf(const ChainShared& shared, const ChainAttention& args, const ChainKeys<kDim>& keys, int first,
                         int last, float (&scores)[4]) {
  const int g = static_cast<int>(ChainThread() % kWarp) / 4;
  const int group = static_cast<int>(args.shape.heads / args.cache.kv_heads);
#pragma unroll
  for (int u = 0; u < kDim / 32; ++u) {
    const uint4 &lower = keys.own[0][u], &upper = keys.own[1][u];
    const std::uint32_t even[4] = {lower.x, upper.x, lower.y, upper.y};
    const std::uint32_t odd[4] = {lower.z, upper.z, lower.w, upper.w};
    const uint4 query = ChainQuery<kDim>(shared, group, u);
    MultiplyAdd(scores, even, query.x, query.y);
    MultiplyAdd(scores, odd, query.z, query.w);
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    scores[i] *= args.shape.scale;
    if (args.shape.softcap != 0) scores[i] = args.shape.softcap * tanhf(scores[i] / args.shape.softcap);
    if (first + i / 2 * 8 + g > last) scores[i] = -INFINITY;
  }
}

// The largest, and the sum, of the lanes with the same lane % 4.
__device__ inline float PeakOfKeys(float value) {
#pragma unroll
  for (int step = 4; step < kWarp; step *= 2) value = Peak(value, __shfl_xor_sync(0xffffffffu, value, step));
  return value;
}
__device__ inline float SumOfKeys(float value) {
#pragma unroll
  for (int step = 4; step < kWarp; step *= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
  return value;
}

// output += weights x values of 16 keys. weights: as scores.
template <int kDim>
__device__ void AddValues(const ChainValues<kDim>& values, const float (&weights)[4], ChainState<kDim>& state) {
  const std::uint32_t b0 = Transposed(Pack(weights[0], weights[1])), b1 = Transposed(Pack(weights[2], weights[3]));
#pragma unroll
  for (int u = 0; u < ValuePlaces<kDim>::kUnits; ++u) {
    std::uint32_t own[4][4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint4& v = values.own[i][u];
      own[i][0] = v.x, own[i][1] = v.y, own[i][2] = v.z, own[i][3] = v.w;
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const std::uint32_t a[4] = {SideBySide(own[0][j], own[1][j], false), SideBySide(own[0][j], own[1][j], true),
                                  SideBySide(own[2][j], own[3][j], false), SideBySide(own[2][j], own[3][j], true)};
      MultiplyAdd(state.output[u * 4 + j], a, b0, b1);
    }
  }
}

// Weights of keys from their scores; what `state` has is divided by a higher peak.
template <int kDim>
__device__ void WeighKeys(float (&scores)[4], ChainState<kDim>& state) {
  float keep[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const float peak = PeakOfKeys(Peak(Peak(state.peak[h], scores[h]), scores[h + 2]));
    keep[h] = Keep(state.peak[h], peak);
    state.peak[h] = peak;
    scores[h] = Keep(scores[h], peak);
    scores[h + 2] = Keep(scores[h + 2], peak);
  }
  state.Scale(keep);
#pragma unroll
  for (int h = 0; h < 2; ++h) state.sum[h] += SumOfKeys(scores[h] + scores[h + 2]);
}

// state: together with the one that warp `from` put into shared memory.
template <int kDim>
__device__ void MergeState(const ChainShared& shared, int from, ChainState<kDim>& state) {
  constexpr int kTiles = ChainState<kDim>::kTiles;
  const int lane = static_cast<int>(ChainThread() % kWarp), t = lane % 4;
  float keep[2], keep_other[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const float other = shared.peaks[from][2 * t + h], peak = Peak(state.peak[h], other);
    keep[h] = Keep(state.peak[h], peak);
    keep_other[h] = Keep(other, peak);
    state.peak[h] = peak;
  }
  state.Scale(keep);
#pragma unroll
  for (int h = 0; h < 2; ++h) state.sum[h] += shared.part_sums[from][2 * t + h] * keep_other[h];
  const auto* const quads = reinterpret_cast<const float4*>(shared.columns) + from * kTiles * kWarp + lane;
#pragma unroll
  for (int j = 0; j < kTiles; ++j) {
    if (j % 4 == 0) asm volatile("" ::: "memory");  // registers are few: no loads ahead
    const float4 v = quads[j * kWarp];
    state.output[j][0] += v.x * keep_other[0], state.output[j][1] += v.y * keep_other[1];
    state.output[j][2] += v.z * keep_other[0], state.output[j][3] += v.w * keep_other[1];
  }
}

template <int kDim>
__device__ void PutState(ChainShared& shared, int to, const ChainState<kDim>& state) {
  constexpr int kTiles = ChainState<kDim>::kTiles;
  const int lane = static_cast<int>(ChainThread() % kWarp);
  auto* const quads = reinterpret_cast<float4*>(shared.columns) + to * kTiles * kWarp + lane;
#pragma unroll
  for (int j = 0; j < kTiles; ++j) {
    quads[j * kWarp] = make_float4(state.output[j][0], state.output[j][1], state.output[j][2], state.output[j][3]);
  }
  for (int h = 0; h < 2 && lane < 4; ++h) {
    shared.peaks[to][2 * lane + h] = state.peak[h];
    shared.part_sums[to][2 * lane + h] = state.sum[h];
  }
}

// Warp 0 gets what the first `warps` have: those that are far apart first, neighbours last.
template <int kDim>
__device__ void MergeWarps(ChainShared& shared, int warps, ChainState<kDim>& state) {
  const int warp = static_cast<int>(ChainThread() / kWarp);
#pragma unroll 1
  for (int half = kMergedWarps; half > 0; half /= 2) {
    if (half >= warps) continue;
    if (warp >= half && warp < 2 * half) PutState<kDim>(shared, warp - half, state);
    WaitForWorkers();
    if (warp < half) MergeState<kDim>(shared, warp, state);
    WaitForWorkers();
  }
}

// By warp 0. One split: the attention's output. More: the parts that CombineSplits reads.
template <int kDim>
__device__ void PutOutput(const ChainAttention& args, const ChainPart& part, int splits, int group,
                          const ChainState<kDim>& state) {
  const int lane = static_cast<int>(ChainThread() % kWarp), g = lane / 4, t = lane % 4;
  const int heads = static_cast<int>(args.shape.heads);
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (2 * t + h >= group) continue;
    const int head = part.kv * group + 2 * t + h, row = splits == 1 ? head : part.split * heads + head;
    float* const to = (splits == 1 ? args.out : args.parts) + row * kDim + g * (kDim / 8);
    const float factor = splits == 1 ? 1 / state.sum[h] : 1;
#pragma unroll
    for (int j = 0; j < ChainState<kDim>::kTiles; ++j) {
      to[2 * j] = state.output[j][h] * factor;
      to[2 * j + 1] = state.output[j][2 + h] * factor;
    }
    if (splits > 1 && g == 0) {
      args.peaks[row] = state.peak[h];
      args.part_sums[row] = state.sum[h];
    }
  }
}

template <int kDim>
__device__ void AttendPart(ChainShared& shared, const ChainAttention& args, const ChainPart& part, int position,
                           int splits) {
  constexpr int kKeys = 16;  // of a warp, at once
  const int group = static_cast<int>(args.shape.heads / args.cache.kv_heads);
  const std::size_t stride = args.cache.kv_heads * kDim;
  const auto* const all_keys = static_cast<const __half*>(args.cache.keys) + part.kv * kDim;
  const auto* const all_values = static_cast<const __half*>(args.cache.values) + part.kv * kDim;
  const int last = part.last, before = part.is_last ? last - 1 : last;
  int first = part.first + static_cast<int>(ChainThread() / kWarp) * kKeys;
  // The first keys and values are on their way while the token's own are made.
  ChainKeys<kDim> keys;
  ChainValues<kDim> values;
  keys.Load(all_keys, stride, first, before);
  ReadHeads<kDim>(shared, args, part.kv, group);
  WaitForWorkers();
  RotateHeads<kDim>(shared, args, position, group);
  WaitForWorkers();
  if (part.is_last) AppendToCache<kDim>(shared, args, position, part.kv, group);
  WaitForWorkers();
  ChainState<kDim> state;
#pragma unroll 1
  while (first <= last) {
    float scores[4] = {};
    if (part.is_last) keys.LoadToken(shared, position - first);
    ScoresOf<kDim>(shared, args, keys, first, last, scores);
    values.Load(all_values, stride, first, last);
    WeighKeys(scores, state);
    AddValues<kDim>(values, scores, state);
    first += kChainWarps * kKeys;
    keys.Load(all_keys, stride, first, last);
  }
  MergeWarps<kDim>(shared, (last - part.first) / kKeys + 1, state);
  if (ChainThread() < kWarp) PutOutput<kDim>(args, part, splits, group, state);
}

// Returns the number of splits.
template <int kDim>
__device__ int AttendHeads(ChainShared& shared, const ChainAttention& args) {
  const int position = shared.position, heads = static_cast<int>(args.cache.kv_heads);
  const ChainSplits splits(position, args.shape.window, heads, static_cast<int>(gridDim.x));
  const int i = BlockOfChain();
  if (i < heads * splits.count) {
    ChainPart part;
    part.kv = i % heads;
    part.split = i / heads;
    part.first = splits.start + part.split * splits.keys;
    part.is_last = part.first <= position && position < part.first + splits.keys;
    part.last = part.is_last ? position : part.first + splits.keys - 1;
    if (part.first > position) part.last = part.first - 1;
    AttendPart<kDim>(shared, args, part, position, splits.count);
  }
  return splits.count;
}

// The splits of each head become its output, in order. A block of the kernel serves a head.
__device__ inline void CombineSplits(const ChainAttention& args, int position) {
  const int splits =
      ChainSplits(position, args.shape.window, static_cast<int>(args.cache.kv_heads), static_cast<int>(gridDim.x))
          .count;
  const int heads = static_cast<int>(args.shape.heads), dim = static_cast<int>(args.cache.head_dim);
  const int col = static_cast<int>(ChainThread());
  if (col >= dim) return;
#pragma unroll 1
  for (int head = BlockOfChain(); head < heads; head += static_cast<int>(gridDim.x)) {
    float peak = -INFINITY, sum = 0, out = 0;
#pragma unroll 1
    for (int s = 0; s < splits; ++s) peak = Peak(peak, __ldcg(args.peaks + s * heads + head));
#pragma unroll 1
    for (int s = 0; s < splits; ++s) {
      const float keep = Keep(__ldcg(args.peaks + s * heads + head), peak);
      sum += __ldcg(args.part_sums + s * heads + head) * keep;
      out += __ldcg(args.parts + (s * heads + head) * dim + col) * keep;
    }
    args.out[head * dim + col] = out / sum;
  }
}

}  // namespace marlin::cuda
