#include "text/character_bpe.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "base/rng.h"
#include "text/unicode.h"

namespace marlin {
namespace {

using Ids = std::vector<std::int32_t>;

std::vector<std::string> CharactersOf(std::string_view text) {
  std::vector<std::string> characters;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t bytes = CodePointAt(text, i).bytes;
    characters.emplace_back(text.substr(i, bytes));
    i += bytes;
  }
  return characters;
}

// The definition: characters, bytes or unknown tokens; then the leftmost pair of the lowest rank, again and again.
Ids CharacterBpeReference(const CharacterBpe& kind, const VocabularyIndex& index, std::string_view word) {
  Ids ids;
  bool after_unknown = false;
  for (const std::string& character : CharactersOf(word)) {
    const auto found = index.find(character);
    if (found != index.end()) {
      ids.push_back(found->second);
    } else if (kind.byte_fallback) {
      for (const char byte : character) ids.push_back(ByteFallbackIds(index)[static_cast<unsigned char>(byte)]);
    } else if (kind.unknown >= 0 && !(after_unknown && kind.fuse_unknown)) {
      ids.push_back(kind.unknown);
    }
    after_unknown = found == index.end();
  }
  for (;;) {
    std::size_t best_rank = kind.merges.size();
    std::size_t place = 0;
    for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
      for (std::size_t rank = 0; rank < best_rank; ++rank) {
        if (kind.merges[rank].left != ids[i] || kind.merges[rank].right != ids[i + 1]) continue;
        best_rank = rank;
        place = i;
      }
    }
    if (best_rank == kind.merges.size()) return ids;
    ids[place] = kind.merges[best_rank].result;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(place) + 1);
  }
}

// Some characters and random merges of them.
CharacterBpe RandomKind(Rng& rng, bool bytes) {
  CharacterBpe kind;
  kind.vocabulary = {"<unk>", "a", "b", "\u2581", "\u00e9", "\u4e2d", "\U0001f642"};
  if (bytes) {
    for (int byte = 0; byte < 256; ++byte) {
      kind.vocabulary.push_back("<0x" + std::string(1, "0123456789ABCDEF"[byte >> 4]) + "0123456789ABCDEF"[byte & 15] +
                                ">");
    }
  }
  std::vector<std::int32_t> known = {1, 2, 3, 4, 5, 6};
  for (int i = 0; i < 24; ++i) {
    const std::int32_t left = known[rng.Below(known.size())];
    const std::int32_t right = known[rng.Below(known.size())];
    const std::string both =
        kind.vocabulary[static_cast<std::size_t>(left)] + kind.vocabulary[static_cast<std::size_t>(right)];
    if (std::find(kind.vocabulary.begin(), kind.vocabulary.end(), both) != kind.vocabulary.end()) continue;
    known.push_back(static_cast<std::int32_t>(kind.vocabulary.size()));
    kind.merges.push_back({left, right, known.back()});
    kind.vocabulary.push_back(both);
  }
  return kind;
}

std::string RandomWord(Rng& rng) {
  constexpr std::array kCharacters = {"a", "a", "b", "b", "\u2581", "\u00e9", "\u4e2d", "\U0001f642", "x", "\u00df"};
  std::string word;
  for (std::size_t i = 1 + rng.Below(30); i > 0; --i) word += kCharacters[rng.Below(kCharacters.size())];
  return word;
}

TEST(CharacterBpe, DividedOrNotEqualsTheReference) {
  Rng rng(1);
  for (int round = 0; round < 300; ++round) {
    CharacterBpe kind = RandomKind(rng, round % 2 == 0);
    kind.byte_fallback = round % 2 == 0;
    kind.unknown = round % 3 == 0 ? -1 : 0;
    kind.fuse_unknown = round % 5 < 3;
    const auto index = IndexVocabulary(kind.vocabulary, "test");
    ASSERT_TRUE(index.ok());
    const CharacterBpeEncoder encoder = EncoderOf(kind, *index);
    CharacterBpeEncoder::Workspace workspace;
    for (int i = 0; i < 20; ++i) {
      const std::string word = RandomWord(rng);
      const Ids expected = CharacterBpeReference(kind, *index, word);
      Ids whole;
      ASSERT_TRUE(encoder.Encode(word, workspace, whole).ok());
      EXPECT_EQ(whole, expected) << round << " " << word;
      std::vector<std::string_view> parts = {word};
      encoder.Divide(parts);
      Ids divided;
      for (const std::string_view part : parts) ASSERT_TRUE(encoder.Encode(part, workspace, divided).ok());
      EXPECT_EQ(divided, expected) << round << " " << word;
    }
  }
}

TEST(CharacterBpe, DividesWhereNoTokenGoesAcross) {
  CharacterBpe kind;
  kind.vocabulary = {"a", "b", "\u2581", "ab", "\u2581a"};
  kind.merges = {{0, 1, 3}, {2, 0, 4}};
  const auto index = IndexVocabulary(kind.vocabulary, "test");
  const CharacterBpeEncoder encoder = EncoderOf(kind, *index);
  std::vector<std::string_view> parts = {"ab\u2581ab\u2581\u2581b"};
  encoder.Divide(parts);
  EXPECT_EQ(parts, (std::vector<std::string_view>{"ab", "\u2581ab", "\u2581", "\u2581", "b"}));
}

// A merge of the unknown token: no place is safe.
TEST(CharacterBpe, MergesOfTheUnknownTokenKeepWordsWhole) {
  CharacterBpe kind;
  kind.vocabulary = {"u", "a", "ua"};
  kind.merges = {{0, 1, 2}};
  kind.unknown = 0;
  const auto index = IndexVocabulary(kind.vocabulary, "test");
  const CharacterBpeEncoder encoder = EncoderOf(kind, *index);
  std::vector<std::string_view> parts = {"xa"};
  encoder.Divide(parts);
  ASSERT_EQ(parts.size(), 1u);
  CharacterBpeEncoder::Workspace workspace;
  Ids ids;
  ASSERT_TRUE(encoder.Encode("xa", workspace, ids).ok());
  EXPECT_EQ(ids, Ids{2});
}

TEST(CharacterBpe, MergesFromScores) {
  const std::vector<std::string> vocabulary = {"a", "b", "ab", "aab", "aa", "\u00e9", "a\u00e9", "<s>"};
  const std::vector<float> scores = {0, 0, -1, -3, -2, 0, -1, 5};
  std::vector<bool> joins(vocabulary.size(), true);
  const auto index = IndexVocabulary(vocabulary, "test");
  const auto spelled = [&](MergeWays ways) {
    std::string out;
    const auto merges = MergesFromScores(vocabulary, scores, joins, ways, *index, "test");
    EXPECT_TRUE(merges.ok());
    for (const BpeMerge& m : *merges) {
      out += vocabulary[static_cast<std::size_t>(m.left)] + "+" + vocabulary[static_cast<std::size_t>(m.right)] + " ";
    }
    return out;
  };
  EXPECT_EQ(spelled(MergeWays::kLongerLeftFirst), "a+b a+\u00e9 a+a aa+b a+ab ");
  EXPECT_EQ(spelled(MergeWays::kLowerIdsFirst), "a+b a+\u00e9 a+a a+ab aa+b ");
  joins[2] = false;
  EXPECT_EQ(spelled(MergeWays::kLongerLeftFirst), "a+\u00e9 a+a aa+b ");
  EXPECT_FALSE(MergesFromScores({std::string(5000, 'a')}, {0}, {true}, MergeWays::kLowerIdsFirst, {}, "test").ok());
}

TEST(CharacterBpe, AMillionCharactersInOneWord) {
  CharacterBpe kind;
  kind.vocabulary = {"a", "aa", "aaaa"};
  kind.merges = {{0, 0, 1}, {1, 1, 2}};
  const auto index = IndexVocabulary(kind.vocabulary, "test");
  const CharacterBpeEncoder encoder = EncoderOf(kind, *index);
  CharacterBpeEncoder::Workspace workspace;
  Ids ids;
  ASSERT_TRUE(encoder.Encode(std::string(1'000'000, 'a'), workspace, ids).ok());
  EXPECT_EQ(ids, Ids(250'000, 2));
}

}  // namespace
}  // namespace marlin
