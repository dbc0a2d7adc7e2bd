#include "quantize/channel_scaling.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "base/rng.h"
#include "formats/encoded_matrix.h"
#include "formats/formats.h"
#include "quantize/mse.h"
#include "quantize/test_statistics.h"

namespace marlin {
namespace {

std::vector<float> RandomMatrix(std::size_t rows, std::size_t cols, Rng& rng) {
  std::vector<float> values(rows * cols);
  for (float& value : values) value = static_cast<float>(rng.Normal() * 0.05);
  return values;
}

// Inputs whose channels differ in size by exp(spread * normal).
InputStatistics Statistics(std::size_t k, double spread, Rng& rng) {
  const std::size_t tokens = 200;
  std::vector<double> size(k);
  for (double& s : size) s = std::exp(spread * rng.Normal());
  std::vector<float> x(tokens * k);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(rng.Normal() * size[i % k]);
  for (std::size_t t = 0; t < tokens; ++t) x[t * k + 3] = 0;
  InputStatistics stats;
  ThreadPool pool(2);
  EXPECT_TRUE(Accumulate(stats, {x.data(), tokens, k}, pool, false).ok());
  return stats;
}

// The error written out: scale, encode, decode, scale back.
double ErrorWith(const std::vector<float>& weights, std::size_t n, const InputStatistics& stats,
                 const FormatRow& format, std::span<const float> factors) {
  const std::size_t k = stats.channels();
  const std::vector<float> importance = Importance(stats);
  std::vector<float> scaled(weights.size());
  std::vector<float> divided(k);
  for (std::size_t i = 0; i < scaled.size(); ++i) scaled[i] = weights[i] * factors[i % k];
  for (std::size_t j = 0; j < k; ++j) divided[j] = importance[j] / (factors[j] * factors[j]);
  ThreadPool pool(2);
  const EncodedMatrix matrix = EncodeMse(format, {scaled.data(), n, k}, divided, pool);
  double sum = 0;
  std::vector<float> row(k, NAN);
  for (std::size_t r = 0; r < n; ++r) {
    DecodeRow(matrix.view(), r, row);
    for (std::size_t j = 0; j < k; ++j) {
      sum += importance[j] * std::pow(double{weights[r * k + j]} - double{row[j]} / factors[j], 2);
    }
  }
  return sum;
}

TEST(SearchChannelScaling, ReportsErrorsThatAreTrueAndNotIncreased) {
  Rng rng(61);
  ThreadPool pool(2);
  const std::size_t k = 200;
  const std::vector<float> a = RandomMatrix(90, k, rng);
  const std::vector<float> b = RandomMatrix(24, k, rng);
  for (const double spread : {0.0, 0.5, 1.5}) {
    const InputStatistics stats = Statistics(k, spread, rng);
    for (const char* name : {"fp4-g128", "int4-g64"}) {
      const FormatRow& format = *FindFormat(name);
      const std::array weights = {WeightToScale{{a.data(), 90, k}, &format}, WeightToScale{{b.data(), 24, k}, &format}};
      const auto scaling = SearchChannelScaling(weights, stats, pool);
      ASSERT_TRUE(scaling.ok());
      EXPECT_LE(scaling->scaled_error, scaling->plain_error);
      if (spread > 1) {
        EXPECT_GT(scaling->exponent, 0);
        EXPECT_LT(scaling->scaled_error, 0.95 * scaling->plain_error) << name;
      }
      const std::vector<float> ones(k, 1.0f);
      const double plain = ErrorWith(a, 90, stats, format, ones) + ErrorWith(b, 24, stats, format, ones);
      const double scaled =
          ErrorWith(a, 90, stats, format, scaling->factors) + ErrorWith(b, 24, stats, format, scaling->factors);
      EXPECT_NEAR(scaling->plain_error, plain, 1e-5 * plain);
      EXPECT_NEAR(scaling->scaled_error, scaled, 1e-4 * scaled);
      for (const float factor : scaling->factors) EXPECT_TRUE(std::isfinite(factor) && factor > 0);
    }
  }
}

TEST(SearchChannelScaling, ThreadsDoNotChangeABit) {
  Rng rng(62);
  const InputStatistics stats = Statistics(160, 1, rng);
  const std::vector<float> a = RandomMatrix(70, 160, rng);
  const std::array weights = {WeightToScale{{a.data(), 70, 160}, FindFormat("fp4-g32")}};
  ThreadPool one(1);
  ThreadPool three(3);
  const auto want = SearchChannelScaling(weights, stats, one);
  const auto got = SearchChannelScaling(weights, stats, three);
  ASSERT_TRUE(want.ok() && got.ok());
  EXPECT_EQ(got->factors, want->factors);
  EXPECT_EQ(got->scaled_error, want->scaled_error);
}

TEST(SearchChannelScaling, RefusesWhatItCannotUse) {
  Rng rng(63);
  const InputStatistics stats = Statistics(32, 1, rng);
  const std::vector<float> a = RandomMatrix(8, 16, rng);
  ThreadPool pool(1);
  const std::array other = {WeightToScale{{a.data(), 8, 16}, FindFormat("fp4-g32")}};
  const std::array plain = {WeightToScale{{a.data(), 8, 16}, FindFormat("bf16")}};
  EXPECT_EQ(SearchChannelScaling(other, stats, pool).error().code, ErrorCode::kInput);
  EXPECT_EQ(SearchChannelScaling(plain, stats, pool).error().code, ErrorCode::kUsage);
}

}  // namespace
}  // namespace marlin
