#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

#include "files/checkpoint.h"
#include "files/test_files.h"
#include "text/byte_alphabet.h"
#include "text/token_stream.h"

namespace marlin {
namespace {
using nlohmann::json;
using namespace std::string_literals;

using Ids = std::vector<std::int32_t>;

// Ids 0..255 are the bytes, 256 "ab", 257 " ab"; "<s>" is 258 and "<t>", not special, 259.
json Example() {
  json vocabulary = json::object();
  for (int byte = 0; byte < 256; ++byte) vocabulary[ToByteAlphabet(std::string(1, static_cast<char>(byte)))] = byte;
  vocabulary["ab"] = 256;
  vocabulary["\u0120ab"] = 257;
  const json space = "\u0120";
  return {{"added_tokens", json::array({{{"id", 258}, {"content", "<s>"}, {"special", true}},
                                        {{"id", 259}, {"content", "<t>"}, {"special", false}}})},
          {"normalizer", nullptr},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
          {"post_processor", nullptr},
          {"model",
           {{"type", "BPE"},
            {"vocab", vocabulary},
            {"merges", json::array({json::array({"a", "b"}), json::array({space, "ab"})})}}}};
}

Result<Tokenizer> Load(const json& tokenizer, const json& config = nullptr) {
  return Tokenizer::FromHuggingFace(tokenizer.dump(), config.is_null() ? "" : config.dump(), "t.json");
}

// The error of Example() after `change`.
Error Refusal(const std::function<void(json&)>& change) {
  json tokenizer = Example();
  change(tokenizer);
  const auto result = Load(tokenizer);
  EXPECT_FALSE(result.ok()) << tokenizer.dump();
  return result.ok() ? Error{} : result.error();
}

Ids Encoded(const Tokenizer& tokenizer, std::string_view text, bool parse_special = false) {
  const auto ids = tokenizer.Encode(text, parse_special);
  EXPECT_TRUE(ids.ok()) << ids.error().message;
  return ids.ok() ? *ids : Ids{-7};
}

TEST(Tokenizer, EncodesAndDecodes) {
  const auto tokenizer = Load(Example());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ(tokenizer->vocab_size(), 260u);
  EXPECT_EQ(Encoded(*tokenizer, ""), Ids{});
  EXPECT_EQ(Encoded(*tokenizer, "ab ab\0ab"s), (Ids{256, 257, 0, 256}));
  EXPECT_EQ(Encoded(*tokenizer, "<s><t>", true), (Ids{258, 259}));
  EXPECT_EQ(Encoded(*tokenizer, "<s><t>", false), (Ids{'<', 's', '>', 259}));
  EXPECT_EQ(tokenizer->Decode(Ids{258, 257, 0xc3, 0xa9, 259, 0, -1, 260}), "<s> ab\u00e9<t>\0"s);
  const auto bad = tokenizer->Encode("ab\u00e9\xff");
  ASSERT_FALSE(bad.ok());
  EXPECT_EQ(bad.error().code, ErrorCode::kInput);
  EXPECT_NE(bad.error().message.find("byte 4"), std::string::npos) << bad.error().message;
}

TEST(Tokenizer, BosPolicy) {
  json tokenizer = Example();
  tokenizer["post_processor"] = {
      {"type", "Sequence"},
      {"processors",
       json::array({{{"type", "ByteLevel"}},
                    {{"type", "TemplateProcessing"},
                     {"single", json::array({{{"SpecialToken", {{"id", "<s>"}}}}, {{"Sequence", {{"id", "A"}}}}})},
                     {"special_tokens", {{"<s>", {{"ids", {258}}}}}}}})}};
  EXPECT_FALSE(Load(Example())->adds_bos());
  EXPECT_EQ(Load(Example())->bos(), -1);
  EXPECT_TRUE(Load(tokenizer)->adds_bos());
  EXPECT_EQ(Load(tokenizer)->bos(), 258);
  EXPECT_FALSE(Load(tokenizer, {{"add_bos_token", false}})->adds_bos());
  const auto named =
      Load(Example(), {{"add_bos_token", true}, {"bos_token", {{"content", "<s>"}}}, {"eos_token", "ab"}});
  ASSERT_TRUE(named.ok()) << named.error().message;
  EXPECT_TRUE(named->adds_bos());
  EXPECT_EQ(named->bos(), 258);
  EXPECT_EQ(named->eos(), 256);
  EXPECT_EQ(Load(Example(), {{"add_bos_token", true}}).error().code, ErrorCode::kInput);
  EXPECT_EQ(Load(Example(), {{"add_bos_token", 1}}).error().code, ErrorCode::kInput);
}

TEST(Tokenizer, SeveralTokensInFront) {
  json tokenizer = Example();
  tokenizer["added_tokens"].push_back({{"id", 260}, {"content", "<sop>"}, {"special", true}});
  tokenizer["post_processor"] = {{"type", "TemplateProcessing"},
                                 {"single", json::array({{{"SpecialToken", {{"id", "<s>"}}}},
                                                         {{"SpecialToken", {{"id", "<sop>"}}}},
                                                         {{"Sequence", {{"id", "A"}}}}})},
                                 {"special_tokens", {{"<s>", {{"ids", {258}}}}, {"<sop>", {{"ids", {260}}}}}}};
  const auto loaded = Load(tokenizer, {{"bos_token", "<t>"}});
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  EXPECT_EQ(loaded->prefix(), (Ids{258, 260}));
  EXPECT_EQ(loaded->bos(), 260);
  EXPECT_EQ(Load(tokenizer, {{"add_bos_token", false}})->prefix(), Ids{});
  const auto stream = MakeTokenStream(*loaded, "ab ab ab");
  ASSERT_TRUE(stream.ok()) << stream.error().message;
  EXPECT_EQ(stream->tokens, (Ids{258, 260, 256, 257, 257}));
  EXPECT_EQ(stream->token_bytes, (std::vector<std::uint32_t>{0, 0, 2, 3, 3}));
  EXPECT_EQ(stream->Window(2, 3), (Ids{258, 260, 257}));
}

// A space that the tokenizer adds is no byte of the text.
TEST(Tokenizer, BytesOfTokensAreThoseOfTheText) {
  json tokenizer = Example();
  tokenizer["pre_tokenizer"]["add_prefix_space"] = true;
  for (const std::string text : {"ab ab", " ab ab"}) {
    const auto stream = MakeTokenStream(*Load(tokenizer), text);
    ASSERT_TRUE(stream.ok());
    EXPECT_EQ(std::accumulate(stream->token_bytes.begin(), stream->token_bytes.end(), std::size_t{0}), text.size());
  }
}

// Results are compared by this hash, and records that are published hold it.
TEST(Tokenizer, TheHashOfMinnowStays) {
  const std::string text = Slurp(MARLIN_SOURCE_DIR "/models/minnow/tokenizer.json");
  const auto tokenizer = Tokenizer::FromHuggingFace(text, "", "minnow");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ(tokenizer->sha256(), "669324914c202f8eace85b25e988da4967886682f1f914180fe06fcce467298b");
}

TEST(Tokenizer, HashFollowsWhatDecidesEncode) {
  const std::string hash = Load(Example())->sha256();
  EXPECT_EQ(hash.size(), 64u);
  EXPECT_EQ(Load(Example(), {{"eos_token", "<s>"}})->sha256(), hash);
  const std::vector<std::function<void(json&)>> changes = {
      [](json& t) { std::swap(t["model"]["merges"][0], t["model"]["merges"][1]); },
      [](json& t) { t["model"]["merges"].erase(1); },
      [](json& t) { t["model"]["ignore_merges"] = true; },
      [](json& t) {
        t["normalizer"] = {{"type", "NFC"}};
      },
      [](json& t) { t["pre_tokenizer"]["use_regex"] = false; },
      [](json& t) { t["added_tokens"][1]["special"] = true; },
      [](json& t) { std::swap(t["model"]["vocab"]["a"], t["model"]["vocab"]["b"]); },
  };
  for (std::size_t i = 0; i < changes.size(); ++i) {
    json tokenizer = Example();
    changes[i](tokenizer);
    const auto changed = Load(tokenizer);
    ASSERT_TRUE(changed.ok()) << changed.error().message;
    EXPECT_NE(changed->sha256(), hash) << i;
  }
  json strings = Example();
  strings["model"]["merges"] = {"a b", "\u0120 ab"};
  EXPECT_EQ(Load(strings)->sha256(), hash);
}

TEST(Tokenizer, BrokenFilesNameTheOffender) {
  const std::vector<std::pair<std::function<void(json&)>, std::string>> broken = {
      {[](json& t) { t["model"]["vocab"]["ab"] = 7; }, "same id 7"},
      {[](json& t) { t["model"]["vocab"]["ab"] = 300; }, "\"ab\" has id 300"},
      {[](json& t) { t["model"]["vocab"]["ab"] = -1; }, "\"ab\""},
      {[](json& t) { t["model"]["vocab"]["ab"] = 1.5; }, "\"ab\""},
      {[](json& t) { t["model"]["vocab"]["ab"] = 1e300; }, "\"ab\""},
      {[](json& t) { t["model"]["vocab"] = json::array(); }, "\"vocab\""},
      {[](json& t) {
         t["model"]["merges"][0] = {"a", "zz"};
       },
       "\"zz\""},
      {[](json& t) {
         t["model"]["merges"][0] = {"b", "b"};
       },
       "\"bb\""},
      {[](json& t) { t["model"]["merges"][1] = "abc"; }, "merge 1"},
      {[](json& t) { t["model"]["merges"][1] = "a b c"; }, "merge 1"},
      {[](json& t) {
         t["model"]["merges"][1] = {"a", 1};
       },
       "merge 1"},
      {[](json& t) { t["model"]["merges"] = "a b"; }, "\"merges\""},
      {[](json& t) { t["model"] = 7; }, "\"model\""},
      {[](json& t) { t["added_tokens"][0]["id"] = 300; }, "\"<s>\" has id 300"},
      {[](json& t) { t["added_tokens"][0]["content"] = "ab"; }, "\"ab\" has id 258"},
      {[](json& t) { t["added_tokens"][1]["content"] = "<s>"; }, "258 and 259"},
      {[](json& t) { t["added_tokens"][0]["content"] = ""; }, "empty"},
      {[](json& t) { t["added_tokens"][0]["special"] = "yes"; }, "\"special\""},
      {[](json& t) { t["added_tokens"] = 3; }, "\"added_tokens\""},
      {[](json& t) { t["pre_tokenizer"]["add_prefix_space"] = 1; }, "\"add_prefix_space\""},
      {[](json& t) { t["pre_tokenizer"]["type"] = 1; }, "\"type\""},
      {[](json& t) {
         t["pre_tokenizer"] = {{"type", "Split"}};
       },
       "\"pattern\""},
      {[](json& t) {
         t["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"Regex", "a"}}}, {"behavior", "x"}};
       },
       "\"x\""},
      {[](json& t) {
         t["pre_tokenizer"] = {{"type", "Sequence"}};
       },
       "\"pretokenizers\""},
  };
  for (const auto& [change, words] : broken) {
    const Error error = Refusal(change);
    EXPECT_EQ(error.code, ErrorCode::kInput) << error.message;
    EXPECT_NE(error.message.find(words), std::string::npos) << error.message << " lacks " << words;
    EXPECT_EQ(error.message.find("t.json"), 0u) << error.message;
  }
}

TEST(Tokenizer, OtherKindsAreNamedAndRefused) {
  const std::vector<std::pair<std::function<void(json&)>, std::string>> other = {
      {[](json& t) { t["model"]["type"] = "WordPiece"; }, "WordPiece"},
      {[](json& t) { t["model"]["dropout"] = 0.1; }, "dropout"},
      {[](json& t) {
         t["model"]["vocab"] = json::object();
         t["model"]["merges"] = json::array();
         t["added_tokens"] = json::array();
       },
       "0x20"},
      {[](json& t) { t["model"]["continuing_subword_prefix"] = "##"; }, "##"},
      {[](json& t) { t["model"]["end_of_word_suffix"] = "</w>"; }, "</w>"},
      {[](json& t) {
         t["normalizer"] = {{"type", "BertNormalizer"}};
       },
       "BertNormalizer"},
      {[](json& t) {
         t["pre_tokenizer"] = {{"type", "UnicodeScripts"}};
       },
       "UnicodeScripts"},
      {[](json& t) {
         t["post_processor"] = {{"type", "BertProcessing"}};
       },
       "BertProcessing"},
      {[](json& t) { t["added_tokens"][0]["content"] = std::string(5000, 'x'); }, "5000"},
      {[](json& t) {
         t["model"]["vocab"].erase("a");
         t["model"]["vocab"]["odd"] = static_cast<int>('a');
         t["model"]["merges"] = json::array();
         t["model"]["byte_fallback"] = true;
       },
       "0x61"},
      {[](json& t) {
         t["pre_tokenizer"] = {{"type", "Sequence"},
                               {"pretokenizers",
                                {{{"type", "Split"}, {"pattern", {{"Regex", "\\w+"}}}, {"behavior", "Isolated"}},
                                 {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
       },
       "\\w"},
  };
  for (const auto& [change, words] : other) {
    const Error error = Refusal(change);
    EXPECT_EQ(error.code, ErrorCode::kUnsupported) << error.message;
    EXPECT_NE(error.message.find(words), std::string::npos) << error.message << " lacks " << words;
  }
}

TEST(Tokenizer, MembersThatCouldChangeTokensAreNamed) {
  const json sequence = {{"Sequence", {{"id", "A"}}}};
  const json special = {{"SpecialToken", {{"id", "<s>"}}}};
  const auto with_template = [&](const json& single) {
    return [single](json& t) {
      t["post_processor"] = {{"type", "TemplateProcessing"},
                             {"single", single},
                             {"pair", json::array()},
                             {"special_tokens", {{"<s>", {{"ids", {258}}}}}}};
    };
  };
  const std::vector<std::pair<std::function<void(json&)>, std::string>> unknown = {
      {[](json& t) { t["a_new_part"] = 1; }, "\"a_new_part\""},
      {[](json& t) { t["model"]["max_input_chars_per_word"] = 100; }, "\"max_input_chars_per_word\""},
      {[](json& t) { t["pre_tokenizer"]["split_long_words"] = true; }, "\"split_long_words\""},
      {[](json& t) { t["added_tokens"][0]["ignore_case"] = true; }, "\"ignore_case\""},
      {[](json& t) {
         t["normalizer"] = {{"type", "NFC"}, {"strip_accents", true}};
       },
       "\"strip_accents\""},
      {with_template(json::array({special, sequence, special})), "special tokens before the text"},
      {with_template(json::array({sequence, special})), "special tokens before the text"},
  };
  for (const auto& [change, words] : unknown) {
    const Error error = Refusal(change);
    EXPECT_EQ(error.code, ErrorCode::kUnsupported) << error.message;
    EXPECT_NE(error.message.find(words), std::string::npos) << error.message << " lacks " << words;
  }
  for (const char* key : {"add_eos_token", "do_lower_case", "add_prefix_space"}) {
    const auto refused = Load(Example(), {{key, true}});
    ASSERT_FALSE(refused.ok()) << key;
    EXPECT_EQ(refused.error().code, ErrorCode::kUnsupported);
    EXPECT_NE(refused.error().message.find(key), std::string::npos) << refused.error().message;
    EXPECT_TRUE(Load(Example(), {{key, false}}).ok()) << key;
  }
  json prefixed = Example();
  prefixed["pre_tokenizer"]["add_prefix_space"] = true;
  EXPECT_TRUE(Load(prefixed, {{"add_prefix_space", true}}).ok());
  EXPECT_TRUE(Load(prefixed).ok());
  EXPECT_FALSE(Load(prefixed, {{"add_prefix_space", false}}).ok());
  json harmless = Example();
  harmless["truncation"] = {{"max_length", 512}};
  harmless["padding"] = {{"strategy", "BatchLongest"}};
  harmless["model"]["fuse_unk"] = false;
  with_template(json::array({special, sequence}))(harmless);
  const auto loaded = Load(harmless, {{"clean_up_tokenization_spaces", true}, {"model_max_length", 2048}});
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  EXPECT_TRUE(loaded->adds_bos());
}

TEST(Tokenizer, HostileTextIsAnError) {
  const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  const std::string good = Example().dump();
  for (const std::string& text :
       {""s, "{"s, "[]"s, "null"s, "\xff\xfe"s, deep, "{\"model\":"s + deep + "}", good.substr(0, good.size() / 2)}) {
    const auto result = Tokenizer::FromHuggingFace(text, "", "t.json");
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code, ErrorCode::kInput);
  }
  for (const std::string& config : {"{"s, "[]"s, deep, "{\"bos_token\": 3}"s, "{\"bos_token\": {}}"s}) {
    const auto result = Tokenizer::FromHuggingFace(good, config, "t.json");
    ASSERT_FALSE(result.ok()) << config.substr(0, 40);
    EXPECT_EQ(result.error().code, ErrorCode::kInput);
  }
}

// Every value of the file replaced by others: an error or a tokenizer, never a crash.
TEST(Tokenizer, AnyValueMayHaveAnyType) {
  json small = Example();
  small["post_processor"] = {{"type", "TemplateProcessing"},
                             {"single", json::array({{{"SpecialToken", {{"id", "<s>"}}}}})},
                             {"special_tokens", {{"<s>", {{"ids", {258}}}}}}};
  small["normalizer"] = {{"type", "Sequence"}, {"normalizers", json::array({{{"type", "NFC"}}})}};
  int loaded = 0;
  int refused = 0;
  const json flat = small.flatten();
  for (const auto& [pointer, value] : flat.items()) {
    if (pointer.starts_with("/model/vocab/") && !pointer.ends_with("b")) continue;
    for (json::json_pointer place(pointer); !place.empty(); place = place.parent_pointer()) {
      for (const json& other :
           {json(), json(true), json(-3), json(0.5), json("x"), json::array({1}), json({{"a", 1}})}) {
        json changed = small;
        changed[place] = other;
        const auto result = Load(changed, {{"bos_token", "<s>"}});
        ++(result.ok() ? loaded : refused);
        EXPECT_TRUE(!result.ok() || result->Encode("ab <s>").ok()) << changed.dump();
      }
    }
  }
  EXPECT_GT(loaded, 10);
  EXPECT_GT(refused, 200);
}

class TokenizerFiles : public TemporaryFolder {
 protected:
  // The same tokenizer as Example(), as a GGUF file.
  static GgufBuilder Gguf(std::string_view model = "gpt2", std::string_view pre = "gpt-2",
                          std::vector<std::string> merges = {"a b", "\u0120 ab"}, std::int32_t last_type = 4) {
    std::string tokens;
    std::string types;
    for (int byte = 0; byte < 256; ++byte) {
      tokens += GgufBuilder::String(ToByteAlphabet(std::string(1, static_cast<char>(byte))));
      types += Raw<std::int32_t>(1);
    }
    for (const std::string token : {"ab", "\u0120ab", "<s>", "<t>"}) tokens += GgufBuilder::String(token);
    for (const std::int32_t type : {1, 1, 3, last_type}) types += Raw(type);
    std::string merge_bytes;
    for (const std::string& merge : merges) merge_bytes += GgufBuilder::String(merge);
    GgufBuilder builder;
    builder.Text("tokenizer.ggml.model", model);
    if (!pre.empty()) builder.Text("tokenizer.ggml.pre", pre);
    builder.Array("tokenizer.ggml.tokens", GgufType::kString, 260, tokens);
    builder.Array("tokenizer.ggml.token_type", GgufType::kI32, 260, types);
    builder.Array("tokenizer.ggml.merges", GgufType::kString, merges.size(), merge_bytes);
    builder.U32("tokenizer.ggml.bos_token_id", 258);
    return builder;
  }

  Error GgufRefusal(const GgufBuilder& builder) {
    const auto result = Tokenizer::FromGguf(Write("t.gguf", builder.Bytes()));
    EXPECT_FALSE(result.ok());
    return result.ok() ? Error{} : result.error();
  }
};

TEST_F(TokenizerFiles, GgufAndItsTokenizerJsonAreTheSameTokenizer) {
  for (const std::string_view pre :
       {"gpt-2", "smollm", "qwen2", "qwen35", "llama-bpe", "default", "falcon", "tekken"}) {
    GgufBuilder builder = Gguf("gpt2", pre);
    builder.Text("tokenizer.chat_template", "{{ x }}");
    const auto gguf = Tokenizer::FromGguf(Write("t.gguf", builder.Bytes()));
    ASSERT_TRUE(gguf.ok()) << gguf.error().message;
    EXPECT_EQ(Encoded(*gguf, "ab ab<s><t>"), (Ids{256, 257, '<', 's', '>', 259}));
    EXPECT_EQ(gguf->adds_bos(), pre == "llama-bpe" || pre == "tekken");
    const auto again = Tokenizer::FromHuggingFace(gguf->ToHuggingFaceJson(), gguf->ToHuggingFaceConfigJson(), "again");
    ASSERT_TRUE(again.ok()) << again.error().message;
    EXPECT_EQ(again->sha256(), gguf->sha256()) << pre;
    EXPECT_EQ(again->adds_bos(), gguf->adds_bos());
    EXPECT_EQ(again->bos(), 258);
    EXPECT_EQ(again->vocab_size(), 260u);
    EXPECT_EQ(again->ToHuggingFaceJson(), gguf->ToHuggingFaceJson());
    EXPECT_EQ(json::parse(gguf->ToHuggingFaceConfigJson())["chat_template"], "{{ x }}");
  }
}

// SentencePiece's vocabulary: scores instead of merges, bytes for what has no token.
GgufBuilder ScoredGguf(float score_of_ab = -1) {
  const std::vector<std::tuple<std::string, float, std::int32_t>> tokens = {
      {"<unk>", 0, 2}, {"<s>", 0, 3},      {"</s>", 0, 3}, {"a", -4, 1},     {"b", -5, 1},     {"\u2581", -6, 1},
      {"ab", 0, 1},    {"\u2581a", -2, 1}, {"<t>", 0, 4},  {"<0xC3>", 0, 6}, {"<0xA9>", 0, 6}, {"", 0, 5}};
  std::string texts, scores, types;
  for (const auto& [text, score, type] : tokens) {
    texts += GgufBuilder::String(text);
    scores += Raw(text == "ab" ? score_of_ab : score);
    types += Raw(type);
  }
  GgufBuilder builder;
  builder.Text("tokenizer.ggml.model", "llama");
  builder.Array("tokenizer.ggml.tokens", GgufType::kString, tokens.size(), texts);
  builder.Array("tokenizer.ggml.scores", GgufType::kF32, tokens.size(), scores);
  builder.Array("tokenizer.ggml.token_type", GgufType::kI32, tokens.size(), types);
  return builder;
}

TEST_F(TokenizerFiles, GgufWithScores) {
  const auto gguf = Tokenizer::FromGguf(Write("t.gguf", ScoredGguf().Bytes()));
  ASSERT_TRUE(gguf.ok()) << gguf.error().message;
  EXPECT_EQ(gguf->kind(), "SentencePiece-style BPE");
  EXPECT_TRUE(gguf->adds_bos());
  EXPECT_EQ(gguf->bos(), 1);
  EXPECT_EQ(Encoded(*gguf, "ab \u00e9<t>a<s>"), (Ids{5, 6, 5, 9, 10, 8, 7, 0}));
  EXPECT_EQ(Encoded(*gguf, "<s>a", true), (Ids{1, 7}));
  EXPECT_EQ(gguf->Decode(Ids{7, 9, 10}), " a\u00e9");
  const auto again = Tokenizer::FromHuggingFace(gguf->ToHuggingFaceJson(), gguf->ToHuggingFaceConfigJson(), "again");
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(again->sha256(), gguf->sha256());
  GgufBuilder plain = ScoredGguf(-3);
  plain.Pair("tokenizer.ggml.add_space_prefix", GgufType::kBool, Raw<std::uint8_t>(0));
  EXPECT_EQ(Encoded(*Tokenizer::FromGguf(Write("p.gguf", plain.Bytes())), "ab ab"), (Ids{6, 7, 4}));
  EXPECT_EQ(GgufRefusal(ScoredGguf(std::numeric_limits<float>::infinity())).code, ErrorCode::kInput);
}

TEST_F(TokenizerFiles, GgufBosPolicyOfTheFileWins) {
  GgufBuilder builder = Gguf("gpt2", "llama-bpe");
  builder.Pair("tokenizer.ggml.add_bos_token", GgufType::kBool, Raw<std::uint8_t>(0));
  EXPECT_FALSE(Tokenizer::FromGguf(Write("t.gguf", builder.Bytes()))->adds_bos());
}

TEST_F(TokenizerFiles, GgufRefusals) {
  for (const auto& [builder, code, words] : std::vector<std::tuple<GgufBuilder, ErrorCode, std::string>>{
           {Gguf("llama"), ErrorCode::kInput, "tokenizer.ggml.scores"},
           {Gguf("bert"), ErrorCode::kUnsupported, "\"bert\""},
           {Gguf("gpt2", "brand-new"), ErrorCode::kUnsupported, "\"brand-new\""},
           {Gguf("gpt2", ""), ErrorCode::kUnsupported, "missing"},
           {GgufBuilder(), ErrorCode::kInput, "tokenizer.ggml.model"},
           {Gguf("gpt2", "gpt-2", {"a zz"}), ErrorCode::kInput, "\"zz\""},
           {Gguf("gpt2", "gpt-2", {"ab"}), ErrorCode::kInput, "merge 0"},
           {Gguf("gpt2", "gpt-2", {"a \xff"}), ErrorCode::kInput, "merge 0"},
           {Gguf("gpt2", "gpt-2", {}, 9), ErrorCode::kInput, "type 9"},
           {Gguf().U32("tokenizer.ggml.eos_token_id", 260), ErrorCode::kInput, "260"},
           {Gguf().U32("tokenizer.ggml.padding_token_id", 0xffffffff), ErrorCode::kInput, "4294967295"}}) {
    const Error error = GgufRefusal(builder);
    EXPECT_EQ(error.code, code) << error.message;
    EXPECT_NE(error.message.find(words), std::string::npos) << error.message << " lacks " << words;
    EXPECT_NE(error.message.find("t.gguf"), std::string::npos) << error.message;
  }
}

TEST_F(TokenizerFiles, FromCheckpoint) {
  Checkpoint folder;
  folder.path = folder_;
  const auto missing = Tokenizer::FromCheckpoint(folder);
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, ErrorCode::kInput);
  EXPECT_NE(missing.error().message.find("tokenizer.json"), std::string::npos);
  EXPECT_FALSE(Tokenizer::IsThere(folder));

  Write("tokenizer.json", "{");
  EXPECT_TRUE(Tokenizer::IsThere(folder)) << "a broken one is there";
  Write("tokenizer.json", Example().dump());
  EXPECT_EQ(Tokenizer::FromCheckpoint(folder)->eos(), -1);
  Write("tokenizer_config.json", R"({"eos_token": "<s>"})");
  const auto found = Tokenizer::FromCheckpoint(folder);
  ASSERT_TRUE(found.ok()) << found.error().message;
  EXPECT_EQ(found->eos(), 258);
  EXPECT_EQ(found->ToHuggingFaceJson(), Example().dump());
  EXPECT_EQ(found->ToHuggingFaceConfigJson(), R"({"eos_token": "<s>"})");

  Checkpoint gguf;
  gguf.container = Container::kGguf;
  gguf.path = Write("t.gguf", Gguf().Bytes());
  EXPECT_EQ(Tokenizer::FromCheckpoint(gguf)->bos(), 258);
  EXPECT_TRUE(Tokenizer::IsThere(gguf));
  gguf.path = Write("bare.gguf", GgufBuilder().Bytes());
  EXPECT_FALSE(Tokenizer::IsThere(gguf));
}

}  // namespace
}  // namespace marlin
