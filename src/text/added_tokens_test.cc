#include "text/added_tokens.h"

#include <gtest/gtest.h>

#include <utility>

namespace marlin {
namespace {

using Pieces = std::vector<std::pair<std::string, std::int32_t>>;

Pieces Split(const std::vector<AddedToken>& tokens, const std::string& text, bool parse_special = true) {
  Pieces pieces;
  for (const auto& piece : AddedTokenMatcher(tokens).Split(text, parse_special)) {
    pieces.emplace_back(std::string(piece.text), piece.id);
  }
  return pieces;
}

AddedToken Token(std::string content, std::int32_t id) {
  AddedToken token;
  token.content = std::move(content);
  token.id = id;
  return token;
}

TEST(AddedTokens, LongestAtTheLeftmostPlace) {
  const std::vector<AddedToken> tokens = {Token("<a", 1), Token("<a>", 2), Token("a>b", 3)};
  EXPECT_EQ(Split(tokens, "x<a>b<a"), (Pieces{{"x", -1}, {"<a>", 2}, {"b", -1}, {"<a", 1}}));
  EXPECT_EQ(Split(tokens, ""), Pieces{});
  EXPECT_EQ(Split({}, "text"), (Pieces{{"text", -1}}));
}

TEST(AddedTokens, SpecialOnesAreTextUnlessAskedFor) {
  AddedToken special = Token("<end>x", 1);
  special.special = true;
  const std::vector<AddedToken> tokens = {special, Token("<end>", 2)};
  EXPECT_EQ(Split(tokens, "<end>x<end>", true), (Pieces{{"<end>x", 1}, {"<end>", 2}}));
  // The refused token hides the shorter one at its place.
  EXPECT_EQ(Split(tokens, "<end>x<end>", false), (Pieces{{"<end>x", -1}, {"<end>", 2}}));
}

TEST(AddedTokens, SingleWord) {
  AddedToken token = Token("des", 1);
  token.single_word = true;
  EXPECT_EQ(Split({token}, "des ades des\u00e9 (des)"),
            (Pieces{{"des", 1}, {" ades des\u00e9 (", -1}, {"des", 1}, {")", -1}}));
}

TEST(AddedTokens, StripsSpaceAround) {
  AddedToken token = Token("#", 1);
  token.lstrip = true;
  EXPECT_EQ(Split({token}, "a \u3000# b"), (Pieces{{"a", -1}, {" \u3000#", 1}, {" b", -1}}));
  token.rstrip = true;
  EXPECT_EQ(Split({token}, " # # b"), (Pieces{{" # ", 1}, {"# ", 1}, {"b", -1}}));
}

}  // namespace
}  // namespace marlin
