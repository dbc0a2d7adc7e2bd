#include "files/json_text.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

namespace marlin {
namespace {

TEST(JsonText, ReadsAndNamesTheFile) {
  EXPECT_EQ((*ParseJson(R"({"a": [1, {"b": "]}"}]})", "x.json"))["a"][1]["b"], "]}");
  for (const char* broken : {"", "{", "{\"a\":}", "[1,]", "nul", "{\"a\": 1e999}", "\"\xff\"", "{} {}", "[NaN]"}) {
    const auto result = ParseJson(broken, "x.json");
    ASSERT_FALSE(result.ok()) << broken;
    EXPECT_EQ(result.error().code, ErrorCode::kInput);
    EXPECT_NE(result.error().message.find("x.json"), std::string::npos);
    EXPECT_NE(result.error().message.find("line 1, column "), std::string::npos) << result.error().message;
    for (const char* raw : {"json.exception", "parse error", "syntax error", "last read"}) {
      EXPECT_EQ(result.error().message.find(raw), std::string::npos) << result.error().message;
    }
  }
  EXPECT_EQ(ParseJson("{\n  \"a\" 1\n}", "x.json").error().message,
            "x.json is not valid JSON: line 2, column 7: unexpected number literal; expected ':'");
}

TEST(JsonText, AMessageHoldsNoLongPieceOfTheFile) {
  EXPECT_LT(ParseJson("{\"a\": \"" + std::string(1'000'000, 'b'), "x").error().message.size(), 200u);
  EXPECT_LT(ParseJson("[" + std::string(100'000, '9') + "e" + std::string(1000, '9') + "]", "x").error().message.size(),
            200u);
}

TEST(JsonText, DeepNestingIsRefusedWithoutRecursion) {
  for (const char* bracket : {"[", "{\"a\":"}) {
    std::string text;
    for (int i = 0; i < 1'000'000; ++i) text += bracket;
    EXPECT_FALSE(ParseJson(text, "x").ok());
  }
  EXPECT_TRUE(ParseJson(std::string(64, '[') + std::string(64, ']'), "x").ok());
  EXPECT_FALSE(ParseJson(std::string(65, '[') + std::string(65, ']'), "x").ok());
  EXPECT_TRUE(ParseJson("\"" + std::string(1000, '[') + "\\\"" + std::string(1000, '[') + "\"", "x").ok())
      << "brackets inside strings do not nest";
}

TEST(JsonText, AKeyTwiceIsRefused) {
  EXPECT_FALSE(ParseJson(R"({"a": 1, "b": 2, "a": 3})", "x").ok());
  EXPECT_FALSE(ParseJson(R"({"o": {"a": 1, "a": 1}})", "x").ok());
  EXPECT_TRUE(ParseJson(R"({"a": {"a": 1}, "b": [{"a": 1}, {"a": 1}]})", "x").ok());
}

TEST(JsonText, LongArraysTakeNoQuadraticTime) {
  std::string text = "[{}";
  for (int i = 0; i < 400'000; ++i) text += ",{}";
  const auto value = ParseJson(text + "]", "x");
  ASSERT_TRUE(value.ok()) << value.error().message;
  EXPECT_EQ(value->size(), 400'001u);
}

}  // namespace
}  // namespace marlin
