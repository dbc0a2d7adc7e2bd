#include "hub/hub_settings.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>

#include "base/file.h"
#include "base/test_environment.h"
#include "base/test_text.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

class HubSettingsTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "marlin-settings-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }

  Result<HubSettings> With(const std::map<std::string, std::string>& variables) const {
    saved_.Unset();
    for (const auto& [name, value] : variables) ::setenv(name.c_str(), value.c_str(), 1);
    return ReadHubSettings();
  }

  SavedEnvironment saved_{"HF_ENDPOINT",
                          "HF_HOME",
                          "HF_HUB_CACHE",
                          "HUGGINGFACE_HUB_CACHE",
                          "HF_TOKEN",
                          "HUGGING_FACE_HUB_TOKEN",
                          "HF_TOKEN_PATH",
                          "HF_HUB_OFFLINE",
                          "TRANSFORMERS_OFFLINE",
                          "XDG_CACHE_HOME",
                          "HOME"};
  fs::path folder_;
};

TEST_F(HubSettingsTest, TheCacheIsWhereOtherProgramsLook) {
  EXPECT_EQ(With({{"HOME", "/h"}})->cache, "/h/.cache/huggingface/hub");
  EXPECT_EQ(With({{"HOME", "/h"}, {"XDG_CACHE_HOME", "/x"}})->cache, "/x/huggingface/hub");
  EXPECT_EQ(With({{"HOME", "/h"}, {"XDG_CACHE_HOME", "/x"}, {"HF_HOME", "~/f"}})->cache, "/h/f/hub");
  EXPECT_EQ(With({{"HF_HOME", "/f"}, {"HF_HUB_CACHE", "/c"}})->cache, "/c");
  EXPECT_EQ(With({{"HF_HOME", "/f"}, {"HUGGINGFACE_HUB_CACHE", "/old"}})->cache, "/old");
  EXPECT_EQ(With({{"HF_HOME", "/f"}, {"HF_HUB_CACHE", ""}})->cache, "/f/hub") << "empty is not set";
  const auto nowhere = With({});
  ASSERT_FALSE(nowhere.ok());
  EXPECT_EQ(nowhere.error().code, ErrorCode::kInput);
}

TEST_F(HubSettingsTest, TheEndpointIsHttpsOrThisMachine) {
  EXPECT_EQ(With({{"HOME", "/h"}})->endpoint, "https://huggingface.co");
  EXPECT_EQ(With({{"HOME", "/h"}, {"HF_ENDPOINT", "https://mirror.example/"}})->endpoint, "https://mirror.example");
  EXPECT_EQ(With({{"HOME", "/h"}, {"HF_ENDPOINT", "http://127.0.0.1:8080"}})->endpoint, "http://127.0.0.1:8080");
  for (const char* bad : {"http://mirror.example", "mirror.example", "ftp://127.0.0.1", "/"}) {
    const auto settings = With({{"HOME", "/h"}, {"HF_ENDPOINT", bad}});
    ASSERT_FALSE(settings.ok()) << bad;
    EXPECT_TRUE(Has(settings.error().message, "HF_ENDPOINT")) << settings.error().message;
  }
}

TEST_F(HubSettingsTest, TheTokenComesFromTheVariableOrTheLogin) {
  const std::string home = folder_.string();
  EXPECT_EQ(With({{"HF_HOME", home}})->token, "");
  ASSERT_TRUE(WriteFileAtomic(folder_ / "token", "hf_file\n").ok());
  ASSERT_TRUE(WriteFileAtomic(folder_ / "other", " hf_other ").ok());
  EXPECT_EQ(With({{"HF_HOME", home}})->token, "hf_file");
  EXPECT_EQ(With({{"HF_HOME", home}, {"HF_TOKEN_PATH", (folder_ / "other").string()}})->token, "hf_other");
  EXPECT_EQ(With({{"HF_HOME", home}, {"HF_TOKEN", " hf_mine\n"}})->token, "hf_mine");
  const auto bad = With({{"HF_HOME", home}, {"HF_TOKEN", "hf_a\r\nX-Other: b"}});
  ASSERT_FALSE(bad.ok());
  EXPECT_FALSE(Has(bad.error().message, "hf_a")) << "a token is never shown";
}

TEST_F(HubSettingsTest, Offline) {
  for (const char* yes : {"1", "true", "YES", "on"})
    EXPECT_EQ(With({{"HOME", "/h"}, {"HF_HUB_OFFLINE", yes}})->offline, "HF_HUB_OFFLINE");
  for (const char* no : {"0", "", "no"}) EXPECT_EQ(With({{"HOME", "/h"}, {"HF_HUB_OFFLINE", no}})->offline, "");
  EXPECT_EQ(With({{"HOME", "/h"}, {"TRANSFORMERS_OFFLINE", "1"}})->offline, "TRANSFORMERS_OFFLINE");
  EXPECT_EQ(With({{"HOME", "/h"}, {"HF_HUB_OFFLINE", "0"}, {"TRANSFORMERS_OFFLINE", "1"}})->offline, "");
}

}  // namespace
}  // namespace marlin
