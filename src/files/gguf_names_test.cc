#include "files/gguf_names.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace marlin {
namespace {

// Every name of a family that has a place, as GGUF spells it and as Hugging Face does, for two blocks.
std::vector<std::pair<std::string, std::string>> Names(const GgufFamily& family) {
  std::vector<std::pair<std::string, std::string>> names;
  const auto add = [&](const GgufNameRow& row, const std::string& gguf, const std::string& hf) {
    for (const char* ending : {".weight", ".bias"}) {
      if (ending == std::string(".bias") && row.biased == Biased::kNever) continue;
      names.emplace_back(gguf + std::string(row.gguf) + ending, hf + std::string(row.hf) + ending);
    }
  };
  for (const GgufNameRow& row : family.outer) add(row, "", "");
  for (const char* block : {"0.", "117."}) {
    for (const GgufNameRow& row : family.block) {
      add(row, std::string("blk.") + block, std::string(family.hf_blocks) + block);
    }
  }
  return names;
}

TEST(GgufNames, EveryRowReadsInBothDirections) {
  for (const GgufFamily& family : GgufFamilies()) {
    for (const auto& [gguf, hf] : Names(family)) {
      const NamedPlace from_gguf = FindPlace(family, Spelling::kGguf, gguf);
      const NamedPlace from_hf = FindPlace(family, Spelling::kHf, hf);
      ASSERT_NE(from_gguf.row, nullptr) << gguf;
      EXPECT_EQ(from_gguf.row, from_hf.row) << gguf << " " << hf;
      EXPECT_EQ(from_gguf.block, from_hf.block) << gguf << " " << hf;
      EXPECT_EQ(NameOf(family, from_gguf, Spelling::kHf), hf);
      EXPECT_EQ(NameOf(family, from_hf, Spelling::kGguf), gguf);
      EXPECT_EQ(NameOf(family, from_gguf, Spelling::kGguf), gguf);
      EXPECT_EQ(NameOf(family, from_hf, Spelling::kHf), hf);
    }
  }
}

TEST(GgufNames, NamesAreUnique) {
  std::set<std::string_view> architectures, classes;
  for (const GgufFamily& family : GgufFamilies()) {
    EXPECT_TRUE(architectures.insert(family.architecture).second) << family.architecture;
    EXPECT_TRUE(classes.insert(family.hf_class).second) << family.hf_class;
    std::set<std::string> gguf_names, hf_names;
    for (const auto& [gguf, hf] : Names(family)) {
      EXPECT_TRUE(gguf_names.insert(gguf).second) << gguf;
      EXPECT_TRUE(hf_names.insert(hf).second) << hf;
    }
  }
  std::vector<std::span<const GgufKeyRow>> tables = {GgufKeyRows()};
  for (const GgufFamily& family : GgufFamilies()) tables.push_back(family.keys);
  for (const auto& table : tables) {
    std::set<std::string_view> suffixes, keys;
    for (const GgufKeyRow& row : table) {
      EXPECT_TRUE(suffixes.insert(row.suffix).second) << row.suffix;
      EXPECT_TRUE(row.key == nullptr || keys.insert(row.key).second) << row.suffix;
    }
  }
}

TEST(GgufNames, OtherNamesHaveNoPlace) {
  const GgufFamily& llama = GgufFamilies()[0];
  for (const char* name :
       {"", ".", "attn_q.weight", "blk.attn_q.weight", "blk..attn_q.weight", "blk.0attn_q.weight", "blk.0.weight",
        "blk.-1.attn_q.weight", "blk.99999999999999999999.attn_q.weight", "blk.0.attn_q", "blk.0.attn_q.scale",
        "blk.0.attn_norm.bias", "blk.0.output.weight", "output.bias", "model.layers.0.self_attn.q_proj.weight"}) {
    EXPECT_EQ(FindPlace(llama, Spelling::kGguf, name).row, nullptr) << name;
  }
  for (const char* name : {"blk.0.attn_q.weight", "model.layers.0.self_attn.weight", "model.layers.lm_head.weight",
                           "self_attn.q_proj.weight", "lm_head.bias", "model.layers.0.input_layernorm.bias"}) {
    EXPECT_EQ(FindPlace(llama, Spelling::kHf, name).row, nullptr) << name;
  }
  const NamedPlace unknown = FindPlace(llama, Spelling::kGguf, "blk.7.attn_rot_embd.weight");
  EXPECT_EQ(unknown.block, 7u);
  EXPECT_EQ(unknown.stem, "attn_rot_embd");
}

}  // namespace
}  // namespace marlin
