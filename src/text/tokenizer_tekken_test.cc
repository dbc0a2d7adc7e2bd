#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "text/base64.h"
#include "text/tokenizer.h"

namespace marlin {
namespace {
using nlohmann::json;
using namespace std::string_literals;

using Ids = std::vector<std::int32_t>;

json TekkenExample() {
  json vocabulary = json::array();
  const auto add = [&](std::string_view bytes) {
    vocabulary.push_back({{"rank", vocabulary.size()}, {"token_bytes", EncodeBase64(bytes)}, {"token_str", nullptr}});
  };
  for (int byte = 0; byte < 256; ++byte) add(std::string(1, static_cast<char>(byte)));
  for (const char* token : {"ab", "abc", " a", "not used"}) add(token);
  return {{"config",
           {{"pattern", R"( ?\p{L}+|\p{N}|[^\p{L}\p{N}])"},
            {"num_vocab_tokens", 260},
            {"default_vocab_size", 264},
            {"default_num_special_tokens", 5},
            {"version", "v3"}}},
          {"vocab", vocabulary}};
}

Result<Tokenizer> TekkenLoad(const json& tekken, std::string_view config = "") {
  return Tokenizer::FromTekken(tekken.dump(), config, "tekken.json");
}

TEST(Tekken, RanksAndSpecialTokens) {
  const auto tokenizer = TekkenLoad(TekkenExample());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ(tokenizer->vocab_size(), 264u);
  EXPECT_TRUE(tokenizer->adds_bos());
  EXPECT_EQ(tokenizer->bos(), 1);
  EXPECT_EQ(*tokenizer->Encode("abc ax1\u00e9"), (Ids{262, 263, 5 + 'x', 5 + '1', 5 + 0xc3, 5 + 0xa9}));
  EXPECT_EQ(*tokenizer->Encode("<s>[INST]<SPECIAL_5>", true).value().begin(), 1);
  EXPECT_EQ(tokenizer->Decode(Ids{3, 262, 263}), "[INST]abc a");
  const auto again = Tokenizer::FromHuggingFace(tokenizer->ToHuggingFaceJson(), "", "again");
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(again->sha256(), tokenizer->sha256());
}

TEST(Tekken, ListedSpecialTokens) {
  json tekken = TekkenExample();
  tekken["special_tokens"] = json::array({{{"rank", 1}, {"token_str", "<s>"}, {"is_control", true}},
                                          {{"rank", 0}, {"token_str", "<x>"}, {"is_control", true}}});
  const auto tokenizer = TekkenLoad(tekken, R"({"add_bos_token": false})");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ(*tokenizer->Encode("<x><SPECIAL_4>", true), (Ids{0, 4}));
  EXPECT_FALSE(tokenizer->adds_bos());
  EXPECT_EQ(tokenizer->eos(), -1);
}

TEST(Tekken, Refusals) {
  const std::vector<std::pair<std::function<void(json&)>, std::string>> broken = {
      {[](json& t) { t = json::array(); }, "not a JSON object"},
      {[](json& t) { t.erase("config"); }, "\"config\""},
      {[](json& t) { t["config"].erase("pattern"); }, "\"pattern\""},
      {[](json& t) { t["config"]["default_vocab_size"] = 5; }, "\"default_vocab_size\" is 5"},
      {[](json& t) { t["config"]["default_vocab_size"] = 1e9; }, "\"default_vocab_size\""},
      {[](json& t) { t["config"]["default_vocab_size"] = 300; }, "295 are wanted"},
      {[](json& t) { t["config"]["default_num_special_tokens"] = 0; }, "one of these"},
      {[](json& t) { t["vocab"][7]["rank"] = 8; }, "token 7 of \"vocab\" has the rank 8"},
      {[](json& t) { t["vocab"][7]["token_bytes"] = "AA=="; }, "is not the byte 7"},
      {[](json& t) { t["vocab"][257]["token_bytes"] = "!"; }, "not base64"},
      {[](json& t) { t["vocab"][257]["token_bytes"] = EncodeBase64("ab"); }, "ids 261 and 262"},
      {[](json& t) { t["vocab"] = 3; }, "\"vocab\""},
      {[](json& t) { t["special_tokens"] = 3; }, "\"special_tokens\""},
      {[](json& t) {
         t["special_tokens"] = json::array({{{"rank", 9}, {"token_str", "x"}}});
       },
       "\"rank\""},
      {[](json& t) {
         t["special_tokens"] = json::array({{{"rank", 0}, {"token_str", ""}}});
       },
       "no name"}};
  for (const auto& [change, words] : broken) {
    json tekken = TekkenExample();
    change(tekken);
    const auto result = TekkenLoad(tekken);
    ASSERT_FALSE(result.ok()) << words;
    EXPECT_EQ(result.error().code, ErrorCode::kInput);
    EXPECT_NE(result.error().message.find(words), std::string::npos) << result.error().message << " lacks " << words;
  }
  json unknown = TekkenExample();
  unknown["config"]["merges"] = 1;
  EXPECT_EQ(TekkenLoad(unknown).error().code, ErrorCode::kUnsupported);
  json pattern = TekkenExample();
  pattern["config"]["pattern"] = "\\w+";
  EXPECT_EQ(TekkenLoad(pattern).error().code, ErrorCode::kUnsupported);
}

TEST(Base64, BothWays) {
  for (const std::string& bytes : {""s, "a"s, "ab"s, "abc"s, "\0\xff\xfe\x01"s}) {
    EXPECT_EQ(DecodeBase64(EncodeBase64(bytes)), bytes);
  }
  EXPECT_EQ(EncodeBase64("ab"), "YWI=");
  for (const char* text : {"a", "ab=", "a===", "====", "YW I", "YWI=YWI="}) EXPECT_FALSE(DecodeBase64(text)) << text;
}

}  // namespace
}  // namespace marlin
