#include "text/unicode.h"

#include <gtest/gtest.h>

#include <string>

#include "text/byte_alphabet.h"

namespace marlin {
namespace {

std::string Nfc(std::string_view text) { return NormalizeUnicode(text, UnicodeForm::kNfc); }
using namespace std::string_literals;

TEST(Utf8, NamesTheFirstBadByte) {
  EXPECT_FALSE(FindInvalidUtf8(""));
  EXPECT_FALSE(FindInvalidUtf8("a\0\u00e9\u4e2d\U0001f642"s));
  EXPECT_EQ(FindInvalidUtf8("ab\x80"), 2u);              // lone continuation
  EXPECT_EQ(FindInvalidUtf8("a\xc3"), 1u);               // cut short
  EXPECT_EQ(FindInvalidUtf8("\xc0\x80"), 0u);            // overlong NUL
  EXPECT_EQ(FindInvalidUtf8("\u00e9\xed\xa0\x80"), 2u);  // surrogate
  EXPECT_EQ(FindInvalidUtf8("\xf4\x90\x80\x80"), 0u);    // U+110000
  EXPECT_EQ(FindInvalidUtf8("\xff"), 0u);
}

TEST(Nfc, ComposesAndOrders) {
  EXPECT_EQ(Nfc("plain \u00e9 text"), "plain \u00e9 text");
  EXPECT_EQ(Nfc("xe\u0301y"), "x\u00e9y");
  EXPECT_EQ(Nfc("\u212b"), "\u00c5");                // singleton
  EXPECT_EQ(Nfc("\u0958"), "\u0915\u093c");          // composition exclusion
  EXPECT_EQ(Nfc("q\u0307\u0323"), "q\u0323\u0307");  // 230 before 220 is reordered
  EXPECT_EQ(Nfc("\u1100\u1161\u11a8"), "\uac01");    // Hangul
  EXPECT_EQ(Nfc("<\u0338"), "\u226e");               // ASCII base
  EXPECT_EQ(Nfc("\u0301a\0\u0301"s), "\u0301a\0\u0301"s);
}

TEST(Nfc, LongRunsOfMarksTakeNoQuadraticTime) {
  std::string text = "a";
  std::string sorted = "a";
  constexpr int kMarks = 200'000;  // neighbours swapped one by one: 10^10 steps
  for (int i = 0; i < kMarks; ++i) text += "\u0313\u0323";
  for (int i = 0; i < kMarks; ++i) sorted += "\u0323";
  for (int i = 0; i < kMarks; ++i) sorted += "\u0313";
  EXPECT_EQ(Nfc(text), Nfc(sorted));
}

TEST(CharacterClasses, Samples) {
  for (const char32_t c : {U' ', U'\t', U'\x85', U'\u00a0', U'\u3000', U'\u2029'})
    EXPECT_TRUE(IsWhiteSpace(c)) << static_cast<unsigned>(c);
  for (const char32_t c : {U'a', U'\u180e', U'\u200b', U'\x1f'})
    EXPECT_FALSE(IsWhiteSpace(c)) << static_cast<unsigned>(c);
  for (const char32_t c : {U'a', U'7', U'_', U'\u0301', U'\u24b6', U'\u200d', U'\u2167'})
    EXPECT_TRUE(IsWordCharacter(c)) << static_cast<unsigned>(c);
  for (const char32_t c : {U' ', U'-', U'\u00bd', U'\U0001f642'})
    EXPECT_FALSE(IsWordCharacter(c)) << static_cast<unsigned>(c);
}

TEST(CodePoints, ForwardsAndBackwards) {
  const std::string text = "a\u00e9\U0001f642";
  EXPECT_EQ(CodePointAt(text, 1).value, U'\u00e9');
  EXPECT_EQ(CodePointBefore(text, 3).value, U'\u00e9');
  EXPECT_EQ(CodePointBefore(text, text.size()).bytes, 4u);
}

TEST(ByteAlphabet, EveryByteThereAndBack) {
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes.push_back(static_cast<char>(i));
  const std::string text = ToByteAlphabet(bytes);
  EXPECT_FALSE(FindInvalidUtf8(text));
  EXPECT_EQ(FromByteAlphabet(text), bytes);
  EXPECT_EQ(ToByteAlphabet(" a\n\x80\xff"), "\u0120a\u010a\u0122\u00ff");
}

TEST(ByteAlphabet, OtherCharactersAreNotInIt) {
  for (const std::string text : {"a b", "\n", "\u0144", "\u4e2d", "\xff", "\u00ad"}) {
    EXPECT_FALSE(FromByteAlphabet(text)) << text;
  }
}

}  // namespace
}  // namespace marlin
