#include "eval/perplexity.h"

#include <gtest/gtest.h>

#include <cmath>

#include "eval/test_models.h"
#include "kernels/test_device.h"

namespace marlin {
namespace {

TEST(Perplexity, UniformLogitsGiveTheVocabulary) {
  const auto backend = TestReference();
  const Model model = MakeModel(*backend, 50, 8, 0);  // a head of zeros
  const auto result = EvaluatePerplexity(model, RandomStream(70, 50), {16, 0}, {});
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_EQ(result->window_nll.size(), 4u);  // 70 / 16, the tail dropped
  EXPECT_EQ(result->windows_total, 4u);
  EXPECT_EQ(result->scored_per_window, 15u);
  EXPECT_EQ(result->scored_per_window_half, 7u);
  EXPECT_NEAR(std::exp(result->mean_nll()), 50, 1e-4);
  EXPECT_NEAR(std::exp(result->mean_nll_half()), 50, 1e-4);
  EXPECT_EQ(result->scored_bytes, 4u * 15 * 3);
  EXPECT_NEAR(result->bits_per_byte(), std::log2(50.0) / 3, 1e-6);
}

// The same numbers from the logits themselves, in fp64: what is scored where.
TEST(Perplexity, EqualsTheLogSoftmaxOfTheLogits) {
  const auto backend = TestReference();
  const Model model = MakeModel(*backend, 40, 8, 2);
  const TokenStream stream = RandomStream(64, 40);
  const std::size_t ctx = 16;
  const auto result = EvaluatePerplexity(model, stream, {ctx, 3}, {});
  ASSERT_TRUE(result.ok());
  ASSERT_EQ(result->window_nll.size(), 3u);
  EXPECT_EQ(result->windows_total, 4u);
  for (std::size_t w = 0; w < 3; ++w) {
    const auto logits = WindowLogits(model, stream, ctx, w);
    ASSERT_TRUE(logits.ok());
    double all = 0;
    double half = 0;
    for (std::size_t target = 1; target < ctx; ++target) {
      const float* row = logits->data() + (target - 1) * 40;
      double sum = 0;
      for (std::size_t j = 0; j < 40; ++j) sum += std::exp(static_cast<double>(row[j]));
      const double nll = std::log(sum) - row[stream.tokens[w * ctx + target]];
      all += nll;
      if (target >= ctx / 2 + 1) half += nll;
    }
    EXPECT_NEAR(result->window_nll[w], all, 1e-4);
    EXPECT_NEAR(result->window_nll_half[w], half, 1e-4);
  }
}

TEST(Perplexity, WindowsTogetherGiveTheSameNumbers) {
  const auto backend = TestReference();
  const Model model = MakeModel(*backend, 40, 8, 2);
  TokenStream stream = RandomStream(90, 40);
  stream.window_bos = 7;
  const auto alone = EvaluatePerplexity(model, stream, {16, 0, 1}, {});
  ASSERT_TRUE(alone.ok());
  ASSERT_EQ(alone->window_nll.size(), 5u);
  for (const std::size_t at_once : {0, 2, 5, 9}) {
    std::vector<float> states;
    std::size_t calls = 0;
    const auto together = EvaluatePerplexity(
        model, stream, {16, 0, at_once}, [&](const PerplexityResult&, std::size_t) { ++calls; },
        [&](std::span<const float> hidden) -> Status {
          states.insert(states.end(), hidden.begin(), hidden.end());
          return {};
        });
    ASSERT_TRUE(together.ok());
    EXPECT_EQ(together->window_nll, alone->window_nll) << at_once << " at once";
    EXPECT_EQ(calls, 5u);
    EXPECT_EQ(states.size(), 5 * 16 * model.description.hidden_size);
  }
}

TEST(Perplexity, BosReplacesTheFirstTokenOfEveryWindow) {
  const auto backend = TestReference();
  const Model model = MakeModel(*backend, 40, 8, 2);
  TokenStream stream = RandomStream(32, 40);
  stream.window_bos = 7;
  TokenStream overwritten = stream;
  overwritten.window_bos = -1;
  overwritten.tokens[0] = overwritten.tokens[16] = 7;
  const auto a = EvaluatePerplexity(model, stream, {16, 0}, {});
  const auto b = EvaluatePerplexity(model, overwritten, {16, 0}, {});
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_EQ(a->window_nll, b->window_nll);
}

TEST(Perplexity, RefusesWhatItCannotScore) {
  const auto backend = TestReference();
  const Model model = MakeModel(*backend, 40, 8, 2);
  EXPECT_EQ(EvaluatePerplexity(model, RandomStream(15, 40), {16, 0}, {}).error().code, ErrorCode::kInput);
  const auto foreign = EvaluatePerplexity(model, RandomStream(32, 60), {16, 0}, {});
  ASSERT_FALSE(foreign.ok());
  EXPECT_EQ(foreign.error().code, ErrorCode::kInput);
  EXPECT_NE(foreign.error().message.find("vocabulary"), std::string::npos);
}

TEST(Perplexity, NaNIsAnErrorThatNamesTheWindow) {
  const auto backend = TestReference();
  Model model = MakeModel(*backend, 40, 8, 2);
  PoisonFinalNorm(model);
  const auto result = EvaluatePerplexity(model, RandomStream(32, 40), {16, 0}, {});
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kNumerical);
  EXPECT_NE(result.error().message.find("window 1 of 2"), std::string::npos);
}

TEST(Perplexity, InterruptionStopsBetweenWindows) {
  const auto backend = TestReference();
  const Model model = MakeModel(*backend, 40, 8, 2);
  std::size_t windows = 0;
  const auto result = EvaluatePerplexity(model, RandomStream(64, 40), {16, 0},
                                         [&](const PerplexityResult&, std::size_t) { g_interrupted = ++windows == 2; });
  g_interrupted = false;
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kInterrupted);
  EXPECT_EQ(windows, 2u);
}

}  // namespace
}  // namespace marlin
