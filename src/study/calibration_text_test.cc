#include "study/calibration_text.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/file.h"
#include "base/sha256.h"
#include "base/test_environment.h"
#include "hub/http_test_server.h"
#include "hub/zip_test_file.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;
using Connection = HttpTestServer::Connection;

class CalibrationTextTest : public testing::Test {
 protected:
  const SavedEnvironment saved_{"METAL_MARLIN_DATA", "METAL_MARLIN_GIST_ENDPOINT", "HF_ENDPOINT", "HF_HUB_OFFLINE",
                                "TRANSFORMERS_OFFLINE"};
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "marlin-calibration-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    saved_.Unset();
    options_.cache_dir = folder_ / "cache";
    options_.offline = true;
  }
  void TearDown() override { fs::remove_all(folder_); }
  // The source against a server that sends `body` at `path`.
  Result<EvalText> Serve(const std::string& name, const std::string& path, const std::string& body) {
    const HttpTestServer server([&](int, const std::string& request, const Connection& connection) {
      connection.Send(request.starts_with("GET " + path + " ") ? HttpResponse("200 OK", body)
                                                               : HttpResponse("404 Not Found", ""));
    });
    options_.data = name;
    options_.offline = false;
    options_.endpoint = server.url();
    return FindCalibrationText(options_, nullptr);
  }
  std::string Zip(const std::vector<ZipTestEntry>& entries) const {
    WriteZip(folder_ / "served.zip", entries);
    return *ReadFile(folder_ / "served.zip");
  }

  fs::path folder_;
  CalibrationTextOptions options_;
};

constexpr const char* kGist = "/bartowski1182/eb213dccb3571f863da82e99418f81e8/raw/calibration_datav3.txt";
constexpr const char* kArchive = "/datasets/ggml-org/ci/resolve/main/wikitext-2-raw-v1.zip";

TEST_F(CalibrationTextTest, TheGistIsDownloadedOnceAndHashed) {
  const auto text = Serve("bartowski-v3", kGist, "many words of many kinds\n");
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_EQ(text->name, "bartowski-v3");
  EXPECT_EQ(text->sha256, Sha256Hex("many words of many kinds\n"));
  EXPECT_FALSE(text->is_standard);
  options_.offline = true;
  const auto again = FindCalibrationText(options_, nullptr);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->sha256, text->sha256);
}

// Each variable moves the texts of its own server only.
TEST_F(CalibrationTextTest, VariablesNameOtherServers) {
  const HttpTestServer gists([&](int, const std::string&, const Connection& connection) {
    connection.Send(HttpResponse("200 OK", "many words of many kinds\n"));
  });
  const HttpTestServer hub([&](int, const std::string&, const Connection& connection) {
    connection.Send(HttpResponse("200 OK", Zip({{"wiki.train.raw", "what models learn from\n"}})));
  });
  ::setenv("METAL_MARLIN_GIST_ENDPOINT", (gists.url() + "/").c_str(), 1);
  ::setenv("HF_ENDPOINT", hub.url().c_str(), 1);
  options_.offline = false;
  for (const char* name : {"bartowski-v3", "wikitext2"}) {
    options_.data = name;
    const auto text = FindCalibrationText(options_, nullptr);
    ASSERT_TRUE(text) << text.error().message;
    EXPECT_EQ(text->name, name);
  }
  ASSERT_EQ(gists.requests().size(), 1u);
  EXPECT_TRUE(gists.requests()[0].starts_with(std::string("GET ") + kGist + " ")) << gists.requests()[0];
  ASSERT_EQ(hub.requests().size(), 1u);
  EXPECT_TRUE(hub.requests()[0].starts_with(std::string("GET ") + kArchive + " ")) << hub.requests()[0];
}

TEST_F(CalibrationTextTest, TheTrainingTextComesOutOfTheArchive) {
  const auto text = Serve("wikitext2", kArchive,
                          Zip({{"wikitext-2-raw/wiki.test.raw", "never this one\n"},
                               {"wikitext-2-raw/wiki.train.raw", "what models learn from\n"}}));
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_EQ(text->name, "wikitext2");
  EXPECT_EQ(text->text, "what models learn from\n");
  EXPECT_EQ(fs::directory_iterator(options_.cache_dir / "wikitext-2-raw")->path().filename(), "wiki.train.raw");
}

TEST_F(CalibrationTextTest, WhatIsNoTextIsRefusedAndNotKept) {
  const auto binary = Serve("bartowski-v3", kGist, std::string("\x89PNG\0\1", 6));
  ASSERT_FALSE(binary);
  EXPECT_EQ(binary.error().code, ErrorCode::kInput);
  EXPECT_FALSE(fs::exists(options_.cache_dir / "calibration/calibration_datav3.txt"));
  const auto no_archive = Serve("wikitext2", kArchive, "<html>sign in</html>");
  ASSERT_FALSE(no_archive);
  EXPECT_NE(no_archive.error().message.find("wikitext2"), std::string::npos) << no_archive.error().message;
  const auto without = Serve("wikitext2", kArchive, Zip({{"wiki.test.raw", "not the training text"}}));
  ASSERT_FALSE(without);
  EXPECT_FALSE(fs::exists(options_.cache_dir / "wikitext-2-raw/wiki.train.raw"));
}

TEST_F(CalibrationTextTest, MissingTextsSayHowToGetThem) {
  options_.data = "bartowski-v3";
  const auto offline = FindCalibrationText(options_, nullptr);
  ASSERT_FALSE(offline);
  EXPECT_NE(offline.error().message.find("--offline"), std::string::npos);
  EXPECT_NE(offline.error().message.find("METAL_MARLIN_DATA"), std::string::npos);
  options_.offline = false;
  ::setenv("HF_HUB_OFFLINE", "1", 1);
  const auto forbidden = FindCalibrationText(options_, nullptr);
  ASSERT_FALSE(forbidden);
  EXPECT_NE(forbidden.error().message.find("HF_HUB_OFFLINE forbids"), std::string::npos) << forbidden.error().message;
  ::unsetenv("HF_HUB_OFFLINE");
  options_.data = "c4";
  const auto local = FindCalibrationText(options_, nullptr);
  ASSERT_FALSE(local);
  EXPECT_NE(local.error().message.find("calibration/c4.utf8"), std::string::npos);
  options_.data = "c5";
  const auto unknown = FindCalibrationText(options_, nullptr);
  ASSERT_FALSE(unknown);
  EXPECT_NE(unknown.error().message.find("wikitext2"), std::string::npos);
}

TEST_F(CalibrationTextTest, FilesAndTheDataFolder) {
  ASSERT_TRUE(WriteFileAtomic(folder_ / "mine.txt", "my own words\n"));
  options_.data = (folder_ / "mine.txt").string();
  const auto mine = FindCalibrationText(options_, nullptr);
  ASSERT_TRUE(mine) << mine.error().message;
  EXPECT_EQ(mine->name, "mine.txt");
  fs::create_directories(folder_ / "data/calibration");
  ASSERT_TRUE(WriteFileAtomic(folder_ / "data/calibration/c4.utf8", "from the web\n"));
  options_.data = "c4";
  options_.data_folder = folder_ / "data";
  const auto local = FindCalibrationText(options_, nullptr);
  ASSERT_TRUE(local) << local.error().message;
  EXPECT_EQ(local->name, "c4");
  EXPECT_EQ(local->text, "from the web\n");
}

}  // namespace
}  // namespace marlin
