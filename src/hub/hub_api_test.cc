#include "hub/hub_api.h"

#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "base/test_text.h"

namespace marlin {
namespace {
using nlohmann::json;

const std::string kSha1(40, 'a');
const std::string kSha256(64, 'b');

json Answer() {
  return {{"id", "org/m"},
          {"sha", kSha1},
          {"siblings",
           {{{"rfilename", "model.safetensors"},
             {"size", 5'000'000'000},
             {"blobId", kSha1},
             {"lfs", {{"sha256", kSha256}, {"size", 5'000'000'000}, {"pointerSize", 135}}}},
            {{"rfilename", "config.json"}, {"size", 600}, {"blobId", kSha1}, {"lfs", nullptr}}}}};
}

TEST(HubApi, ReadsCommitAndFiles) {
  const auto info = ParseRepoInfo(Answer().dump(), "the answer");
  ASSERT_TRUE(info.ok()) << info.error().message;
  EXPECT_EQ(info->commit, kSha1);
  ASSERT_EQ(info->files.size(), 2u);
  EXPECT_EQ(info->files[0].name, "config.json") << "by name";
  EXPECT_EQ(info->files[0].hash, kSha1);
  EXPECT_EQ(info->files[0].size, 600u);
  EXPECT_EQ(info->files[1].hash, kSha256) << "a large file is named by its own hash, not by its pointer's";
  EXPECT_EQ(info->files[1].size, 5'000'000'000u);
}

TEST(HubApi, WrongAnswersAreNamed) {
  struct Case {
    const char* want;
    std::function<void(json&)> change;
  };
  const std::vector<Case> cases = {
      {"commit", [](json& j) { j.erase("sha"); }},
      {"commit", [](json& j) { j["sha"] = "../../../etc"; }},
      {"commit", [](json& j) { j["sha"] = std::string(40, 'A'); }},
      {"siblings", [](json& j) { j["siblings"] = "x"; }},
      {"no name", [](json& j) { j["siblings"][0] = 3; }},
      {"no name", [](json& j) { j["siblings"][0].erase("rfilename"); }},
      {"below its folder", [](json& j) { j["siblings"][0]["rfilename"] = "../../x"; }},
      {"absolute", [](json& j) { j["siblings"][0]["rfilename"] = "/etc/passwd"; }},
      {"backslash", [](json& j) { j["siblings"][0]["rfilename"] = "a\\b"; }},
      {"control", [](json& j) { j["siblings"][0]["rfilename"] = std::string("a\0b", 3); }},
      {"twice", [](json& j) { j["siblings"][0]["rfilename"] = "config.json"; }},
      {"is a file and the folder", [](json& j) { j["siblings"][0]["rfilename"] = "config.json/x"; }},
      {"SHA-256", [](json& j) { j["siblings"][0]["lfs"]["sha256"] = "../x"; }},
      {"SHA-256", [](json& j) { j["siblings"][0]["lfs"].erase("sha256"); }},
      {"lfs", [](json& j) { j["siblings"][0]["lfs"] = 1; }},
      {"hash of \"config.json\"", [](json& j) { j["siblings"][1].erase("blobId"); }},
      {"size", [](json& j) { j["siblings"][1].erase("size"); }},
      {"size", [](json& j) { j["siblings"][1]["size"] = -1; }},
      {"size", [](json& j) { j["siblings"][1]["size"] = 1.5; }},
      {"size", [](json& j) { j["siblings"][1]["size"] = std::uint64_t{1} << 60; }}};
  for (const auto& [want, change] : cases) {
    json answer = Answer();
    change(answer);
    const auto info = ParseRepoInfo(answer.dump(), "the answer of X");
    ASSERT_FALSE(info.ok()) << want;
    EXPECT_EQ(info.error().code, ErrorCode::kInput);
    EXPECT_TRUE(Has(info.error().message, want)) << info.error().message;
    EXPECT_TRUE(info.error().message.starts_with("the answer of X: ")) << info.error().message;
  }
}

TEST(HubApi, WhatIsNoAnswerIsNotParsed) {
  for (const std::string& text : {std::string(), std::string("<html>login</html>"), std::string("[]"), std::string("{"),
                                  std::string(100'000, '['), std::string(kMaxRepoInfo + 1, ' ')}) {
    const auto info = ParseRepoInfo(text, "it");
    ASSERT_FALSE(info.ok());
    EXPECT_EQ(info.error().code, ErrorCode::kInput);
    EXPECT_LT(info.error().message.size(), 300u);
  }
  json many = Answer();
  for (int i = 0; i < 100'001; ++i) many["siblings"].push_back(1);
  EXPECT_TRUE(Has(ParseRepoInfo(many.dump(), "it").error().message, "100003 files"));
}

TEST(HubApi, ShardsOfAnIndex) {
  const json index = {
      {"metadata", {{"total_size", 3}}},
      {"weight_map", {{"a", "model-2.safetensors"}, {"b", "model-1.safetensors"}, {"c", "model-2.safetensors"}}}};
  const auto shards = ParseShardNames(index.dump(), "index");
  ASSERT_TRUE(shards.ok()) << shards.error().message;
  EXPECT_EQ(*shards, (std::vector<std::string>{"model-1.safetensors", "model-2.safetensors"}));
  for (const json& shard :
       {json("../x.safetensors"), json("a/x.safetensors"), json("x.bin"), json(3), json("a\n.safetensors")}) {
    const auto bad = ParseShardNames(json{{"weight_map", {{"t", shard}}}}.dump(), "index");
    ASSERT_FALSE(bad.ok()) << shard;
    EXPECT_TRUE(Has(bad.error().message, "tensor \"t\"")) << bad.error().message;
  }
  EXPECT_FALSE(ParseShardNames("{}", "index").ok());
  EXPECT_FALSE(ParseShardNames("{\"weight_map\":{}}", "index").ok());
}

}  // namespace
}  // namespace marlin
