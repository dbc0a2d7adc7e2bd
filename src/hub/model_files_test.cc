#include "hub/model_files.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/test_text.h"

namespace marlin {
namespace {

std::vector<RepoFile> Files(std::vector<std::string> names) {
  std::ranges::sort(names);
  std::vector<RepoFile> files;
  for (const std::string& name : names) files.push_back({name, 1'000'000, std::string(40, 'a')});
  return files;
}

constexpr const char* kIndexText = R"({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}})";

Result<ModelFiles> Choose(const std::string& word, const std::vector<std::string>& names) {
  return ChooseModelFiles(*ParseHubName(word), Files(names),
                          [](const RepoFile&) { return Result<std::string>(kIndexText); });
}

std::vector<std::string> Names(const Result<ModelFiles>& chosen) {
  if (!chosen) return {chosen.error().message};
  std::vector<std::string> names;
  for (const RepoFile& file : chosen->files) names.push_back(file.name);
  return names;
}

using Strings = std::vector<std::string>;

TEST(ModelFilesOfARepository, OnlyWhatAModelNeeds) {
  const Strings repository = {"README.md",
                              ".gitattributes",
                              "config.json",
                              "model.safetensors",
                              "consolidated.safetensors",
                              "pytorch_model.bin",
                              "onnx/model.onnx",
                              "original/tokenizer.model",
                              "tokenizer.json",
                              "tokenizer_config.json",
                              "merges.txt",
                              "vocab.json",
                              "generation_config.json",
                              "flax_model.msgpack",
                              "extra/config.json"};
  const auto chosen = Choose("org/m", repository);
  EXPECT_EQ(Names(chosen), (Strings{"config.json", "generation_config.json", "merges.txt", "model.safetensors",
                                    "tokenizer.json", "tokenizer_config.json", "vocab.json"}));
  EXPECT_EQ(chosen->gguf, "");
}

TEST(ModelFilesOfARepository, TheIndexDecidesWhichShards) {
  EXPECT_EQ(Names(Choose("org/m", {"config.json", "model-1.safetensors", "model-2.safetensors", "model-3.safetensors",
                                   "model.safetensors.index.json"})),
            (Strings{"config.json", "model-1.safetensors", "model-2.safetensors", "model.safetensors.index.json"}));
  const auto missing = Choose("org/m", {"config.json", "model-1.safetensors", "model.safetensors.index.json"});
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, ErrorCode::kInput);
  EXPECT_TRUE(Has(missing.error().message, "missing: model-2.safetensors")) << missing.error().message;
}

TEST(ModelFilesOfARepository, SafetensorsArePreferredAndGgufIsChosen) {
  const Strings both = {"config.json", "model.safetensors", "m-Q4_K_M.gguf", "m-Q8_0.gguf"};
  EXPECT_EQ(Names(Choose("org/m", both)), (Strings{"config.json", "model.safetensors"}));
  const auto chosen = Choose("org/m:q4_k_m", both);
  EXPECT_EQ(Names(chosen), Strings{"m-Q4_K_M.gguf"});
  EXPECT_EQ(chosen->gguf, "m-Q4_K_M.gguf");
  for (const char* word : {"org/m:m-Q8_0.gguf", "org/m:m-Q8_0", "org/m:Q8_0"}) {
    EXPECT_EQ(Names(Choose(word, both)), Strings{"m-Q8_0.gguf"}) << word;
  }
  EXPECT_EQ(Names(Choose("org/m", {"README.md", "m.gguf", "mmproj-m.gguf"})), Strings{"m.gguf"}) << "the only one";
}

TEST(ModelFilesOfARepository, AChoiceThatIsMissingOrFitsNotOneListsThem) {
  const Strings several = {"m-Q4_K_M.gguf", "m-UD-Q4_K_M.gguf", "m-Q8_0.gguf", "mmproj-Q8_0.gguf"};
  for (const char* word : {"org/m", "org/m:Q4_K_M", "org/m:Q5_0", "org/m:K_M"}) {
    const auto chosen = Choose(word, several);
    ASSERT_FALSE(chosen.ok()) << word;
    EXPECT_EQ(chosen.error().code, ErrorCode::kUsage);
    EXPECT_TRUE(Has(chosen.error().message, "m-Q4_K_M.gguf (1.0 MB)")) << chosen.error().message;
  }
  EXPECT_EQ(Names(Choose("org/m:Q8_0", several)), Strings{"m-Q8_0.gguf"}) << "projectors are no models";
  EXPECT_EQ(Choose("org/m:Q4_0", {"config.json", "model.safetensors"}).error().code, ErrorCode::kUsage);
}

TEST(ModelFilesOfARepository, AllPartsOfASplit) {
  const Strings split = {"Q4_K_M/m-00001-of-00003.gguf", "Q4_K_M/m-00002-of-00003.gguf", "Q4_K_M/m-00003-of-00003.gguf",
                         "Q8_0/m-00001-of-00002.gguf"};
  const auto chosen = Choose("org/m:Q4_K_M", split);
  EXPECT_EQ(Names(chosen), Strings(split.begin(), split.begin() + 3));
  EXPECT_EQ(chosen->gguf, split[0]);
  EXPECT_EQ(Names(Choose("org/m:Q4_K_M/m-00002-of-00003.gguf", split)), Strings(split.begin(), split.begin() + 3));
  const auto missing = Choose("org/m:Q8_0", split);
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, ErrorCode::kInput);
  EXPECT_TRUE(Has(missing.error().message, "1 of 2 parts")) << missing.error().message;
  EXPECT_TRUE(Has(missing.error().message, "Q8_0/m-00002-of-00002.gguf")) << missing.error().message;
}

TEST(ModelFilesOfARepository, WhatIsNoModelIsNamed) {
  const auto pickle = Choose("org/m", {"config.json", "pytorch_model-1.bin", "tokenizer.json"});
  ASSERT_FALSE(pickle.ok());
  EXPECT_EQ(pickle.error().code, ErrorCode::kUnsupported);
  EXPECT_TRUE(Has(pickle.error().message, "pytorch_model-1.bin")) << pickle.error().message;
  EXPECT_EQ(Choose("org/m", {"README.md"}).error().code, ErrorCode::kInput);
  EXPECT_EQ(Choose("org/m", {}).error().code, ErrorCode::kInput);
  EXPECT_TRUE(Has(Choose("org/m", {"model.safetensors"}).error().message, "no config.json"));
}

}  // namespace
}  // namespace marlin
