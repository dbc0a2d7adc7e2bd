#include "quantize/gptq.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "formats/formats.h"
#include "quantize/cholesky.h"
#include "quantize/mse.h"
#include "quantize/random_layer.h"
#include "quantize/test_statistics.h"

namespace marlin {
namespace {

using test::CodesOf;
using test::Layer;
using test::RandomLayer;

// Lower L with L L^T = a, and the inverse of a lower triangle: textbook loops.
std::vector<double> LowerCholesky(const std::vector<double>& a, std::size_t k) {
  std::vector<double> l(k * k, 0.0);
  for (std::size_t i = 0; i < k; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      double sum = a[i * k + j];
      for (std::size_t t = 0; t < j; ++t) sum -= l[i * k + t] * l[j * k + t];
      l[i * k + j] = i == j ? std::sqrt(sum) : sum / l[j * k + j];
    }
  }
  return l;
}

std::vector<double> Inverse(const std::vector<double>& a, std::size_t k) {
  const std::vector<double> l = LowerCholesky(a, k);
  std::vector<double> inverse(k * k, 0.0);
  for (std::size_t column = 0; column < k; ++column) {
    std::vector<double> y(k, 0.0);
    for (std::size_t i = 0; i < k; ++i) {
      double sum = i == column ? 1 : 0;
      for (std::size_t t = 0; t < i; ++t) sum -= l[i * k + t] * y[t];
      y[i] = sum / l[i * k + i];
    }
    for (std::size_t i = k; i-- > 0;) {
      double sum = y[i];
      for (std::size_t t = i + 1; t < k; ++t) sum -= l[t * k + i] * inverse[t * k + column];
      inverse[i * k + column] = sum / l[i * k + i];
    }
  }
  return inverse;
}

// GPTQ as the paper writes it, column by column in double: the inverse of H, its upper Cholesky factor U, every error
// divided by U[i][i] and fed by row i of U.
std::vector<std::uint32_t> SlowGptq(const Layer& layer, const FormatRow& format, std::span<const GroupParams> params,
                                    double damping) {
  const std::size_t k = layer.k;
  std::vector<double> h(k * k);
  const double tokens = static_cast<double>(layer.stats.tokens);
  for (std::size_t i = 0; i < k; ++i) {
    for (std::size_t j = i; j < k; ++j) h[i * k + j] = h[j * k + i] = 2 * double{layer.stats.gram[i * k + j]} / tokens;
  }
  std::vector<std::size_t> order(k);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) { return h[a * k + a] > h[b * k + b]; });
  double mean = 0;
  double used = 0;
  for (std::size_t i = 0; i < k; ++i) {
    mean += h[i * k + i];
    used += h[i * k + i] > 0 ? 1 : 0;
  }
  mean /= used;
  std::vector<double> sorted(k * k);
  for (std::size_t i = 0; i < k; ++i) {
    for (std::size_t j = 0; j < k; ++j) sorted[i * k + j] = h[order[i] * k + order[j]];
    if (sorted[i * k + i] == 0) sorted[i * k + i] = mean;
    sorted[i * k + i] += damping * mean;
  }
  const std::vector<double> l = LowerCholesky(Inverse(sorted, k), k);  // U = l^T
  const std::size_t groups = GroupsPerRow(format.info, k);
  std::vector<std::uint32_t> codes(layer.n * k);
  for (std::size_t r = 0; r < layer.n; ++r) {
    std::vector<double> w(k);
    for (std::size_t i = 0; i < k; ++i) w[i] = layer.weights[r * k + order[i]];
    for (std::size_t i = 0; i < k; ++i) {
      const std::size_t column = order[i];
      const GroupParams own = params[r * groups + column / static_cast<std::size_t>(format.info.group)];
      const auto target = static_cast<float>(w[i]);
      std::uint32_t& code = codes[r * k + column];
      float value = NAN;
      format.round({&target, 1}, own, {&code, 1});
      format.decode({&code, 1}, own, {&value, 1});
      const double error = (w[i] - value) / l[i * k + i];
      for (std::size_t j = i + 1; j < k; ++j) w[j] -= error * l[j * k + i];
    }
  }
  return codes;
}

struct Shape {
  std::size_t cols;
  bool dead;
};

// Formats of super-blocks on rows that hold whole ones, all others on rows with short groups.
TEST(Gptq, GivesTheCodesOfThePaper) {
  ThreadPool pool(2);
  for (const auto& [cols, dead] : {Shape{300, false}, Shape{300, true}, Shape{512, false}}) {
    const Layer layer = RandomLayer(24, cols, 700, dead ? 41 : 42, dead);
    const auto factor = FactorHessian(layer.stats, pool);
    ASSERT_TRUE(factor.ok());
    EXPECT_EQ(factor->damping, kDamping);
    EXPECT_EQ(factor->dead_columns, dead ? 30u : 0u);
    for (const FormatRow& format : Formats()) {
      if (format.info.group == 0 || FitsRows(format.info, 300) != (cols == 300)) continue;
      const EncodedMatrix got = EncodeGptq(format, layer.view(), *factor, pool);
      const auto params = SearchAllParams(format, layer.view(), factor->importance, pool);
      const std::vector<std::uint32_t> want = SlowGptq(layer, format, params, factor->damping);
      const std::vector<std::uint32_t> codes = CodesOf(got);
      std::size_t same = 0;
      for (std::size_t i = 0; i < codes.size(); ++i) same += codes[i] == want[i] ? 1 : 0;
      EXPECT_GT(static_cast<double>(same), 0.999 * static_cast<double>(codes.size())) << format.info.name;
      for (std::size_t g = 0; g < got.view().groups(); ++g) {
        EXPECT_EQ(GetParams(got.view(), 5, g), params[5 * got.view().groups() + g]) << format.info.name;
      }
    }
  }
}

TEST(Gptq, ChangesTheOutputLessThanMseAndMseLessThanRtn) {
  ThreadPool pool(2);
  const Layer layer = RandomLayer(40, 256, 1000, 43);
  const auto factor = FactorHessian(layer.stats, pool);
  ASSERT_TRUE(factor.ok());
  for (const FormatRow& format : Formats()) {
    if (format.info.group == 0) continue;
    const auto error = [&](const EncodedMatrix& matrix) {
      return ReconstructionError(layer.view(), matrix.view(), layer.stats, pool);
    };
    const double rtn = error(Encode(format, layer.view()));
    const double mse = error(EncodeMse(format, layer.view(), factor->importance, pool));
    const double gptq = error(EncodeGptq(format, layer.view(), *factor, pool));
    EXPECT_LT(mse, rtn) << format.info.name;
    EXPECT_LT(gptq, 0.7 * mse) << format.info.name;
  }
}

TEST(Gptq, FormatsWithoutGroupsAreServedToo) {
  ThreadPool pool(2);
  const Layer layer = RandomLayer(10, 64, 200, 44);
  const auto factor = FactorHessian(layer.stats, pool);
  ASSERT_TRUE(factor.ok());
  const FormatRow& format = *FindFormat("bf16");
  const double rtn = ReconstructionError(layer.view(), Encode(format, layer.view()).view(), layer.stats, pool);
  const double gptq =
      ReconstructionError(layer.view(), EncodeGptq(format, layer.view(), *factor, pool).view(), layer.stats, pool);
  EXPECT_LT(gptq, rtn);
}

TEST(ReconstructionError, IsTheChangeOfTheOutput) {
  ThreadPool pool(2);
  const std::size_t tokens = 150;
  const Layer layer = RandomLayer(13, 70, tokens, 45);
  const EncodedMatrix matrix = Encode(*FindFormat("fp4-g64"), layer.view());
  double want = 0;
  std::vector<float> row(layer.k, NAN);
  for (std::size_t r = 0; r < layer.n; ++r) {
    DecodeRow(matrix.view(), r, row);
    for (std::size_t t = 0; t < tokens; ++t) {
      double change = 0;
      for (std::size_t j = 0; j < layer.k; ++j) {
        change += (double{layer.weights[r * layer.k + j]} - row[j]) * layer.inputs[t * layer.k + j];
      }
      want += 2 * change * change / static_cast<double>(tokens);
    }
  }
  EXPECT_NEAR(ReconstructionError(layer.view(), matrix.view(), layer.stats, pool), want, 1e-4 * want);
}

TEST(Gptq, ThreadsAndStackingDoNotChangeABit) {
  const Layer layer = RandomLayer(45, 290, 400, 46);
  const FormatRow& format = *FindFormat("int4-g64");
  ThreadPool one(1);
  const auto want_factor = FactorHessian(layer.stats, one);
  ASSERT_TRUE(want_factor.ok());
  const EncodedMatrix want = EncodeGptq(format, layer.view(), *want_factor, one);
  for (const int threads : {2, 3, 7}) {
    ThreadPool pool(threads);
    const auto factor = FactorHessian(layer.stats, pool);
    ASSERT_TRUE(factor.ok());
    EXPECT_EQ(factor->feedback, want_factor->feedback);
    const EncodedMatrix got = EncodeGptq(format, layer.view(), *factor, pool);
    EXPECT_EQ(got.codes, want.codes);
    EXPECT_EQ(got.scales, want.scales);
    EXPECT_EQ(got.zero_points, want.zero_points);
  }
  const std::vector<std::uint32_t> all = CodesOf(want);
  const std::vector<std::uint32_t> part = CodesOf(EncodeGptq(format, layer.view().Rows(8, 20), *want_factor, one));
  EXPECT_TRUE(std::equal(part.begin(), part.end(), all.begin() + 8 * 290));
}

TEST(FactorHessian, FewTokensNeedNoMoreThanDamping) {
  ThreadPool pool(2);
  const Layer layer = RandomLayer(4, 200, 20, 47);  // rank 20 of 200
  const auto factor = FactorHessian(layer.stats, pool);
  ASSERT_TRUE(factor.ok());
  EXPECT_EQ(factor->damping, kDamping);
}

TEST(FactorHessian, DampingIsRaisedUntilPositiveDefinite) {
  ThreadPool pool(2);
  Layer layer = RandomLayer(4, 64, 100, 48);
  float* const gram = layer.stats.gram.data();
  gram[1] = 1.05f * std::sqrt(gram[0] * gram[64 + 1]);  // a correlation above 1
  const auto factor = FactorHessian(layer.stats, pool);
  ASSERT_TRUE(factor.ok());
  EXPECT_GT(factor->damping, kDamping);
  const EncodedMatrix matrix = EncodeGptq(*FindFormat("fp4-g32"), layer.view(), *factor, pool);
  std::vector<float> row(64, NAN);
  DecodeRow(matrix.view(), 0, row);
  for (const float w : row) EXPECT_LT(std::abs(w), 1);
}

TEST(FactorHessian, RefusesWhatItCannotUse) {
  ThreadPool pool(1);
  Layer layer = RandomLayer(4, 16, 30, 49);
  InputStatistics no_gram = layer.stats;
  no_gram.gram.clear();
  const auto missing = FactorHessian(no_gram, pool);
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, ErrorCode::kUsage);
  EXPECT_NE(missing.error().message.find("--full-gram"), std::string::npos);
  layer.stats.gram[3] = NAN;
  EXPECT_EQ(FactorHessian(layer.stats, pool).error().code, ErrorCode::kNumerical);
  layer.stats.tokens = 0;
  EXPECT_EQ(FactorHessian(layer.stats, pool).error().code, ErrorCode::kInput);
}

TEST(FactorHessian, SilentInputsAreRoundedPlainly) {
  ThreadPool pool(1);
  Layer layer = RandomLayer(6, 40, 30, 50);
  InputStatistics silent;
  const std::vector<float> zeros(30 * 40, 0.0f);
  ASSERT_TRUE(Accumulate(silent, {zeros.data(), 30, 40}, pool, true).ok());
  const auto factor = FactorHessian(silent, pool);
  ASSERT_TRUE(factor.ok());
  EXPECT_EQ(factor->dead_columns, 40u);
  const FormatRow& format = *FindFormat("fp4-g32");
  EXPECT_EQ(EncodeGptq(format, layer.view(), *factor, pool).codes, EncodeMse(format, layer.view(), {}, pool).codes);
}

TEST(Cholesky, TimesItsTransposeIsTheMatrix) {
  Rng rng(51);
  for (const std::size_t n : {1u, 2u, 127u, 128u, 129u, 300u}) {
    std::vector<double> root(n * n);
    for (double& x : root) x = rng.Normal();
    std::vector<double> a(n * n, 0.0);
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = i; j < n; ++j) {
        for (std::size_t t = 0; t < n; ++t) a[i * n + j] += root[t * n + i] * root[t * n + j];
      }
      a[i * n + i] += 1;
    }
    std::vector<double> v = a;
    for (std::size_t i = 0; i < n; ++i) std::fill_n(v.data() + i * n, i, NAN);
    ThreadPool pool(2);
    ASSERT_FALSE(FactorCholesky({v.data(), n, n}, 0.5, HostIsa(), pool).has_value());
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = i; j < n; ++j) {
        double sum = 0;
        for (std::size_t t = 0; t <= i; ++t) sum += v[t * n + i] * v[t * n + j];
        ASSERT_NEAR(sum, a[i * n + j], 1e-11 * static_cast<double>(n)) << i << ", " << j;
      }
      for (std::size_t j = 0; j < i; ++j) ASSERT_TRUE(std::isnan(v[i * n + j]));
    }
  }
}

TEST(Cholesky, NamesTheFirstPivotThatIsTooSmall) {
  const std::size_t n = 200;
  std::vector<double> a(n * n, 0.0);
  for (std::size_t i = 0; i < n; ++i) a[i * n + i] = 1;
  a[3 * n + 150] = 1;  // column 150 is column 3
  ThreadPool pool(2);
  EXPECT_EQ(FactorCholesky({a.data(), n, n}, 1e-9, HostIsa(), pool), 150u);
}

}  // namespace
}  // namespace marlin
