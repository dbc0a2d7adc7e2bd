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

// What is rounded. Read: what four numbers are made of. Make: the numbers, which Again gives to the same thread later.
struct PlainTokens {
  View<const float> x;
  bool whole;
  __device__ Quad Read(std::size_t token, std::size_t i) const {
    return LoadQuad(x.data + token * x.stride, i, x.cols, whole);
  }
  __device__ void Make(std::size_t, std::size_t, Quad&) const {}
  __device__ Quad Again(std::size_t token, std::size_t i) const { return Read(token, i); }
  __device__ void Begin(std::size_t, double*) {}
};

struct NormedTokens {
  PlainTokens from;
  View<float> y;
  bool whole;
  NormKind kind;
  float eps;
  const float* weight;
  const float* bias;
  RowNorm norm = {};
  __device__ Quad Read(std::size_t token, std::size_t i) const { return from.Read(token, i); }
  __device__ void Make(std::size_t token, std::size_t i, Quad& quad) const {
    EachOf(quad.count, [&](int c) { quad.v[c] = norm.Of(quad.v[c], i + c); });
    StoreQuad(y.data + token * y.stride, i, whole, quad);
  }
  __device__ Quad Again(std::size_t token, std::size_t i) const {
    return LoadQuad(y.data + token * y.stride, i, y.cols, whole);
  }
  __device__ void Begin(std::size_t token, double* sums) {
    const auto row = [&](std::size_t i) { return Read(token, i); };
    norm = NormOfRow(kind, row, y.cols, eps, weight, bias, sums);
  }
};

template <class Function>
struct ActivatedTokens {
  View<float> x;
  View<const float> factor;
  bool whole, whole_factor;
  PendingScale pending;
  Function function;
  __device__ Quad Read(std::size_t token, std::size_t i) const {
    return LoadQuad(x.data + token * x.stride, i, x.cols, whole);
  }
  __device__ void Make(std::size_t token, std::size_t i, Quad& quad) const {
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
    StoreQuad(x.data + token * x.stride, i, whole, quad);
  }
  __device__ Quad Again(std::size_t token, std::size_t i) const { return Read(token, i); }
  __device__ void Begin(std::size_t, double*) {}
};

// Where four numbers of a token go. kUnit: columns that belong together; a block serves whole ones.
struct FewLayout {
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
  static constexpr std::size_t kUnit = 4;
  __half* halves;
  std::size_t padded_cols;
  __device__ void* Place(std::size_t token, std::size_t col) const { return halves + token * padded_cols + col; }
  __device__ void PutSum(std::size_t, std::size_t, const float2&, const float2&) const {}
};

struct Sizes {
  std::size_t tokens, cols, padded_cols;
  int cluster;  // blocks that divide the columns of a token
  bool keep;    // the numbers stay in shared memory
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

template <class Tokens, class Layout>
__global__ void __launch_bounds__(kMostWarps* kWarp)
    ToHalvesKernel(Tokens tokens, Sizes sizes, Layout layout, float* powers) {
  extern __shared__ float4 kept[];
  __shared__ double sums[kMostWarps];
  __shared__ float largest;
  const std::size_t token = blockIdx.x / sizes.cluster, rank = blockIdx.x % sizes.cluster;
  const std::size_t share = ShareOf<Layout>(sizes.padded_cols, sizes.cluster);
  const std::size_t begin = rank * share, end = Less(begin + share, sizes.padded_cols);
  AfterPrevious();
  const bool real = token < sizes.tokens;
  float power = 1;
  if (real) {
    tokens.Begin(token, sums);
    float most = 0;
    EachQuad(begin, Less(end, sizes.cols), [&](std::size_t i) {
      Quad quad = tokens.Read(token, i);
      tokens.Make(token, i, quad);
      if (sizes.keep) kept[(i - begin) / 4] = quad.Get();
      EachOf(quad.count, [&](int c) { most = fmaxf(most, fabsf(quad.v[c])); });
    });
    most = OverBlockOf(most, reinterpret_cast<float*>(sums), [](float a, float b) { return fmaxf(a, b); });
    power = PowerFor(LargestOfCluster(most, sizes.cluster, &largest));
    if (threadIdx.x == 0 && rank == 0) powers[token] = power;
  }
  const float factor = 1 / power;
  EachQuad(begin, end, [&](std::size_t i) {
    Quad quad;
    if (real && i < sizes.cols) {
      if (sizes.keep) {
        quad.Set(kept[(i - begin) / 4]);
      } else {
        quad = tokens.Again(token, i);
      }
    }
    __half2 halves[2];
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      const bool first = i + 2 * c < sizes.cols, second = i + 2 * c + 1 < sizes.cols;
      halves[c] = __floats2half2_rn(first ? quad.v[2 * c] * factor : 0.0f, second ? quad.v[2 * c + 1] * factor : 0.0f);
    }
    *static_cast<uint2*>(layout.Place(token, i)) = *reinterpret_cast<const uint2*>(halves);
    layout.PutSum(token, i, __half22float2(halves[0]), __half22float2(halves[1]));
  });
}

constexpr std::size_t kMostKept = 200 << 10;  // bytes of shared memory
constexpr int kWideCluster = 8;
constexpr std::size_t kWideCols = 8192;  // few tokens with so many columns are served by clusters

template <class Tokens, class Layout>
void Launch(const Tokens& tokens, std::size_t rows, std::size_t blocks, std::size_t cols, std::size_t padded_cols,
            bool may_divide, const Layout& layout, float* powers, cudaStream_t stream) {
  const int cluster = may_divide && cols >= kWideCols ? kWideCluster : 1;
  const std::size_t share = ShareOf<Layout>(padded_cols, cluster), bytes = share * sizeof(float);
  const Sizes sizes = {rows, cols, padded_cols, cluster, bytes <= kMostKept};
  const auto kernel = ToHalvesKernel<Tokens, Layout>;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(kMostKept));
  LaunchClusters(kernel, Blocks(blocks * cluster, 1), cluster, ThreadsOfRow(share), sizes.keep ? bytes : 0, stream,
                 tokens, sizes, layout, powers);
}

// divide: the columns of a token may be divided among blocks.
template <class Tokens>
void ToHalves(const Tokens& tokens, std::size_t rows, std::size_t cols, bool divide, const Rounded& to,
              cudaStream_t stream) {
  if (rows * cols == 0) return;
  if (!to.few) {
    const RowLayout layout = {static_cast<__half*>(to.halves), PaddedCols(cols)};
    return Launch(tokens, rows, rows, cols, layout.padded_cols, false, layout, to.powers, stream);
  }
  auto* const halves = static_cast<std::uint8_t*>(to.halves);
  const FewLayout layout = {halves, halves + PlaceOfTokenSums(rows, cols), HalfTokens(rows)};
  Launch(tokens, rows, layout.padded_tokens, cols, PaddedToRecords(cols), divide, layout, to.powers, stream);
}

template <class T>
bool Whole(const View<T>& x) {
  return HasWholeQuads(x.data, x.stride);
}

}  // namespace

void RoundTokens(View<const float> x, const Rounded& to, cudaStream_t stream) {
  ToHalves(PlainTokens{x, Whole(x)}, x.rows, x.cols, true, to, stream);
}

void NormalizeTokens(NormKind kind, View<const float> x, View<const float> weight, View<const float> bias, float eps,
                     View<float> y, const Rounded& to, cudaStream_t stream) {
  ToHalves(NormedTokens{{x, Whole(x)}, y, Whole(y), kind, eps, weight.data, bias.data}, x.rows, x.cols, false, to,
           stream);
}

void ActivateTokens(Activation activation, View<float> gate, View<const float> factor, const PendingScale& pending,
                    const Rounded& to, cudaStream_t stream) {
  WithActivation(activation, [&](auto function) {
    const ActivatedTokens<decltype(function)> tokens = {gate, factor, Whole(gate), Whole(factor), pending, function};
    ToHalves(tokens, gate.rows, gate.cols, true, to, stream);
  });
}

}  // namespace marlin::cuda
