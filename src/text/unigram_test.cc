#include "text/unigram.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.h"

namespace marlin {
namespace {

using Ids = std::vector<std::int32_t>;

// The best sum of scores over all ways to divide a word. 'x' is no token and costs the penalty.
double BestScore(const Unigram& kind, std::string_view word) {
  if (word.empty()) return 0;
  double best = -std::numeric_limits<double>::infinity();
  double least = 0;
  for (std::size_t id = 0; id < kind.vocabulary.size(); ++id) {
    least = std::min(least, kind.scores[id]);
    const std::string& token = kind.vocabulary[id];
    if (word.starts_with(token)) best = std::max(best, kind.scores[id] + BestScore(kind, word.substr(token.size())));
  }
  if (word[0] == 'x') best = std::max(best, least - 10 + BestScore(kind, word.substr(1)));
  return best;
}

Ids UnigramEncoded(const Unigram& kind, std::string_view word) {
  const auto index = IndexVocabulary(kind.vocabulary, "test");
  const UnigramEncoder encoder = EncoderOf(kind, *index);
  UnigramEncoder::Workspace workspace;
  Ids ids;
  EXPECT_TRUE(encoder.Encode(word, workspace, ids).ok());
  return ids;
}

TEST(Unigram, FindsTheBestOfAllWays) {
  Rng rng(1);
  for (int round = 0; round < 200; ++round) {
    Unigram kind;
    kind.vocabulary = {"<unk>", "a", "b", "c", "ab", "bc", "abc", "ca", "aab", "cab"};
    kind.unknown = 0;
    for (std::size_t id = 0; id < kind.vocabulary.size(); ++id) kind.scores.push_back(-5.0 * rng.Uniform());
    std::string word;
    for (int i = 0; i < 8; ++i) word += "abc"[rng.Below(3)];
    double score = 0;
    std::string together;
    for (const std::int32_t id : UnigramEncoded(kind, word)) {
      score += kind.scores[static_cast<std::size_t>(id)];
      together += kind.vocabulary[static_cast<std::size_t>(id)];
    }
    EXPECT_EQ(together, word);
    EXPECT_NEAR(score, BestScore(kind, word), 1e-9);
  }
}

TEST(Unigram, UnknownCharacters) {
  Unigram kind;
  kind.vocabulary = {"<unk>", "a", "ab", "<0x78>"};
  kind.scores = {0, -1, -1.5, -9};
  kind.unknown = 0;
  EXPECT_EQ(UnigramEncoded(kind, "xxab"), (Ids{0, 2})) << "a run of unknown characters is one token";
  EXPECT_EQ(UnigramEncoded(kind, "xaxb"), (Ids{0, 1, 0}));
  EXPECT_EQ(UnigramEncoded(kind, "<unk>"), Ids{0});
  kind.byte_fallback = true;
  EXPECT_EQ(UnigramEncoded(kind, "xxa\u00e9"), (Ids{3, 3, 1, 0})) << "bytes, where all have a token";
  kind.unknown = -1;
  const auto index = IndexVocabulary(kind.vocabulary, "test");
  UnigramEncoder::Workspace workspace;
  Ids ids;
  EXPECT_EQ(EncoderOf(kind, *index).Encode("ay", workspace, ids).error().code, ErrorCode::kUnsupported);
}

TEST(Unigram, BrokenModels) {
  Unigram kind;
  kind.vocabulary = {"a"};
  kind.scores = {std::numeric_limits<double>::infinity()};
  EXPECT_EQ(CheckKind(kind, {}, "t").error().code, ErrorCode::kInput);
  kind.scores = {0};
  EXPECT_TRUE(CheckKind(kind, {}, "t").ok());
  kind.unknown = 1;
  EXPECT_EQ(CheckKind(kind, {}, "t").error().code, ErrorCode::kInput);
}

}  // namespace
}  // namespace marlin
