#include <cuda_fp16.h>

#include <algorithm>

#include "kernels/cuda/activation.cuh"
#include "kernels/cuda/few.h"
#include "kernels/cuda/few_decode.h"
#include "kernels/cuda/halves.h"
#include "kernels/cuda/norm.cuh"
#include "kernels/cuda/power.cuh"
#include "kernels/cuda/round.h"

namespace marlin::cuda {
namespace {

// What is rounded. ReadAhead: what does not depend on other kernels. Read: four numbers. Begin: what needs all numbers
// of a token; one block serves them then. Make: what the numbers become, which Again reads later. kQuads: of a thread,
// for few tokens; few where much is computed. kWideCols: so many columns of few tokens are divided among the blocks of
// a cluster; 0: columns are never divided.
struct PlainTokens {
  static constexpr int kQuads = kQuadsOfThread;
  static constexpr std::size_t kWideCols = 8192;
  View<const float> x;
  bool whole;
  struct Ahead {};
  __device__ Ahead ReadAhead(std::size_t) const { return {}; }
  __device__ Quad Read(std::size_t token, std::size_t i) const {
    return LoadQuad(x.data + token * x.stride, i, x.cols, whole);
  }
  template <class Each>
  __device__ void Begin(Each, double*) {}
  __device__ void Make(std::size_t, std::size_t, const Ahead&, Quad&) const {}
  __device__ Quad Again(std::size_t token, std::size_t i) const { return Read(token, i); }
};

struct NormedTokens {
  static constexpr int kQuads = kQuadsOfThread;  // as many as NormalizeKernel: sums have one order
  static constexpr std::size_t kWideCols = 0;
  PlainTokens from;
  View<float> y;
  bool whole;
  NormKind kind;
  float eps;
  NormWeights weights;
  RowNorm norm = {};
  using Ahead = Quad;
  __device__ Ahead ReadAhead(std::size_t i) const { return weights.Load(i, y.cols); }
  __device__ Quad Read(std::size_t token, std::size_t i) const { return from.Read(token, i); }
  template <class Each>
  __device__ void Begin(Each each, double* sums) {
    norm = NormOfRow(kind, each, y.cols, eps, sums);
  }
  __device__ void Make(std::size_t token, std::size_t i, const Ahead& ahead, Quad& quad) const {
    norm.Apply(ahead, weights.bias, i, quad);
    StoreQuad(y.data + token * y.stride, i, whole, quad);
  }
  __device__ Quad Again(std::size_t token, std::size_t i) const {
    return LoadQuad(y.data + token * y.stride, i, y.cols, whole);
  }
};

template <class Function>
struct ActivatedTokens {
  static constexpr int kQuads = 1;
  static constexpr std::size_t kWideCols = 2048;
  View<float> x;
  View<const float> factor;
  bool whole, whole_factor;
  PendingScale pending;
  Function function;
  struct Ahead {};
  __device__ Ahead ReadAhead(std::size_t) const { return {}; }
  __device__ Quad Read(std::size_t token, std::size_t i) const {
    Quad quad = LoadQuad(x.data + token * x.stride, i, x.cols, whole);
    Quad other = LoadQuad(factor.data + token * factor.stride, i, x.cols, whole_factor);
    if (pending.powers != nullptr) {
      const float power = pending.powers[token];
      EachOf(quad.count, [&](int c) {
        quad.v[c] = Scaled(quad.v[c], power * pending.gate_power, pending.gate_bias, i + c);
        other.v[c] = Scaled(other.v[c], power * pending.factor_power, pending.factor_bias, i + c);
      });
    }
#pragma unroll
    for (int c = 0; c < 4; ++c) quad.v[c] = function(quad.v[c]) * other.v[c];
    return quad;
  }
  template <class Each>
  __device__ void Begin(Each, double*) {}
  __device__ void Make(std::size_t token, std::size_t i, const Ahead&, Quad& quad) const {
    StoreQuad(x.data + token * x.stride, i, whole, quad);
  }
  __device__ Quad Again(std::size_t token, std::size_t i) const {
    return LoadQuad(x.data + token * x.stride, i, x.cols, whole);
  }
};

// Where four numbers of a token go. kUnit: columns that belong together; a block serves whole ones.
struct FewLayout {
  static constexpr bool kFewTokens = true;
  static constexpr std::size_t kUnit = 32;
  std::uint8_t* halves;
  std::uint8_t* sums;
  std::size_t padded_tokens;
  __device__ void* Place(std::size_t token, std::size_t col) const {
    const std::size_t unit = col % 64 / 8 ^ token % 8;
    return halves + (col / 64 * padded_tokens + token) * 128 + unit * 16 + col % 8 * 2;
  }
  // Eight neighbouring lanes have the numbers of 32 columns: their sum, in two halves, as few.h stores it.
  __device__ void PutSum(std::size_t token, std::size_t col, const float2& first, const float2& second) const {
    float sum = (first.x + first.y) + (second.x + second.y);
    const unsigned lanes = 0xffu << (threadIdx.x % kWarp / 8 * 8);
#pragma unroll
    for (int step = 1; step < 8; step *= 2) sum += __shfl_xor_sync(lanes, sum, step);
    if (col % 32 != 0) return;
    sum *= 1 / kPowerOfBiased;
    auto* const to =
        reinterpret_cast<__half*>(sums + (col / kRecordCols * padded_tokens + token) * 32 + col % kRecordCols / 32 * 2);
    const __half rounded = __float2half_rn(sum);
    to[0] = rounded;
    to[8] = __float2half_rn(sum - __half2float(rounded));
  }
};
struct RowLayout {
  static constexpr bool kFewTokens = false;
  static constexpr std::size_t kUnit = 4;
  __half* halves;
  std::size_t padded_cols;
  __device__ void* Place(std::size_t token, std::size_t col) const { return halves + token * padded_cols + col; }
  __device__ void PutSum(std::size_t, std::size_t, const float2&, const float2&) const {}
};

struct Sizes {
  std::size_t cols, padded_cols;
  int cluster;  // blocks that divide the columns of a token
};

__device__ inline std::size_t Less(std::size_t a, std::size_t b) { return a < b ? a : b; }

// Columns of a block.
template <class Layout>
__host__ __device__ std::size_t ShareOf(std::size_t padded_cols, int cluster) {
  const std::size_t units = (padded_cols + Layout::kUnit - 1) / Layout::kUnit;
  return (units + cluster - 1) / cluster * Layout::kUnit;
}

// The largest of all blocks of the cluster.
__device__ float LargestOfCluster(float most, int cluster, float* slot) {
#if MARLIN_HAS_BULK_COPIES
  if (cluster > 1) {
    if (threadIdx.x == 0) *slot = most;
    ClusterSync();
    for (int block = 0; block < cluster; ++block) {
      most = fmaxf(most, LoadInCluster(AddressInCluster(SharedAddress(slot), block)));
    }
    ClusterSync();  // the slot lives until all have read it
  }
#endif
  return most;
}

constexpr int kKeptThreads = 512;

// kQuads: of a thread, which keeps their numbers in registers; 0: any number, which are read again.
template <class Tokens, class Layout, int kQuads>
__global__ void __launch_bounds__(kQuads > 0 ? kKeptThreads : kMostWarps * kWarp)
    ToHalvesKernel(Tokens tokens, Sizes sizes, Layout layout, float* powers) {
  __shared__ double sums[kMostWarps];
  __shared__ float largest;
  const std::size_t token = blockIdx.x / sizes.cluster, rank = blockIdx.x % sizes.cluster;
  const std::size_t share = ShareOf<Layout>(sizes.padded_cols, sizes.cluster);
  const std::size_t begin = rank * share, end = Less(begin + share, sizes.padded_cols);
  const std::size_t first = begin + threadIdx.x * 4;
  const auto each = [&](auto function) {
    if constexpr (kQuads > 0) {
#pragma unroll
      for (int q = 0; q < kQuads; ++q) {
        const std::size_t i = first + q * blockDim.x * 4;
        if (i < end) function(q, i);
      }
    } else {
      EachQuad(begin, end, [&](std::size_t i) { function(0, i); });
    }
  };
  constexpr int kKept = kQuads > 0 ? kQuads : 1;
  Quad kept[kKept];
  typename Tokens::Ahead ahead[kKept];
  if (kQuads > 0) each([&](int q, std::size_t i) { ahead[q] = tokens.ReadAhead(i); });
  AfterPrevious();
  if (kQuads > 0) each([&](int q, std::size_t i) { kept[q] = tokens.Read(token, i); });
  const auto read = [&](int q, std::size_t i) { return kQuads > 0 ? kept[q] : tokens.Read(token, i); };
  tokens.Begin([&](auto function) { each([&](int q, std::size_t i) { function(read(q, i)); }); }, sums);
  float most = 0;
  each([&](int q, std::size_t i) {
    Quad quad = read(q, i);
    if (quad.count == 0) return;
    tokens.Make(token, i, kQuads > 0 ? ahead[q] : tokens.ReadAhead(i), quad);
    kept[q] = quad;
    EachOf(quad.count, [&](int c) { most = fmaxf(most, fabsf(quad.v[c])); });
  });
  most = OverBlockOf(most, reinterpret_cast<float*>(sums), [](float a, float b) { return fmaxf(a, b); });
  const float power = PowerFor(LargestOfCluster(most, sizes.cluster, &largest));
  if (threadIdx.x == 0 && rank == 0) powers[token] = power;
  const float factor = 1 / power;
  each([&](int q, std::size_t i) {
    const Quad quad = kQuads > 0 ? kept[q] : tokens.Again(token, i);
    __half2 halves[2];
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      const bool lower = 2 * c < quad.count, upper = 2 * c + 1 < quad.count;
      halves[c] = __floats2half2_rn(lower ? quad.v[2 * c] * factor : 0.0f, upper ? quad.v[2 * c + 1] * factor : 0.0f);
    }
    *static_cast<uint2*>(layout.Place(token, i)) = *reinterpret_cast<const uint2*>(halves);
    layout.PutSum(token, i, __half22float2(halves[0]), __half22float2(halves[1]));
  });
}

// Blocks that divide the columns of a token: as many as there can be for few tokens, else as few as keep the numbers.
template <class Tokens>
int ClusterFor(std::size_t cols, bool few, std::size_t quads) {
  constexpr int kMost = 8;
  int cluster = 1;
  if constexpr (Tokens::kWideCols > 0) {
    if (!FactsOfDevice().launches_early) return 1;
    if (few) return cols >= Tokens::kWideCols ? kMost : 1;
    while (cluster < kMost && ThreadsOfRow(cols / cluster, quads) > kKeptThreads) cluster *= 2;
  }
  return cluster;
}

template <class Tokens, class Layout>
void Launch(const Tokens& tokens, std::size_t rows, std::size_t cols, std::size_t padded_cols, const Layout& layout,
            float* powers, cudaStream_t stream) {
  constexpr int kQuads = Layout::kFewTokens ? Tokens::kQuads : static_cast<int>(kQuadsOfThread);
  const int cluster = ClusterFor<Tokens>(cols, Layout::kFewTokens, kQuads);
  const int threads = ThreadsOfRow(ShareOf<Layout>(padded_cols, cluster), kQuads);
  const bool keep = threads <= kKeptThreads;
  const auto kernel = keep ? ToHalvesKernel<Tokens, Layout, kQuads> : ToHalvesKernel<Tokens, Layout, 0>;
  const Sizes sizes = {cols, padded_cols, cluster};
  LaunchClusters(kernel, Blocks(rows * cluster, 1), cluster, threads, 0, stream, tokens, sizes, layout, powers);
}

template <class Tokens>
void ToHalves(const Tokens& tokens, std::size_t rows, std::size_t cols, const Rounded& to, cudaStream_t stream) {
  if (rows * cols == 0) return;
  if (!to.few) {
    const RowLayout layout = {static_cast<__half*>(to.halves), PaddedCols(cols)};
    return Launch(tokens, rows, cols, layout.padded_cols, layout, to.powers, stream);
  }
  auto* const halves = static_cast<std::uint8_t*>(to.halves);
  const FewLayout layout = {halves, halves + PlaceOfTokenSums(rows, cols), HalfTokens(rows)};
  Launch(tokens, rows, cols, PaddedToRecords(cols), layout, to.powers, stream);
}

template <class T>
bool Whole(const View<T>& x) {
  return HasWholeQuads(x.data, x.stride);
}

}  // namespace

void RoundTokens(View<const float> x, const Rounded& to, cudaStream_t stream) {
  ToHalves(PlainTokens{x, Whole(x)}, x.rows, x.cols, to, stream);
}

void NormalizeTokens(NormKind kind, View<const float> x, View<const float> weight, View<const float> bias, float eps,
                     View<float> y, const Rounded& to, cudaStream_t stream) {
  ToHalves(NormedTokens{{x, Whole(x)}, y, Whole(y), kind, eps, {weight.data, bias.data}}, x.rows, x.cols, to, stream);
}

void ActivateTokens(Activation activation, View<float> gate, View<const float> factor, const PendingScale& pending,
                    const Rounded& to, cudaStream_t stream) {
  WithActivation(activation, [&](auto function) {
    const ActivatedTokens<decltype(function)> tokens = {gate, factor, Whole(gate), Whole(factor), pending, function};
    ToHalves(tokens, gate.rows, gate.cols, to, stream);
  });
}

}  // namespace marlin::cuda
