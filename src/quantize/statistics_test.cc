#include "quantize/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "base/rng.h"
#include "quantize/test_statistics.h"

namespace marlin {
namespace {

std::vector<float> RandomInputs(std::size_t tokens, std::size_t channels, std::uint64_t seed) {
  Rng rng(seed);
  std::vector<float> x(tokens * channels);
  for (float& value : x) value = static_cast<float>(rng.Normal() * 3 + 0.5);
  return x;
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST(Accumulate, AgreesWithSumsInDouble) {
  const std::size_t tokens = 301;
  const std::size_t k = 77;
  const std::vector<float> x = RandomInputs(tokens, k, 4);
  ThreadPool pool(2);
  InputStatistics stats;
  ASSERT_TRUE(Accumulate(stats, {x.data(), 100, k}, pool, true).ok());
  ASSERT_TRUE(Accumulate(stats, {x.data() + 100 * k, tokens - 100, k}, pool, true).ok());
  EXPECT_EQ(stats.tokens, tokens);
  for (std::size_t i = 0; i < k; ++i) {
    for (std::size_t j = 0; j < k; ++j) {
      double sum = 0;
      double size = 0;
      double magnitude = 0;
      for (std::size_t t = 0; t < tokens; ++t) {
        const double product = static_cast<double>(x[t * k + i]) * x[t * k + j];
        sum += product;
        size += std::abs(product);
        magnitude += std::abs(static_cast<double>(x[t * k + i]));
      }
      EXPECT_NEAR(stats.gram[i * k + j], j < i ? 0 : sum, size * 1e-5);
      if (i != j) continue;
      EXPECT_NEAR(stats.sum_squares[i], sum, sum * 1e-12);
      EXPECT_NEAR(stats.sum_abs[i], magnitude, magnitude * 1e-12);
    }
  }
  float peak = 0;
  for (std::size_t t = 0; t < tokens; ++t) peak = std::max(peak, std::abs(x[t * k + 5]));
  EXPECT_EQ(stats.max_abs[5], peak);
}

TEST(Accumulate, ThreadsDoNotChangeABit) {
  const std::size_t k = 450;
  const std::vector<float> x = RandomInputs(300, k, 5);
  std::vector<InputStatistics> all(3);
  const int threads[] = {1, 2, 5};
  for (std::size_t i = 0; i < all.size(); ++i) {
    ThreadPool pool(threads[i]);
    ASSERT_TRUE(Accumulate(all[i], {x.data(), 300, k}, pool, true).ok());
    EXPECT_TRUE(SameBits(all[i].gram, all[0].gram));
    EXPECT_EQ(all[i].sum_squares, all[0].sum_squares);
    EXPECT_EQ(all[i].sum_abs, all[0].sum_abs);
  }
}

TEST(Accumulate, NotANumberIsAnErrorAndChangesNothing) {
  const std::size_t k = 8;
  std::vector<float> x = RandomInputs(4, k, 6);
  ThreadPool pool(1);
  InputStatistics stats;
  ASSERT_TRUE(Accumulate(stats, {x.data(), 4, k}, pool, true).ok());
  const InputStatistics before = stats;
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    x[2 * k + 3] = bad;
    const Status status = Accumulate(stats, {x.data(), 4, k}, pool, true);
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code, ErrorCode::kNumerical);
    EXPECT_NE(status.error().message.find("token 2, channel 3"), std::string::npos) << status.error().message;
    EXPECT_EQ(stats.tokens, before.tokens);
    EXPECT_TRUE(SameBits(stats.gram, before.gram));
    EXPECT_EQ(stats.sum_squares, before.sum_squares);
  }
}

TEST(StatisticsGatherer, PartsHaveTheBitsOfCallsOfTheirOwn) {
  constexpr std::size_t kParts = 6, kTokens = 20, k = 70;
  std::vector<float> x = RandomInputs(kParts * kTokens, k, 12);
  const auto backend = TestCpu();
  const auto buffer = *backend->Allocate(x.size());
  const DeviceTensor rows = View(buffer, kParts * kTokens, k);
  backend->Upload(x, rows);
  StatisticsGatherer alone(*backend, true), together(*backend, true);
  for (std::size_t part = 0; part < kParts; ++part) {
    ASSERT_TRUE(alone.Add(rows.Rows(part * kTokens, kTokens)).ok());
  }
  ASSERT_TRUE(together.Add(rows.Rows(0, 2 * kTokens), {}, 2).ok());
  ASSERT_TRUE(together.Add(rows.Rows(2 * kTokens, 4 * kTokens), {}, 4).ok());
  const auto want = alone.Read(), got = together.Read();
  ASSERT_TRUE(want.ok() && got.ok());
  EXPECT_EQ(got->tokens, want->tokens);
  EXPECT_EQ(got->sum_squares, want->sum_squares);
  EXPECT_EQ(got->sum_abs, want->sum_abs);
  EXPECT_EQ(got->max_abs, want->max_abs);
  EXPECT_TRUE(SameBits(got->gram, want->gram));
  x[(4 * kTokens + 3) * k + 8] = std::numeric_limits<float>::infinity();
  backend->Upload(x, rows);
  const Status status = together.Add(rows, {7, "layer.q"}, kParts);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kNumerical);
  EXPECT_NE(status.error().message.find("calibration window 11, layer.q: "), std::string::npos);
  EXPECT_NE(status.error().message.find("token 3, channel 8"), std::string::npos) << status.error().message;
}

TEST(Accumulate, OtherShapesAreRefused) {
  const std::vector<float> x = RandomInputs(4, 8, 7);
  ThreadPool pool(1);
  InputStatistics stats;
  ASSERT_TRUE(Accumulate(stats, {x.data(), 4, 8}, pool, false).ok());
  EXPECT_TRUE(stats.gram.empty());
  EXPECT_EQ(Accumulate(stats, {x.data(), 8, 4}, pool, false).error().code, ErrorCode::kInput);
  EXPECT_EQ(Accumulate(stats, {x.data(), 4, 8}, pool, true).error().code, ErrorCode::kUsage);
  EXPECT_EQ(stats.tokens, 4u);
}

TEST(Merge, EqualsOneRunOverBothTexts) {
  const std::size_t k = 40;
  const std::vector<float> x = RandomInputs(120, k, 8);
  ThreadPool pool(2);
  InputStatistics whole;
  InputStatistics first;
  InputStatistics second;
  ASSERT_TRUE(Accumulate(whole, {x.data(), 120, k}, pool, true).ok());
  ASSERT_TRUE(Accumulate(first, {x.data(), 50, k}, pool, true).ok());
  ASSERT_TRUE(Accumulate(second, {x.data() + 50 * k, 70, k}, pool, true).ok());
  InputStatistics merged;
  ASSERT_TRUE(Merge(merged, first).ok());
  ASSERT_TRUE(Merge(merged, InputStatistics{}).ok());
  ASSERT_TRUE(Merge(merged, second).ok());
  EXPECT_EQ(merged.tokens, 120u);
  EXPECT_EQ(merged.max_abs, whole.max_abs);
  for (std::size_t i = 0; i < k; ++i) {
    EXPECT_NEAR(merged.sum_squares[i], whole.sum_squares[i], 1e-12 * whole.sum_squares[i]);
    EXPECT_NEAR(merged.gram[i * k + i], whole.gram[i * k + i], 1e-5 * whole.gram[i * k + i]);
  }
}

TEST(Merge, OtherShapesAreRefused) {
  const std::vector<float> x = RandomInputs(4, 8, 9);
  ThreadPool pool(1);
  InputStatistics a;
  InputStatistics b;
  InputStatistics c;
  ASSERT_TRUE(Accumulate(a, {x.data(), 4, 8}, pool, false).ok());
  ASSERT_TRUE(Accumulate(b, {x.data(), 8, 4}, pool, false).ok());
  ASSERT_TRUE(Accumulate(c, {x.data(), 4, 8}, pool, true).ok());
  EXPECT_EQ(Merge(a, b).error().code, ErrorCode::kInput);
  EXPECT_EQ(Merge(a, c).error().code, ErrorCode::kUsage);
  EXPECT_EQ(a.tokens, 4u);
}

TEST(CheckStatistics, FindsWhatDoesNotBelong) {
  const std::vector<float> x = RandomInputs(4, 8, 10);
  ThreadPool pool(1);
  InputStatistics stats;
  ASSERT_TRUE(Accumulate(stats, {x.data(), 4, 8}, pool, true).ok());
  EXPECT_TRUE(CheckStatistics(stats, 8).ok());
  EXPECT_EQ(CheckStatistics(stats, 9).error().code, ErrorCode::kInput);
  for (float* wrong : {&stats.gram[9], &stats.gram[10], &stats.max_abs[3]}) {
    const float right = std::exchange(*wrong, std::numeric_limits<float>::quiet_NaN());
    EXPECT_EQ(CheckStatistics(stats, 8).error().code, ErrorCode::kNumerical);
    *wrong = right;
  }
  stats.gram[9] = -1;
  EXPECT_EQ(CheckStatistics(stats, 8).error().code, ErrorCode::kNumerical);
  stats.gram.pop_back();
  EXPECT_EQ(CheckStatistics(stats, 8).error().code, ErrorCode::kInput);
}

TEST(SilentChannels, AreNamedAndStillCountALittle) {
  std::vector<float> x = RandomInputs(16, 6, 11);
  for (std::size_t t = 0; t < 16; ++t) x[t * 6 + 1] = x[t * 6 + 4] = 0;
  ThreadPool pool(1);
  InputStatistics stats;
  ASSERT_TRUE(Accumulate(stats, {x.data(), 16, 6}, pool, false).ok());
  EXPECT_EQ(SilentChannels(stats), (std::vector<std::size_t>{1, 4}));
  const std::vector<float> importance = Importance(stats);
  EXPECT_GT(importance[1], 0);
  EXPECT_LT(importance[1], 0.05f * importance[0]);
  std::fill(x.begin(), x.end(), 0.0f);
  InputStatistics nothing;
  ASSERT_TRUE(Accumulate(nothing, {x.data(), 16, 6}, pool, false).ok());
  EXPECT_EQ(Importance(nothing), std::vector<float>(6, 1.0f));
}

}  // namespace
}  // namespace marlin
