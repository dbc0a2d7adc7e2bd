#include "base/json_error.h"

#include <gtest/gtest.h>

namespace marlin {
namespace {

TEST(JsonError, TheTagOfTheLibraryGoes) {
  EXPECT_EQ(WithoutJsonTag("[json.exception.type_error.302] type must be string, but is null"),
            "type must be string, but is null");
  for (const char* other : {"", "vector::at", "[json.exception.other", "[x] y"})
    EXPECT_EQ(WithoutJsonTag(other), other);
}

TEST(JsonError, ThePhraseNamesThePlaceAndNotTheToken) {
  EXPECT_EQ(WhyNoJson("{\n  \"a\" 1}", 9, "1",
                      "[json.exception.parse_error.101] parse error at line 2, column 7: syntax error while parsing "
                      "object separator - unexpected number literal; last read: '1'; expected ':'"),
            "line 2, column 7: unexpected number literal; expected ':'");
  EXPECT_EQ(WhyNoJson("[1e999]", 6, "1e999", "[json.exception.out_of_range.406] number overflow parsing '1e999'"),
            "line 1, column 6: number overflow");
  EXPECT_EQ(WhyNoJson("", 1, "",
                      "[json.exception.parse_error.101] parse error at line 1, column 1: syntax error while "
                      "parsing value - unexpected end of input; last read: ''; expected a value"),
            "line 1, column 1: unexpected end of input; expected a value");
}

}  // namespace
}  // namespace marlin
