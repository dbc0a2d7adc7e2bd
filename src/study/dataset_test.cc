#include "study/dataset.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "base/file.h"
#include "base/sha256.h"
#include "base/test_environment.h"
#include "base/test_text.h"
#include "hub/http_test_server.h"
#include "hub/zip_test_file.h"

namespace marlin {
namespace {

namespace fs = std::filesystem;
using Connection = HttpTestServer::Connection;

// Read once, before a test changes the environment.
const fs::path& StandardFile() {
  static const fs::path path = [] {
    const char* data = std::getenv("METAL_MARLIN_DATA");
    return data == nullptr ? fs::path() : fs::path(data) / "wikitext-2-raw/wiki.test.raw";
  }();
  return path;
}
bool HaveStandardFile() { return !StandardFile().empty() && fs::exists(StandardFile()); }

// Each test has a folder of its own and an environment that leads nowhere else.
class DatasetTest : public testing::Test {
 protected:
  const SavedEnvironment saved_{"METAL_MARLIN_DATA", "XDG_CACHE_HOME",       "HF_ENDPOINT",
                                "HF_HUB_OFFLINE",    "TRANSFORMERS_OFFLINE", "HOME"};
  void SetUp() override {
    StandardFile();
    std::string pattern = (fs::temp_directory_path() / "marlin-dataset-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    ::setenv("XDG_CACHE_HOME", (folder_ / "xdg").c_str(), 1);
    for (const char* name : {"METAL_MARLIN_DATA", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"}) ::unsetenv(name);
    ::setenv("HF_ENDPOINT", "http://127.0.0.1:1", 1);
    options_.cache_dir = folder_ / "cache";
    options_.offline = true;
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path Write(const fs::path& name, std::string_view text) const {
    fs::create_directories((folder_ / name).parent_path());
    EXPECT_TRUE(WriteFileAtomic(folder_ / name, text));
    return folder_ / name;
  }
  fs::path cached() const { return options_.cache_dir / "wikitext-2-raw" / "wiki.test.raw"; }

  // FindWikiText2 against a server that sends a zip of these entries, and what it left in the cache's folder.
  Result<EvalText> FindOnServer(const std::vector<ZipTestEntry>& entries, std::size_t cut_bytes = 0) {
    WriteZip(folder_ / "served.zip", entries);
    std::string zip = *ReadFile(folder_ / "served.zip");
    zip.resize(zip.size() - cut_bytes);
    const HttpTestServer server([&](int, const std::string& request, const Connection& connection) {
      const bool right = request.starts_with("GET /datasets/ggml-org/ci/resolve/main/wikitext-2-raw-v1.zip ");
      connection.Send(right ? HttpResponse("200 OK", zip) : HttpResponse("404 Not Found", ""));
    });
    options_.offline = false;
    options_.endpoint = server.url() + "/";
    return FindWikiText2(options_, nullptr);
  }

  void ExpectNothingLeft() const {
    EXPECT_FALSE(fs::exists(cached()));
    EXPECT_TRUE(!fs::exists(cached().parent_path()) || fs::is_empty(cached().parent_path()));
  }

  fs::path folder_;
  DatasetOptions options_;
};

constexpr const char* kNoData = "METAL_MARLIN_DATA does not name a folder with wikitext-2-raw/wiki.test.raw";

TEST_F(DatasetTest, AGivenFileKeepsItsName) {
  options_.data = Write("story.txt", "Once upon a time.\n");
  const auto text = FindWikiText2(options_, nullptr);
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_EQ(text->name, "story.txt");
  EXPECT_EQ(text->text, "Once upon a time.\n");
  EXPECT_EQ(text->sha256, Sha256Hex("Once upon a time.\n"));
  EXPECT_FALSE(text->is_standard);
  EXPECT_TRUE(text->warnings.empty());
}

TEST_F(DatasetTest, LookingOnlyHereNeverDownloads) {
  options_.offline = false;  // and no server listens on the endpoint's port
  const auto nothing = FindLocalWikiText2(options_);
  ASSERT_TRUE(nothing) << nothing.error().message;
  EXPECT_FALSE(nothing->has_value());
  ExpectNothingLeft();
  fs::create_directories(cached().parent_path());
  ASSERT_TRUE(WriteFileAtomic(cached(), "damaged"));
  EXPECT_FALSE(FindLocalWikiText2(options_)->has_value());
  options_.data = folder_ / "absent.txt";
  EXPECT_EQ(FindLocalWikiText2(options_).error().code, ErrorCode::kInput);
  options_.data = Write("story.txt", "Once upon a time.\n");
  EXPECT_EQ(FindLocalWikiText2(options_)->value().name, "story.txt");
  EXPECT_EQ(AbsentWikiText2().absent_bytes, 1290590u);
  EXPECT_EQ(AbsentWikiText2().text, "");
}

TEST_F(DatasetTest, AFalseWikiTextIsNamedSo) {
  Write("data/wikitext-2-raw/wiki.test.raw", "Once upon a time.\n");
  options_.data_folder = folder_ / "data";
  auto text = FindWikiText2(options_, nullptr);
  ASSERT_TRUE(text) << text.error().message;
  const std::string hash = Sha256Hex("Once upon a time.\n");
  EXPECT_EQ(text->name, "wiki.test.raw (not the standard file, sha256 " + hash.substr(0, 8) + ")");
  EXPECT_FALSE(text->is_standard);
  ASSERT_EQ(text->warnings.size(), 1u);
  EXPECT_TRUE(Has(text->warnings[0], hash)) << text->warnings[0];
  EXPECT_TRUE(Has(text->warnings[0], "1290590"));
  EXPECT_TRUE(Has(text->warnings[0], kWikiText2Sha256));
}

TEST_F(DatasetTest, AGivenFolderMayHoldTheFileInTwoPlaces) {
  options_.data = folder_ / "data";
  Write("data/wiki.test.raw", "flat");
  EXPECT_EQ(FindWikiText2(options_, nullptr)->text, "flat");
  Write("data/wikitext-2-raw/wiki.test.raw", "deep");
  EXPECT_EQ(FindWikiText2(options_, nullptr)->text, "deep");
}

TEST_F(DatasetTest, TheEnvironmentNamesTheFolder) {
  Write("data/wikitext-2-raw/wiki.test.raw", "from the environment");
  ::setenv("METAL_MARLIN_DATA", (folder_ / "data").c_str(), 1);
  EXPECT_EQ(FindWikiText2(options_, nullptr)->text, "from the environment");
}

TEST_F(DatasetTest, WhatIsGivenIsNeverReplaced) {
  Write("data/wikitext-2-raw/wiki.test.raw", "from the environment");
  options_.data_folder = folder_ / "data";
  options_.data = folder_ / "missing.txt";
  const auto text = FindWikiText2(options_, nullptr);
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().code, ErrorCode::kInput);
  EXPECT_TRUE(Has(text.error().message, "missing.txt")) << text.error().message;
  options_.data = folder_;  // a folder without the file
  const auto in_folder = FindWikiText2(options_, nullptr);
  ASSERT_FALSE(in_folder);
  EXPECT_TRUE(Has(in_folder.error().message, "neither")) << in_folder.error().message;
}

TEST_F(DatasetTest, WhatIsNotATextIsRefused) {
  const std::pair<std::string, const char*> cases[] = {
      {"", "holds no text"},
      {" \n\n", "holds no text"},
      {std::string("text\0text", 9), "byte 4 (0x00)"},
      {"caf\xe9 au lait", "byte 3 (0xe9)"},
      {"cut \xe2\x82", "byte 4 (0xe2)"},
      {"surrogate \xed\xa0\x80", "byte 10 (0xed)"},
      {"overlong \xc0\xaf", "byte 9 (0xc0)"},
  };
  for (const auto& [content, why] : cases) {
    options_.data = Write("bad.txt", content);
    const auto text = FindWikiText2(options_, nullptr);
    ASSERT_FALSE(text) << why;
    EXPECT_EQ(text.error().code, ErrorCode::kInput);
    EXPECT_TRUE(Has(text.error().message, why)) << text.error().message;
    EXPECT_TRUE(Has(text.error().message, "bad.txt"));
  }
  options_.data = Write("good.txt", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x9f");
  EXPECT_TRUE(FindWikiText2(options_, nullptr));
}

TEST_F(DatasetTest, AFileThatCannotBeReadIsRefused) {
  options_.data = "/dev/null";
  const auto text = FindWikiText2(options_, nullptr);
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().code, ErrorCode::kInput);
  EXPECT_TRUE(Has(text.error().message, "not a regular file")) << text.error().message;
}

TEST_F(DatasetTest, OfflineSaysHowToGetIt) {
  const auto text = FindWikiText2(options_, nullptr);
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().code, ErrorCode::kInput);
  for (const std::string& piece :
       {std::string("--offline"), std::string("--data"), std::string("METAL_MARLIN_DATA"), cached().string(),
        std::string("/datasets/ggml-org/ci/resolve/main/wikitext-2-raw-v1.zip")}) {
    EXPECT_TRUE(Has(text.error().message, piece)) << text.error().message;
  }
}

TEST_F(DatasetTest, AVariableOfTheHubForbidsTheDownloadToo) {
  ::setenv("HF_HUB_OFFLINE", "1", 1);
  const auto text = FindOnServer({{"wiki.test.raw", "words\n"}});
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().code, ErrorCode::kInput);
  EXPECT_TRUE(Has(text.error().message, "HF_HUB_OFFLINE forbids the download")) << text.error().message;
  ::setenv("HF_HUB_OFFLINE", "0", 1);
  const auto asked = FindOnServer({{"wiki.test.raw", "words\n"}});
  EXPECT_FALSE(Has(asked.error().message, "forbids the download")) << asked.error().message;
}

TEST_F(DatasetTest, AFolderInTheEnvironmentThatHoldsNothingIsNamed) {
  const std::string empty = (folder_ / "nothing-here").string();
  ::setenv("METAL_MARLIN_DATA", empty.c_str(), 1);
  const auto text = FindWikiText2(options_, nullptr);
  ::unsetenv("METAL_MARLIN_DATA");
  ASSERT_FALSE(text);
  EXPECT_TRUE(Has(text.error().message, "(it is " + empty + ", which holds none)")) << text.error().message;
}

TEST_F(DatasetTest, ADamagedFileInTheCacheIsNotUsed) {
  Write("cache/wikitext-2-raw/wiki.test.raw", "half of it");
  const auto text = FindWikiText2(options_, nullptr);
  ASSERT_FALSE(text);
  EXPECT_TRUE(Has(text.error().message, "damaged at")) << text.error().message;
}

TEST_F(DatasetTest, TheEndpointComesFromTheEnvironmentAndTheCacheFromXdg) {
  const HttpTestServer server(
      [](int, const std::string&, const Connection& c) { c.Send(HttpResponse("404 Not Found", "")); });
  ::setenv("HF_ENDPOINT", server.url().c_str(), 1);
  options_ = {};
  const auto text = FindWikiText2(options_, nullptr);
  ASSERT_FALSE(text);
  EXPECT_TRUE(Has(text.error().message, server.url() + "/datasets/")) << text.error().message;
  EXPECT_TRUE(Has(text.error().message, (folder_ / "xdg/metal-marlin/wikitext-2-raw/wiki.test.raw").string()));
}

TEST_F(DatasetTest, NoHomeIsSaid) {
  options_.cache_dir.clear();
  ::setenv("XDG_CACHE_HOME", "relative", 1);
  ::unsetenv("HOME");
  const auto text = FindWikiText2(options_, nullptr);
  ASSERT_FALSE(text);
  EXPECT_TRUE(Has(text.error().message, "XDG_CACHE_HOME")) << text.error().message;
}

TEST_F(DatasetTest, AServerWithoutTheFile) {
  const HttpTestServer server(
      [](int, const std::string&, const Connection& c) { c.Send(HttpResponse("404 Not Found", "")); });
  options_.offline = false;
  options_.endpoint = server.url();
  const auto text = FindWikiText2(options_, nullptr);
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().code, ErrorCode::kInput);
  EXPECT_TRUE(Has(text.error().message, "HTTP 404")) << text.error().message;
  EXPECT_TRUE(Has(text.error().message, "--data"));
  ExpectNothingLeft();
}

TEST_F(DatasetTest, AnotherTextIsCorrupt) {
  const auto text = FindOnServer({{"wikitext-2-raw/wiki.test.raw", "not this one"}});
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().code, ErrorCode::kCorrupt);
  EXPECT_TRUE(Has(text.error().message, Sha256Hex("not this one"))) << text.error().message;
  EXPECT_TRUE(Has(text.error().message, kWikiText2Sha256));
  ExpectNothingLeft();
}

TEST_F(DatasetTest, ATextOfTheWrongSizeIsRefused) {
  const auto text = FindOnServer({{"wikitext-2-raw/wiki.test.raw", std::string(1'290'591, 'x')}});
  ASSERT_FALSE(text);
  EXPECT_TRUE(Has(text.error().message, "longer than the 1290590 bytes")) << text.error().message;
  ExpectNothingLeft();
}

TEST_F(DatasetTest, ABombIsRefused) {
  const auto text = FindOnServer({{"wikitext-2-raw/wiki.test.raw", std::string(64 << 20, '\0')}});
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().code, ErrorCode::kInput);
  ExpectNothingLeft();
}

TEST_F(DatasetTest, AnArchiveWithoutTheFile) {
  const auto text = FindOnServer({{"wikitext-2-raw/wiki.train.raw", "another"}});
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().code, ErrorCode::kInput);
  EXPECT_TRUE(Has(text.error().message, "no wiki.test.raw in it")) << text.error().message;
  ExpectNothingLeft();
}

TEST_F(DatasetTest, ABrokenArchive) {
  const auto text = FindOnServer({{"wikitext-2-raw/wiki.test.raw", "a text that is cut"}}, 150);
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().code, ErrorCode::kInput);
  ExpectNothingLeft();
}

TEST_F(DatasetTest, TheStandardFileIsKnownUnderAnyName) {
  if (!HaveStandardFile()) GTEST_SKIP() << kNoData;
  options_.data = Write("renamed.txt", *ReadFile(StandardFile()));
  const auto text = FindWikiText2(options_, nullptr);
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_TRUE(text->is_standard);
  EXPECT_EQ(text->name, "WikiText-2 test");
  EXPECT_EQ(text->text.size(), 1'290'590u);
  EXPECT_EQ(text->sha256, kWikiText2Sha256);
}

TEST_F(DatasetTest, TheDownloadIsKeptAndReplacesDamage) {
  if (!HaveStandardFile()) GTEST_SKIP() << kNoData;
  Write("cache/wikitext-2-raw/wiki.test.raw", "half of it");
  const auto text =
      FindOnServer({{"wikitext-2-raw/", ""}, {"wikitext-2-raw/wiki.test.raw", *ReadFile(StandardFile())}});
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_TRUE(text->is_standard);
  EXPECT_EQ(text->path, cached());
  ASSERT_EQ(text->warnings.size(), 1u);  // our zip is not the Hub's
  EXPECT_TRUE(Has(text->warnings[0], "packed anew")) << text->warnings[0];
  EXPECT_EQ(std::distance(fs::directory_iterator(cached().parent_path()), fs::directory_iterator()), 1);
  options_.offline = true;
  const auto again = FindWikiText2(options_, nullptr);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_TRUE(again->warnings.empty());
}

TEST(BuiltInSample, IsTheTextOfTheRepository) {
  const EvalText sample = BuiltInSample();
  const auto file = ReadFile(fs::path(MARLIN_SOURCE_DIR) / "data/sample/sample.txt");
  ASSERT_TRUE(file);
  EXPECT_EQ(sample.text, *file);
  EXPECT_EQ(sample.name, "built-in sample");
  EXPECT_EQ(sample.sha256, Sha256Hex(*file));
  EXPECT_FALSE(sample.is_standard);
  EXPECT_TRUE(OpenEvalText(fs::path(MARLIN_SOURCE_DIR) / "data/sample/sample.txt"));
  const auto readme = ReadFile(fs::path(MARLIN_SOURCE_DIR) / "data/sample/README.md");
  ASSERT_TRUE(readme);
  EXPECT_TRUE(Has(*readme, sample.sha256)) << "data/sample/README.md should name " << sample.sha256;
}

}  // namespace
}  // namespace marlin
