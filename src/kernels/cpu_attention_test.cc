// The CPU backend's attention and its caches. Compares every instruction set, and the reference backend, with the
// textbook.
#include "kernels/cpu_attention.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "base/half.h"
#include "kernels/guard_memory.h"
#include "kernels/test_cpu.h"

namespace marlin {
namespace {

struct AttentionShape {
  std::size_t m, position, heads, kv_heads, dim;
  std::size_t window = 0;
  float softcap = 0;

  std::size_t tokens() const { return position + m; }
  // The first key that the row at a position sees.
  std::size_t First(std::size_t at) const { return window == 0 || at + 1 < window ? 0 : at + 1 - window; }
};

std::ostream& operator<<(std::ostream& out, const AttentionShape& s) {
  return out << s.m << " at " << s.position << ", heads " << s.heads << "/" << s.kv_heads << " of " << s.dim
             << ", window " << s.window << ", cap " << s.softcap;
}

// Queries, keys and values; those that no row sees are not numbers.
struct Inputs {
  Inputs(const AttentionShape& s, Rng& rng)
      : q(RandomValues(s.m, s.heads * s.dim, rng)),
        keys(RandomValues(s.tokens(), s.kv_heads * s.dim, rng)),
        values(RandomValues(s.tokens(), s.kv_heads * s.dim, rng)) {
    for (std::size_t t = 0; t < s.First(s.position); ++t) {
      for (const Matrix* matrix : {&keys, &values}) std::ranges::fill(matrix->view.Row(t), kNan);
    }
  }
  // As a cache in fp16 holds them.
  void Round() const {
    for (const Matrix* matrix : {&keys, &values}) {
      for (std::size_t t = 0; t < matrix->view.rows; ++t) {
        for (float& value : matrix->view.Row(t)) value = HalfToFloat(FloatToHalf(value));
      }
    }
  }
  Matrix q, keys, values;
};

constexpr std::size_t kCachedLayer = 1;

// Keys and values in layer kCachedLayer of a cache; all its other positions and layers are not numbers.
std::unique_ptr<KvCache> CacheOf(HostOperations& backend, const Inputs& inputs, const AttentionShape& s) {
  const std::size_t context = s.tokens() + 70;
  const std::size_t layers = kCachedLayer + 2;
  auto cache = *backend.AllocateCache({context, std::vector<CacheLayer>(layers, {s.kv_heads, s.dim})});
  const Matrix poison(context, s.kv_heads * s.dim);
  for (std::size_t layer = 0; layer < layers; ++layer) backend.Append(*cache, layer, 0, poison.view, poison.view);
  // In runs that begin and end inside of blocks.
  const std::size_t cut = std::min<std::size_t>(s.tokens(), 37);
  const auto append = [&](std::size_t begin, std::size_t count) {
    backend.Append(*cache, kCachedLayer, begin, inputs.keys.view.Rows(begin, count),
                   inputs.values.view.Rows(begin, count));
  };
  append(0, cut);
  if (cut < s.tokens()) append(cut, s.tokens() - cut);
  return cache;
}

Matrix Attend(HostOperations& backend, const KvCache& cache, const Matrix& q, const AttentionShape& s, float scale) {
  Matrix out(s.m, s.heads * s.dim);
  backend.Attention({q.view, &cache, kCachedLayer, s.heads, s.position, scale, s.window, s.softcap}, out.view);
  return out;
}

// One query at a time.
Matrix AttendInTurn(HostOperations& backend, const KvCache& cache, const Matrix& q, const AttentionShape& s,
                    float scale) {
  Matrix out(s.m, s.heads * s.dim);
  for (std::size_t t = 0; t < s.m; ++t) {
    backend.Attention({q.view.Rows(t, 1), &cache, kCachedLayer, s.heads, s.position + t, scale, s.window, s.softcap},
                      out.view.Rows(t, 1));
  }
  return out;
}

// Softmax of a query's scores times the values, in double.
void TextbookHead(std::span<const float> q, const Inputs& inputs, const AttentionShape& s, std::size_t column,
                  std::size_t position, float scale, std::span<float> out) {
  const auto of_head = [&](const Matrix& matrix, std::size_t p) { return matrix.view.Row(p).subspan(column, s.dim); };
  std::vector<double> sums(s.dim, 0.0), scores;
  for (std::size_t p = s.First(position); p <= position; ++p) {
    double score = 0;
    for (std::size_t d = 0; d < s.dim; ++d) score += static_cast<double>(q[d]) * of_head(inputs.keys, p)[d];
    score *= scale;
    scores.push_back(s.softcap == 0 ? score : s.softcap * std::tanh(score / s.softcap));
  }
  const double peak = *std::ranges::max_element(scores);
  double total = 0;
  for (std::size_t j = 0; j < scores.size(); ++j) {
    const double weight = std::exp(scores[j] - peak);
    total += weight;
    const auto value = of_head(inputs.values, s.First(position) + j);
    for (std::size_t d = 0; d < s.dim; ++d) sums[d] += weight * value[d];
  }
  for (std::size_t d = 0; d < s.dim; ++d) out[d] = static_cast<float>(sums[d] / total);
}

Matrix TextbookAttention(const Inputs& inputs, const AttentionShape& s, float scale) {
  Matrix out(s.m, s.heads * s.dim);
  for (std::size_t t = 0; t < s.m; ++t) {
    for (std::size_t h = 0; h < s.heads; ++h) {
      const std::size_t kv_head = h / (s.heads / s.kv_heads);
      TextbookHead(inputs.q.view.Row(t).subspan(h * s.dim, s.dim), inputs, s, kv_head * s.dim, s.position + t, scale,
                   out.view.Row(t).subspan(h * s.dim, s.dim));
    }
  }
  return out;
}

// Head sizes, windows shorter than a block of 64 keys, of one and of several blocks, that begin and end anywhere; caps
// near the scores and far above them.
constexpr AttentionShape kShapes[] = {{1, 0, 9, 3, 64},
                                      {1, 63, 9, 3, 64},
                                      {1, 64, 9, 3, 64},
                                      {70, 0, 9, 3, 64},
                                      {33, 77, 9, 3, 64},
                                      {5, 3, 8, 4, 8},
                                      {130, 1, 2, 2, 100},
                                      {7, 200, 40, 1, 12},
                                      {3, 2, 1, 1, 1},
                                      {20, 50, 4, 2, 128},
                                      {3, 62, 2, 1, 512},
                                      {1, 200, 9, 3, 64, 1},
                                      {70, 0, 4, 2, 12, 1},
                                      {1, 70, 4, 2, 20, 8},
                                      {140, 3, 2, 1, 20, 8},
                                      {1, 127, 4, 4, 80, 64},
                                      {1, 128, 4, 4, 80, 64},
                                      {80, 100, 3, 1, 96, 64},
                                      {150, 90, 2, 2, 80, 65},
                                      {9, 290, 20, 1, 160, 130},
                                      {1, 300, 4, 1, 256, 200},
                                      {7, 0, 2, 2, 20, 500},
                                      {50, 0, 4, 2, 64, 0, 2.0f},
                                      {1, 130, 4, 2, 96, 0, 50.0f},
                                      {40, 60, 2, 1, 256, 0, 1.0f},
                                      {1, 200, 4, 2, 512, 60, 3.0f},
                                      {70, 130, 6, 2, 12, 3, 0.5f},
                                      {100, 5, 2, 1, 160, 70, 30.0f}};

void ExpectTextbook(HostOperations& backend, Rng& rng) {
  for (const AttentionShape& s : kShapes) {
    SCOPED_TRACE(testing::Message() << s);
    const Inputs inputs(s, rng);
    const auto cache = CacheOf(backend, inputs, s);
    for (const float scale : {0.125f, 20.0f}) {  // the second gives scores of hundreds
      // A score of 1000 has 6e-5 of rounding in fp32.
      ExpectNear(Attend(backend, *cache, inputs.q, s, scale), TextbookAttention(inputs, s, scale),
                 scale < 1 ? 1e-5 : 3e-3);
    }
  }
}

// Each layer of its own shape, filled in turn. A layer's results are those of the textbook, and have the bits of a
// cache of this layer alone.
void ExpectLayersApart(HostOperations& backend, double tolerance, Rng& rng) {
  const std::vector<CacheLayer> layers = {{2, 64}, {1, 12}, {4, 20}, {1, 256}, {1, 512}, {3, 80}, {2, 1}};
  constexpr std::size_t kTokens = 70, kStep = 35;
  const auto cache = *backend.AllocateCache({kTokens, layers});
  std::vector<AttentionShape> shapes;
  std::vector<Inputs> inputs;
  for (const CacheLayer& layer : layers) {
    shapes.push_back({kTokens, 0, 2 * layer.kv_heads, layer.kv_heads, layer.head_dim});
    inputs.emplace_back(shapes.back(), rng);
  }
  for (std::size_t begin = 0; begin < kTokens; begin += kStep) {
    for (std::size_t layer = layers.size(); layer-- > 0;) {
      backend.Append(*cache, layer, begin, inputs[layer].keys.view.Rows(begin, kStep),
                     inputs[layer].values.view.Rows(begin, kStep));
    }
  }
  for (std::size_t layer = 0; layer < layers.size(); ++layer) {
    const AttentionShape& s = shapes[layer];
    SCOPED_TRACE(testing::Message() << s);
    const auto scale = static_cast<float>(1 / std::sqrt(static_cast<double>(s.dim)));
    const auto own = CacheOf(backend, inputs[layer], s);
    Matrix got(kTokens, s.heads * s.dim);
    backend.Attention({inputs[layer].q.view, cache.get(), layer, s.heads, 0, scale}, got.view);
    EXPECT_TRUE(SameBits(got, Attend(backend, *own, inputs[layer].q, s, scale)));
    ExpectNear(got, TextbookAttention(inputs[layer], s, scale), tolerance);
  }
}

TEST(ReferenceAttention, IsThatOfTheTextbook) {
  HostOperations reference(MakeReferenceBackend());
  Rng rng(12);
  ExpectTextbook(reference, rng);
  ExpectLayersApart(reference, 1e-6, rng);
}

class CpuAttentionTest : public CpuTest {};

TEST_P(CpuAttentionTest, IsThatOfTheTextbook) { ExpectTextbook(*cpu_, rng_); }

TEST_P(CpuAttentionTest, LayersOfDifferentShapesShareACache) {
  if (GetParam().cuda) GTEST_SKIP() << "of CPUs alone";
  ExpectLayersApart(*cpu_, 1e-5, rng_);
  ExpectLayersApart(*Make(2, Activations::kInt8), 2e-2, rng_);
}

// CUDA rounds queries and softmax weights too where heads have some sizes.
TEST_P(CpuAttentionTest, CudaAttendsInHalves) {
  if (!GetParam().cuda) GTEST_SKIP() << "of CUDA alone";
  const auto rounding = Make(2, Activations::kBf16);
  for (const AttentionShape& s : {AttentionShape{1, 130, 9, 3, 64},
                                  {16, 3, 9, 3, 64},
                                  {1, 0, 9, 3, 64},
                                  {1, 600, 32, 8, 128},
                                  {1, 1300, 4, 4, 96, 0, 3.0f},
                                  {5, 300, 6, 1, 96, 100},
                                  {16, 200, 20, 1, 256},
                                  {23, 9, 8, 8, 128, 7},
                                  {24, 0, 9, 3, 64},
                                  {70, 3, 9, 3, 64},
                                  {130, 70, 4, 2, 64, 1},
                                  {130, 1, 4, 2, 128},
                                  {200, 200, 2, 1, 128, 65, 5.0f},
                                  {64, 64, 4, 4, 96, 63},
                                  {150, 0, 2, 1, 256},
                                  {257, 511, 2, 2, 256, 64},
                                  {70, 1, 16, 2, 20},
                                  {40, 5, 4, 1, 160, 9},
                                  {30, 2, 2, 1, 512}}) {
    SCOPED_TRACE(testing::Message() << s);
    const Inputs inputs(s, rng_);
    const auto cache = CacheOf(*rounding, inputs, s);
    EXPECT_LT(cache->resident_bytes(), CacheOf(*cpu_, inputs, s)->resident_bytes());
    inputs.Round();
    const Matrix got = Attend(*rounding, *cache, inputs.q, s, 0.125f);
    ExpectNear(got, TextbookAttention(inputs, s, 0.125f), 3e-3);
    EXPECT_TRUE(SameBits(got, Attend(*rounding, *cache, inputs.q, s, 0.125f))) << "from run to run";
    ExpectNear(AttendInTurn(*rounding, *cache, inputs.q, s, 0.125f), TextbookAttention(inputs, s, 0.125f), 3e-3);
  }
}

// As in fp32 with the keys and values that fp16 has.
TEST_P(CpuAttentionTest, CachesRoundWhereProductsDo) {
  if (GetParam().cuda) GTEST_SKIP() << "of CPUs alone";
  const auto rounding = Make(2, Activations::kInt8);
  const bool rounds = RoughestActivations({GetParam().bits, Activations::kInt8, ""}) != Activations::kFp32;
  for (const AttentionShape& s : {AttentionShape{1, 130, 9, 3, 64},
                                  {70, 3, 9, 3, 64},
                                  {1, 70, 16, 2, 20},
                                  {130, 1, 2, 2, 100},
                                  {3, 2, 1, 1, 1},
                                  {1, 200, 9, 3, 64, 70},
                                  {130, 1, 4, 2, 20, 9},
                                  {70, 130, 4, 1, 160, 64, 2.0f},
                                  {1, 90, 2, 1, 512, 0, 1.0f}}) {
    SCOPED_TRACE(testing::Message() << s);
    const Inputs inputs(s, rng_);
    const auto cache = CacheOf(*rounding, inputs, s);
    const auto exact = CacheOf(*cpu_, inputs, s);
    EXPECT_EQ(cache->resident_bytes() < exact->resident_bytes(), rounds);
    if (rounds) inputs.Round();
    const auto half = CacheOf(*cpu_, inputs, s);
    EXPECT_TRUE(SameBits(Attend(*rounding, *cache, inputs.q, s, 0.125f), Attend(*cpu_, *half, inputs.q, s, 0.125f)));
  }
}

// A window that is nowhere shorter than what lies before a row changes nothing.
TEST_P(CpuAttentionTest, ALongWindowHasTheBitsOfNone) {
  AttentionShape s{70, 30, 6, 2, 20};
  const Inputs inputs(s, rng_);
  const auto cache = CacheOf(*cpu_, inputs, s);
  const Matrix want = Attend(*cpu_, *cache, inputs.q, s, 0.3f);
  for (const std::size_t window : {std::size_t{100}, std::size_t{101}, SIZE_MAX}) {
    s.window = window;
    EXPECT_TRUE(SameBits(Attend(*cpu_, *cache, inputs.q, s, 0.3f), want)) << window;
  }
  s.window = 99;
  EXPECT_FALSE(SameBits(Attend(*cpu_, *cache, inputs.q, s, 0.3f), want));
}

// A window of one leaves a row its own value.
TEST_P(CpuAttentionTest, AWindowOfOneGivesTheValue) {
  const AttentionShape s{130, 5, 3, 3, 20, 1, 4.0f};
  const Inputs inputs(s, rng_);
  for (HostOperations* backend : {cpu_.get(), reference_.get()}) {
    const auto cache = CacheOf(*backend, inputs, s);
    const Matrix got = Attend(*backend, *cache, inputs.q, s, 0.3f);
    for (std::size_t t = 0; t < s.m; ++t) {
      EXPECT_TRUE(std::ranges::equal(got.view.Row(t), inputs.values.view.Row(s.position + t))) << t;
    }
  }
}

constexpr AttentionShape kLongShapes[] = {{100, 0, 6, 2, 20},      {140, 0, 6, 2, 20, 64}, {100, 60, 4, 1, 12, 5},
                                          {90, 0, 2, 1, 80, 0, 2}, {70, 0, 6, 2, 20, 1},   {130, 0, 2, 2, 96, 100, 3}};

TEST_P(CpuAttentionTest, ARowAttendsTheSameInPrefillAndDecode) {
  for (const AttentionShape& s : kLongShapes) {
    for (const Activations allowed : {Activations::kFp32, Activations::kInt8}) {
      const Inputs inputs(s, rng_);
      const auto backend = Make(1, allowed);
      const auto cache = CacheOf(*backend, inputs, s);
      const Matrix together = Attend(*backend, *cache, inputs.q, s, 0.3f);
      const Matrix in_turn = AttendInTurn(*backend, *cache, inputs.q, s, 0.3f);
      if (GetParam().cuda) {
        ExpectNear(in_turn, together, allowed == Activations::kFp32 ? 1e-5 : 3e-3);
      } else {
        EXPECT_TRUE(SameBits(in_turn, together)) << s;
      }
    }
  }
}

TEST_P(CpuAttentionTest, TheNumberOfThreadsDoesNotChangeABit) {
  for (const AttentionShape& s : kLongShapes) {
    const Inputs inputs(s, rng_);
    std::vector<Matrix> results;
    for (const int threads : {1, 2, 3, 8}) {
      const auto backend = Make(threads);
      const auto cache = CacheOf(*backend, inputs, s);
      results.push_back(Attend(*backend, *cache, inputs.q, s, 0.2f));
    }
    for (const Matrix& result : results) EXPECT_TRUE(SameBits(result, results[0])) << s;
  }
}

// Of 8 blocks of keys and values only the last three, which hold the windows, are there.
TEST_P(CpuAttentionTest, BlocksBeforeTheWindowAreNotRead) {
  if (GetParam().cuda) GTEST_SKIP() << "of CPUs alone";
  constexpr std::size_t kDim = 20, kBlocks = 8, kHeld = 3, kBlock = kKeyBlock * kDim;
  constexpr std::size_t kPositions = 10, kPosition = kBlocks * kKeyBlock - kPositions;
  const OpsTable& ops = OpsFor(GetParam().bits);
  GuardMemory<float> keys(kHeld * kBlock, GuardSide::kBefore);
  GuardMemory<float> values(kHeld * kBlock + kKeyBlock, GuardSide::kBefore);
  GuardMemory<float> workspace(kAttentionWorkspace, GuardSide::kBefore);
  for (std::size_t i = 0; i < kHeld * kBlock; ++i) {
    keys[i] = static_cast<float>(RandomValue(rng_));
    values[i] = static_cast<float>(RandomValue(rng_));
  }
  const Matrix q = RandomValues(kPositions, kDim, rng_);
  Matrix out(kPositions, kDim);
  AttentionTile tile;
  tile.q = q.view.data;
  tile.q_stride = q.stride;
  tile.positions = kPositions;
  tile.heads = 1;
  tile.head_dim = kDim;
  const std::uintptr_t missing = (kBlocks - kHeld) * kBlock * sizeof(float);
  tile.keys = reinterpret_cast<const void*>(reinterpret_cast<std::uintptr_t>(keys.data()) - missing);
  tile.values = reinterpret_cast<const void*>(reinterpret_cast<std::uintptr_t>(values.data()) - missing);
  tile.position = kPosition;
  tile.scale = 0.2f;
  tile.window = kPosition + 1 - (kBlocks - kHeld) * kKeyBlock;  // the first row's begins with the first block
  tile.out = out.view.data;
  tile.out_stride = out.stride;
  tile.workspace = workspace.data();
  ops.attention(tile);
  for (std::size_t t = 0; t < kPositions; ++t) {
    for (const float value : out.view.Row(t)) EXPECT_TRUE(std::isfinite(value));
  }
}

INSTANTIATE_TEST_SUITE_P(AllLevels, CpuAttentionTest, testing::ValuesIn(TestedBackends()),
                         [](const auto& level) { return std::string(level.param.name); });

TEST(CpuCache, RefusesSizesThatNoMachineHas) {
  for (const auto& backend : {*MakeCpuBackend({1, {}, ""}), *MakeCpuBackend({1, {}, "", Activations::kInt8})}) {
    const std::size_t huge = SIZE_MAX / 1024;
    for (const CacheShape& shape :
         {CacheShape{huge, {{1, 512}}}, CacheShape{64, {{1, 64}, {huge, 512}}},
          CacheShape{huge, std::vector<CacheLayer>(3, {1, 4})}, CacheShape{SIZE_MAX, {{1, 1}}}}) {
      const auto cache = backend->AllocateCache(shape);
      ASSERT_FALSE(cache.ok());
      EXPECT_EQ(cache.error().code, ErrorCode::kResource);
    }
  }
}

TEST(CpuCacheDeathTest, ShapesAreChecked) {
  const auto backend = *MakeCpuBackend({1, {}, ""});
  EXPECT_DEATH((void)backend->AllocateCache({8, {{1, 16}, {1, kMaxHeadDim + 1}}}), "shape of a cache");
  HostOperations operations(*MakeCpuBackend({1, {}, ""}));
  const auto cache = *operations.AllocateCache({8, {{1, 16}, {2, 4}}});
  const Matrix x(1, 16, 1.0f);
  operations.Append(*cache, 0, 0, x.view, x.view);
  EXPECT_DEATH(operations.Append(*cache, 1, 0, x.view, x.view), "shapes of keys and values");
  EXPECT_DEATH(operations.Append(*cache, 2, 0, x.view, x.view), "a layer of a cache");
}

}  // namespace
}  // namespace marlin
