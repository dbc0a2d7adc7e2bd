#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include "text/sentencepiece_model.h"
#include "text/tokenizer.h"

namespace marlin {
namespace {
using namespace std::string_literals;

using Ids = std::vector<std::int32_t>;

std::string SpVarint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes.push_back(static_cast<char>(value | 0x80));
  return bytes + static_cast<char>(value);
}
std::string SpNumber(int field, std::uint64_t value) {
  return SpVarint(static_cast<std::uint64_t>(field) << 3) + SpVarint(value);
}
std::string SpBytes(int field, std::string_view value) {
  return SpVarint(static_cast<std::uint64_t>(field) << 3 | 2) + SpVarint(value.size()) + std::string(value);
}
std::string SpFloat(int field, float value) {
  return SpVarint(static_cast<std::uint64_t>(field) << 3 | 5) + std::string(reinterpret_cast<const char*>(&value), 4);
}
std::string SpPiece(std::string_view text, float score, int type = 1) {
  return SpBytes(1, SpBytes(1, text) + SpFloat(2, score) + SpNumber(3, static_cast<std::uint64_t>(type)));
}

// <unk> <s> </s> a b _ ab _a __ and the user's symbol "#_#"; then the bytes of U+00E9.
std::string SpPieces() {
  return SpPiece("<unk>", 0, 2) + SpPiece("<s>", 0, 3) + SpPiece("</s>", 0, 3) + SpPiece("a", -4) + SpPiece("b", -5) +
         SpPiece("\u2581", -6) + SpPiece("ab", -1) + SpPiece("\u2581a", -2) + SpPiece("\u2581\u2581", -3) +
         SpPiece("#\u2581#", 0, 4) + SpPiece("<0xC3>", 0, 6) + SpPiece("<0xA9>", 0, 6);
}
std::string Trainer(int model_type, bool byte_fallback = true) {
  return SpBytes(2, SpNumber(3, static_cast<std::uint64_t>(model_type)) + SpNumber(35, byte_fallback));
}
std::string NormalizerPart(bool prefix, bool remove_extra) {
  return SpBytes(3, SpBytes(1, "identity") + SpNumber(3, prefix) + SpNumber(4, remove_extra));
}

Result<Tokenizer> SpLoad(const std::string& model, std::string_view config = "") {
  return Tokenizer::FromSentencePiece(model, config, "tokenizer.model");
}

Ids SpEncoded(const Result<Tokenizer>& tokenizer, std::string_view text, bool special = false) {
  EXPECT_TRUE(tokenizer.ok()) << (tokenizer.ok() ? "" : tokenizer.error().message);
  const auto ids = tokenizer->Encode(text, special);
  EXPECT_TRUE(ids.ok());
  return ids.ok() ? *ids : Ids{-7};
}

TEST(SentencePieceFile, BpeWithPrefixAndBytes) {
  const auto model = SpLoad(SpPieces() + Trainer(2) + NormalizerPart(true, false));
  EXPECT_EQ(model->kind(), "SentencePiece-style BPE");
  EXPECT_TRUE(model->adds_bos());
  EXPECT_EQ(model->bos(), 1);
  EXPECT_EQ(model->eos(), 2);
  EXPECT_EQ(SpEncoded(model, "ab"), (Ids{5, 6}));
  EXPECT_EQ(SpEncoded(model, " a"), (Ids{5, 7}));
  EXPECT_EQ(SpEncoded(model, "\u00e9z"), (Ids{5, 10, 11, 0}));
  EXPECT_EQ(SpEncoded(model, "a# #b"), (Ids{7, 9, 5, 4}));
  EXPECT_EQ(SpEncoded(model, "<s>a", true), (Ids{1, 7}));
  EXPECT_EQ(model->Decode(Ids{5, 6, 10, 11, 9}), " ab\u00e9# #");
  const auto again = Tokenizer::FromHuggingFace(model->ToHuggingFaceJson(), model->ToHuggingFaceConfigJson(), "again");
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(again->sha256(), model->sha256());
}

TEST(SentencePieceFile, NormalizerAndConfiguration) {
  const auto plain = SpLoad(SpPieces() + Trainer(2) + NormalizerPart(false, false), R"({"add_bos_token": false})");
  EXPECT_FALSE(plain->adds_bos());
  EXPECT_EQ(SpEncoded(plain, "ab  a "), (Ids{6, 5, 7, 5}));
  const auto tidy = SpLoad(SpPieces() + Trainer(2) + NormalizerPart(true, true));
  EXPECT_EQ(SpEncoded(tidy, "  ab   a  "), (Ids{5, 6, 7}));
  EXPECT_EQ(SpEncoded(tidy, "   "), Ids{});
  const auto first = SpLoad(SpPieces() + Trainer(2) + NormalizerPart(true, false), R"({"legacy": false,
      "added_tokens_decoder": {"12": {"content": "<t>", "special": true}}})");
  EXPECT_EQ(first->vocab_size(), 13u);
  EXPECT_EQ(SpEncoded(first, "a<t>a", true), (Ids{7, 12, 3})) << "a space before the text only";
}

TEST(SentencePieceFile, UnigramModels) {
  const auto model = SpLoad(SpPieces() + Trainer(1, false) + NormalizerPart(true, true));
  EXPECT_EQ(model->kind(), "unigram");
  EXPECT_EQ(SpEncoded(model, "ab  a"), (Ids{5, 6, 7}));
  EXPECT_EQ(SpEncoded(model, "zz"), (Ids{5, 0}));
}

TEST(SentencePieceFile, Refusals) {
  const std::string good = SpPieces() + Trainer(2) + NormalizerPart(true, false);
  for (const auto& [model, code, words] : std::vector<std::tuple<std::string, ErrorCode, std::string>>{
           {"", ErrorCode::kInput, "no pieces"},
           {"{\"model\": 1}", ErrorCode::kInput, "tokenizer.model"},
           {good.substr(0, good.size() - 3), ErrorCode::kInput, "cut short"},
           {SpPiece("a", 0) + SpPiece("a", 0), ErrorCode::kInput, "ids 0 and 1"},
           {SpPiece("\xff", 0), ErrorCode::kInput, "piece 0 is not UTF-8"},
           {SpPiece("", 0), ErrorCode::kInput, "piece 0 is empty"},
           {SpPiece("a", std::numeric_limits<float>::quiet_NaN()), ErrorCode::kInput, "score"},
           {SpPiece("a", 0, 9), ErrorCode::kInput, "type 9"},
           {SpBytes(1, SpNumber(1, 3)), ErrorCode::kInput, "field 1 of piece 0"},
           {SpPieces() + SpNumber(2, 3), ErrorCode::kInput, "field 2 of the file"},
           {SpPieces() + Trainer(9), ErrorCode::kInput, "type 9"},
           {SpPieces() + Trainer(3), ErrorCode::kUnsupported, "words"},
           {SpPieces() + Trainer(4), ErrorCode::kUnsupported, "characters"},
           {SpPieces() + SpBytes(2, SpNumber(24, 1)), ErrorCode::kUnsupported, "treat_whitespace_as_suffix"},
           {SpPieces() + SpBytes(3, SpNumber(5, 0)), ErrorCode::kUnsupported, "escape"},
           {SpPieces() + SpBytes(3, SpBytes(2, "abc")), ErrorCode::kInput, "charsmap"}}) {
    const auto result = SpLoad(model);
    ASSERT_FALSE(result.ok()) << words;
    EXPECT_EQ(result.error().code, code) << result.error().message;
    EXPECT_NE(result.error().message.find(words), std::string::npos) << result.error().message << " lacks " << words;
    EXPECT_EQ(result.error().message.find("tokenizer.model"), 0u) << result.error().message;
  }
  for (std::size_t size = 0; size < good.size(); ++size) {
    const auto result = SpLoad(good.substr(0, size));
    EXPECT_TRUE(result.ok() || result.error().code == ErrorCode::kInput) << size;
  }
}

}  // namespace
}  // namespace marlin
