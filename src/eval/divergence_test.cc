#include "eval/divergence.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "eval/test_models.h"
#include "kernels/test_device.h"

namespace marlin {
namespace {

// `model` against `base`, both run window by window.
Result<DivergenceResult> Compare(const Model& base, const Model& model, const TokenStream& stream,
                                 std::size_t samples = 0, const DivergenceFn& on_window = {}) {
  auto session = Session::Create(base, kCtx, kCtx);
  if (!session) return session.error();
  return EvaluateDivergence(model, RunningBaseline(base, *session), stream, {kCtx, samples}, on_window);
}

std::vector<double> LogSoftmax(const float* logits) {
  double sum = 0;
  for (std::size_t j = 0; j < kVocab; ++j) sum += std::exp(static_cast<double>(logits[j]));
  std::vector<double> out(kVocab);
  for (std::size_t j = 0; j < kVocab; ++j) out[j] = logits[j] - std::log(sum);
  return out;
}

TEST(Divergence, AModelAgainstItselfIsExactlyZero) {
  const auto backend = TestReference();
  const Model model = MakeModel(*backend, kVocab, 8, 2);
  const TokenStream stream = RandomStream(70, kVocab);
  const auto result = Compare(model, model, stream);
  ASSERT_TRUE(result.ok()) << result.error().message;
  const auto perplexity = EvaluatePerplexity(model, stream, {kCtx, 0}, {});
  ASSERT_TRUE(perplexity.ok());
  for (const PerplexityResult* one : {&result->base, &result->other}) {
    EXPECT_EQ(one->window_nll, perplexity->window_nll);
    EXPECT_EQ(one->window_nll_half, perplexity->window_nll_half);
    EXPECT_EQ(one->scored_bytes, perplexity->scored_bytes);
    EXPECT_EQ(one->windows_total, perplexity->windows_total);
  }
  EXPECT_EQ(result->token_kl, std::vector<double>(4 * 15, 0.0));
  EXPECT_EQ(result->window_kl, std::vector<double>(4, 0.0));
  EXPECT_EQ(result->window_same_top, std::vector<double>(4, 15.0));
  EXPECT_EQ(result->window_change_squared, std::vector<double>(4, 0.0));
  const DivergenceSummary summary = Summarize(*result);
  EXPECT_EQ(summary.kl.mean, 0);
  EXPECT_EQ(summary.same_top.mean, 1);
  EXPECT_EQ(summary.max, 0);
  EXPECT_EQ(summary.histogram.counts[0], 60u);
}

// Every sum again from the logits themselves, in fp64, by the textbook's formula.
TEST(Divergence, EqualsTheFormulaOnTheLogits) {
  const auto backend = TestReference();
  const Model base = MakeModel(*backend, kVocab, 8, 2, 1);
  const Model other = MakeModel(*backend, kVocab, 8, 2, 9);
  const TokenStream stream = RandomStream(70, kVocab);
  const auto result = Compare(base, other, stream, 3);
  ASSERT_TRUE(result.ok()) << result.error().message;
  ASSERT_EQ(result->window_kl.size(), 3u);
  std::vector<double> token_kl;
  for (std::size_t w = 0; w < 3; ++w) {
    const auto x = WindowLogits(base, stream, kCtx, w);
    const auto y = WindowLogits(other, stream, kCtx, w);
    ASSERT_TRUE(x.ok() && y.ok());
    double same_top = 0, change = 0, squared = 0;
    for (std::size_t t = 0; t + 1 < kCtx; ++t) {
      const std::vector<double> p = LogSoftmax(x->data() + t * kVocab);
      const std::vector<double> q = LogSoftmax(y->data() + t * kVocab);
      double kl = 0;
      for (std::size_t j = 0; j < kVocab; ++j) kl += std::exp(p[j]) * (p[j] - q[j]);
      token_kl.push_back(kl);
      same_top += std::max_element(p.begin(), p.end()) - p.begin() == std::max_element(q.begin(), q.end()) - q.begin();
      const auto target = static_cast<std::size_t>(stream.tokens[w * kCtx + t + 1]);
      const double difference = std::exp(q[target]) - std::exp(p[target]);
      change += difference;
      squared += difference * difference;
    }
    EXPECT_NEAR(result->window_kl[w], std::accumulate(token_kl.end() - 15, token_kl.end(), 0.0), 1e-9);
    EXPECT_EQ(result->window_same_top[w], same_top);
    EXPECT_NEAR(result->window_change[w], change, 1e-9);
    EXPECT_NEAR(result->window_change_squared[w], squared, 1e-9);
  }
  const DivergenceSummary summary = Summarize(*result);
  EXPECT_NEAR(summary.kl.mean, std::accumulate(token_kl.begin(), token_kl.end(), 0.0) / 45, 1e-9);
  EXPECT_NEAR(result->mean_kl(), summary.kl.mean, 1e-12);
  EXPECT_NEAR(summary.p90, Quantile(token_kl, 0.9), 1e-9);
  EXPECT_NEAR(summary.max, *std::max_element(token_kl.begin(), token_kl.end()), 1e-9);
  EXPECT_EQ(std::accumulate(summary.histogram.counts.begin(), summary.histogram.counts.end(), std::uint64_t{0}), 45u);
}

// A head of zeros predicts every token alike: KL(uniform || q) = -log V - mean log q, and the other way log V -
// entropy.
TEST(Divergence, UniformAgainstPeaked) {
  const auto backend = TestReference();
  const Model uniform = MakeModel(*backend, kVocab, 8, 0);
  const Model peaked = MakeModel(*backend, kVocab, 8, 4);
  const TokenStream stream = RandomStream(kCtx, kVocab);
  const auto logits = WindowLogits(peaked, stream, kCtx, 0);
  ASSERT_TRUE(logits.ok());
  double from_uniform = 0, to_uniform = 0;
  for (std::size_t t = 0; t + 1 < kCtx; ++t) {
    for (const double q : LogSoftmax(logits->data() + t * kVocab)) {
      from_uniform -= q / kVocab;
      to_uniform += std::exp(q) * q;
    }
  }
  const double all = 15 * std::log(static_cast<double>(kVocab));
  EXPECT_NEAR(Compare(uniform, peaked, stream)->window_kl[0], from_uniform - all, 1e-9);
  EXPECT_NEAR(Compare(peaked, uniform, stream)->window_kl[0], to_uniform + all, 1e-9);
}

// The same model by two kernels: what is left is the rounding of fp32.
TEST(Divergence, TwoBackendsDifferByLessThanAnyQuantization) {
  const auto reference = TestReference();
  const auto cpu = TestCpu(2);
  const Model a = MakeModel(*reference, kVocab, 8, 2);
  const Model b = MakeModel(*cpu, kVocab, 8, 2);
  const TokenStream stream = RandomStream(64, kVocab);
  for (const auto& result : {Compare(a, b, stream), Compare(b, a, stream)}) {
    ASSERT_TRUE(result.ok()) << result.error().message;
    EXPECT_GT(result->mean_kl(), 0);
    EXPECT_LT(result->mean_kl(), 1e-10);
  }
}

TEST(Divergence, RefusesAnotherVocabularyAndNaN) {
  const auto backend = TestReference();
  const Model model = MakeModel(*backend, kVocab, 8, 2);
  const Model larger = MakeModel(*backend, kVocab + 2, 8, 2);
  const auto refused = Compare(larger, model, RandomStream(32, kVocab));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kInput);
  EXPECT_NE(refused.error().message.find("42 tokens, the model's 40"), std::string::npos) << refused.error().message;

  Model broken = MakeModel(*backend, kVocab, 8, 2);
  PoisonFinalNorm(broken);
  const auto base_broken = Compare(broken, model, RandomStream(32, kVocab));
  ASSERT_FALSE(base_broken.ok());
  EXPECT_EQ(base_broken.error().code, ErrorCode::kNumerical);
  EXPECT_NE(base_broken.error().message.find("baseline"), std::string::npos);
  const auto model_broken = Compare(model, broken, RandomStream(32, kVocab));
  ASSERT_FALSE(model_broken.ok());
  EXPECT_NE(model_broken.error().message.find("window 1 of 2"), std::string::npos);
}

TEST(Divergence, InterruptionStopsBetweenWindows) {
  const auto backend = TestReference();
  const Model model = MakeModel(*backend, kVocab, 8, 2);
  std::size_t windows = 0;
  const auto result = Compare(model, model, RandomStream(64, kVocab), 0,
                              [&](const DivergenceResult&, std::size_t) { g_interrupted = ++windows == 2; });
  g_interrupted = false;
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kInterrupted);
  EXPECT_EQ(windows, 2u);
}

}  // namespace
}  // namespace marlin
