#include "model/sampling.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <vector>

namespace marlin {
namespace {

// Logits of these probabilities, with an offset that changes nothing.
std::vector<float> LogitsOf(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p) + 3));
  return logits;
}

std::map<std::int32_t, double> Kept(const std::vector<float>& logits, const SamplingOptions& options) {
  const auto candidates = Candidates(logits, options);
  EXPECT_TRUE(candidates.ok());
  std::map<std::int32_t, double> kept;
  double sum = 0;
  for (const Candidate& candidate : *candidates) {
    kept[candidate.token] = candidate.probability;
    sum += candidate.probability;
  }
  EXPECT_NEAR(sum, 1, 1e-12);
  EXPECT_TRUE(std::ranges::is_sorted(*candidates, {}, &Candidate::token));
  return kept;
}

std::vector<std::int32_t> KeptTokens(const std::vector<double>& probabilities, const SamplingOptions& options) {
  std::vector<std::int32_t> tokens;
  for (const auto& [token, probability] : Kept(LogitsOf(probabilities), options)) tokens.push_back(token);
  return tokens;
}

using Tokens = std::vector<std::int32_t>;

TEST(Sampling, TheTemperatureIsAPowerOfTheProbabilities) {
  const std::vector<double> p = {0.1, 0.6, 0.3};
  for (const double temperature : {0.25, 1.0, 2.0}) {
    const auto kept = Kept(LogitsOf(p), {.temperature = temperature});
    double sum = 0;
    for (const double each : p) sum += std::pow(each, 1 / temperature);
    for (std::size_t i = 0; i < p.size(); ++i) {
      EXPECT_NEAR(kept.at(static_cast<std::int32_t>(i)), std::pow(p[i], 1 / temperature) / sum, 1e-6);
    }
  }
}

TEST(Sampling, TopKKeepsTheMostLikelyAndTheirEquals) {
  const std::vector<double> p = {0.1, 0.4, 0.2, 0.2, 0.1};
  EXPECT_EQ(KeptTokens(p, {.temperature = 1, .top_k = 1}), Tokens({1}));
  EXPECT_EQ(KeptTokens(p, {.temperature = 1, .top_k = 2}), Tokens({1, 2, 3}));
  EXPECT_EQ(KeptTokens(p, {.temperature = 1, .top_k = 3}), Tokens({1, 2, 3}));
  for (const std::size_t k : {std::size_t{0}, std::size_t{5}, std::size_t{99}}) {
    EXPECT_EQ(KeptTokens(p, {.temperature = 1, .top_k = k}).size(), 5u);
  }
  const auto two = Kept(LogitsOf({0.5, 0.3, 0.2}), {.temperature = 1, .top_k = 2});
  EXPECT_NEAR(two.at(0), 0.625, 1e-6);
}

TEST(Sampling, TopPKeepsTheFewestThatReachTheSum) {
  const std::vector<double> p = {0.1, 0.5, 0.25, 0.15};
  EXPECT_EQ(KeptTokens(p, {.temperature = 1, .top_p = 1e-9}), Tokens({1})) << "at least one";
  EXPECT_EQ(KeptTokens(p, {.temperature = 1, .top_p = 0.49}), Tokens({1}));
  EXPECT_EQ(KeptTokens(p, {.temperature = 1, .top_p = 0.51}), Tokens({1, 2}));
  EXPECT_EQ(KeptTokens(p, {.temperature = 1, .top_p = 0.76}), Tokens({1, 2, 3}));
  EXPECT_EQ(KeptTokens(p, {.temperature = 1, .top_p = 1}).size(), 4u);
  const std::vector<double> equal(8, 0.125);
  EXPECT_EQ(KeptTokens(equal, {.temperature = 1, .top_p = 0.3}), Tokens({0, 1, 2})) << "the lower of equal tokens";
}

TEST(Sampling, MinPIsAShareOfTheMostLikely) {
  const std::vector<double> p = {0.05, 0.5, 0.26, 0.19};
  EXPECT_EQ(KeptTokens(p, {.temperature = 1, .min_p = 0.5}), Tokens({1, 2}));
  EXPECT_EQ(KeptTokens(p, {.temperature = 1, .min_p = 0.2}), Tokens({1, 2, 3}));
  EXPECT_EQ(KeptTokens(p, {.temperature = 1, .min_p = 1}), Tokens({1}));
  EXPECT_EQ(KeptTokens({0.5, 0.5}, {.temperature = 1, .min_p = 1}), Tokens({0, 1}));
}

TEST(Sampling, EachStepSeesWhatTheOneBeforeLeft) {
  const std::vector<double> p = {0.4, 0.3, 0.2, 0.1};
  // Of the two that top_k leaves the first has 4/7 = 0.571.
  EXPECT_EQ(KeptTokens(p, {.temperature = 1, .top_k = 2, .top_p = 0.57}), Tokens({0}));
  EXPECT_EQ(KeptTokens(p, {.temperature = 1, .top_k = 2, .top_p = 0.58}), Tokens({0, 1}));
  // The temperature comes first: at 0.5 the first has 16/30 of all.
  EXPECT_EQ(KeptTokens(p, {.temperature = 0.5, .top_p = 0.53}), Tokens({0}));
  EXPECT_EQ(KeptTokens(p, {.temperature = 0.5, .min_p = 0.6}), Tokens({0}));
}

TEST(Sampling, FrequenciesAreTheProbabilities) {
  const std::vector<double> p = {0.05, 0.35, 0.4, 0.2};
  const std::vector<float> logits = LogitsOf(p);
  constexpr int kDraws = 40000;
  std::vector<int> counts(p.size());
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    Sampler sampler({.temperature = 1, .seed = seed});
    for (int i = 0; i < kDraws / 4; ++i) {
      const auto token = sampler.Next(logits);
      ASSERT_TRUE(token.ok());
      ++counts[static_cast<std::size_t>(*token)];
    }
  }
  for (std::size_t i = 0; i < p.size(); ++i) {
    const double five_sigma = 5 * std::sqrt(p[i] * (1 - p[i]) / kDraws);
    EXPECT_NEAR(static_cast<double>(counts[i]) / kDraws, p[i], five_sigma) << i;
  }
}

TEST(Sampling, FirstDrawsOfManySeedsAreIndependentOfEachOther) {
  const std::vector<float> logits = LogitsOf({0.5, 0.5});
  int ones = 0;
  constexpr int kSeeds = 10000;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) ones += *Sampler({.temperature = 1, .seed = seed}).Next(logits);
  EXPECT_NEAR(static_cast<double>(ones) / kSeeds, 0.5, 5 * 0.5 / std::sqrt(kSeeds));
}

TEST(Sampling, TheSameSeedGivesTheSameTokens) {
  const std::vector<float> logits = LogitsOf({0.1, 0.2, 0.3, 0.4});
  const auto draw = [&](std::uint64_t seed) {
    Sampler sampler({.temperature = 1.5, .seed = seed});
    Tokens tokens;
    for (int i = 0; i < 16; ++i) tokens.push_back(*sampler.Next(logits));
    return tokens;
  };
  EXPECT_EQ(draw(42), Tokens({3, 1, 1, 1, 0, 3, 1, 3, 1, 2, 1, 2, 2, 2, 3, 1})) << "on every machine";
  EXPECT_NE(draw(42), draw(43));
}

TEST(Sampling, OneCandidateIsTheMostLikelyToken) {
  const std::vector<float> logits = {-1, 7.5F, 7.25F, -std::numeric_limits<float>::infinity()};
  for (const SamplingOptions& options :
       {SamplingOptions{.temperature = 5, .top_k = 1}, SamplingOptions{.temperature = 1e-6}}) {
    Sampler sampler(options);
    for (int i = 0; i < 50; ++i) EXPECT_EQ(*sampler.Next(logits), 1);
  }
}

TEST(Sampling, DrawsAtTheEnds) {
  const std::vector<Candidate> candidates = {{3, 0.0}, {5, 0.5}, {9, 0.25}, {11, 0.0}};
  EXPECT_EQ(Draw(candidates, 0), 5);
  EXPECT_EQ(Draw(candidates, 0.5), 9);
  EXPECT_EQ(Draw(candidates, 0.999), 9) << "what rounding leaves goes to a token that can be drawn";
}

TEST(Sampling, LogitsThatAreNotFiniteAreAnError) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  for (const std::vector<float>& logits :
       {std::vector<float>{0, nan}, std::vector<float>{nan}, std::vector<float>{infinity, 0},
        std::vector<float>{-infinity, -infinity}, std::vector<float>{}}) {
    const auto token = Sampler({.temperature = 1}).Next(logits);
    ASSERT_FALSE(token.ok());
    EXPECT_EQ(token.error().code, ErrorCode::kNumerical);
  }
}

}  // namespace
}  // namespace marlin
