#include "hub/hub_name.h"

#include <gtest/gtest.h>

#include <string>

#include "base/test_text.h"

namespace marlin {
namespace {

TEST(HubName, PartsOfAName) {
  const auto plain = ParseHubName("org/Model-1.7B_x");
  ASSERT_TRUE(plain.ok());
  EXPECT_EQ(plain->repository, "org/Model-1.7B_x");
  EXPECT_EQ(plain->RevisionOrMain(), "main");
  EXPECT_EQ(plain->file, "");
  const auto whole = ParseHubName("org/m@refs/pr/3:Q4_K_M/m-00001-of-00002.gguf");
  ASSERT_TRUE(whole.ok());
  EXPECT_EQ(whole->repository, "org/m");
  EXPECT_EQ(whole->revision, "refs/pr/3");
  EXPECT_EQ(whole->file, "Q4_K_M/m-00001-of-00002.gguf");
  EXPECT_EQ(whole->Text(), "org/m@refs/pr/3:Q4_K_M/m-00001-of-00002.gguf");
  EXPECT_EQ(ParseHubName("org/m:Q4@x")->file, "Q4@x") << "a file may have the sign of a revision";
}

TEST(HubName, WordsThatAreNoNames) {
  for (const char* word :
       {"",       "model",      "./org/model", "/org/model", "org/model/", "a/b/c",          "org/",
        "/m",     "org//m",     "or g/m",      "org/m\\x",   "../m",       "org/..",         ".org/m",
        "org/m.", "-org/m",     "org/a--b",    "org/a..b",   "org/m.git",  "\xc3\xa4rger/m", "org/m?x",
        "org/m@", "org/m@a..b", "org/m@/a",    "org/m@a//b", "org/m@a b",  "org/m@x.lock",   "org/m@a\nb",
        "org/m:", "org/m:../x", "org/m:/x",    "org/m:a\\b"}) {
    const auto name = ParseHubName(word);
    ASSERT_FALSE(name.ok()) << word;
    EXPECT_EQ(name.error().code, ErrorCode::kUsage) << word;
  }
  EXPECT_TRUE(ParseHubName(std::string(96, 'a') + "/" + std::string(96, 'b')).ok());
  EXPECT_FALSE(ParseHubName(std::string(97, 'a') + "/b").ok());
  EXPECT_FALSE(ParseHubName("a/b@" + std::string(201, 'b')).ok());
}

TEST(HubName, FileNamesThatLeadOutAreRefused) {
  for (const char* name : {"config.json", "a/b/c.txt", "..a/b..", "\xe6\x96\x87.json", "a b", ".gitattributes"}) {
    EXPECT_TRUE(CheckFileName(name).ok()) << name;
  }
  using std::string_view_literals::operator""sv;
  for (const std::string_view name :
       {""sv, "/etc/passwd"sv, "../x"sv, "a/../../x"sv, "a/.."sv, "."sv, "./a"sv, "a/./b"sv, "a//b"sv, "a/"sv, "a\\b"sv,
        "C:\\x"sv, "a\0b"sv, "a\nb"sv, "a\x1b[2Jb"sv, "a\x7f"sv, "a\xc2\x85"sv}) {
    const Status status = CheckFileName(name);
    ASSERT_FALSE(status.ok()) << name;
    EXPECT_EQ(status.error().code, ErrorCode::kInput);
    for (const char c : status.error().message) EXPECT_TRUE(c >= ' ' && c < 0x7f) << status.error().message;
  }
  EXPECT_FALSE(CheckFileName(std::string(201, 'a')).ok());
  EXPECT_FALSE(CheckFileName(std::string(1025, '/')).ok());
}

TEST(HubName, TextOfOthersIsShownInAscii) {
  EXPECT_EQ(QuoteForeign("a\x1b\n\"\x7f\xff"), "\"a\\u001b\\n\\\"\\u007f\\ufffd\"");
  EXPECT_LT(QuoteForeign(std::string(100'000, 'x')).size(), 200u);
}

TEST(HubName, PathsInUrls) { EXPECT_EQ(EscapePath("a b/\xc3\xa9?#%.x"), "a%20b/%C3%A9%3F%23%25.x"); }

}  // namespace
}  // namespace marlin
