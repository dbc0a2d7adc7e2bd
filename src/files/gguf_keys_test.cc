// Keys as converters write them must be known; others must be named.
#include "files/gguf_keys.h"

#include <set>
#include <string>
#include <vector>

#include "files/test_files.h"

namespace marlin {
namespace {

class GgufKeys : public TemporaryFolder {
 protected:
  Status Check(const GgufBuilder& builder, const std::string& architecture, AcceptedNames& accepted) {
    auto file = GgufFile::Open(Write("x.gguf", builder.Bytes()));
    if (!file) return file.error();
    return CheckGgufKeys(*file, architecture, kRead, accepted);
  }
  // What every family reads.
  const std::set<std::string, std::less<>> kRead = {
      "block_count",          "context_length",         "embedding_length",
      "feed_forward_length",  "attention.head_count",   "attention.head_count_kv",
      "attention.key_length", "attention.value_length", "attention.layer_norm_rms_epsilon",
      "rope.dimension_count", "rope.freq_base"};
  static GgufBuilder& Texts(GgufBuilder& builder, const std::vector<std::string>& keys) {
    for (const std::string& key : keys) builder.Text(key, "x");
    return builder;
  }
  static GgufBuilder& Numbers(GgufBuilder& builder, const std::vector<std::string>& keys) {
    for (const std::string& key : keys) builder.U32(key, 7);
    return builder;
  }
  static GgufBuilder& Flag(GgufBuilder& builder, const std::string& key, bool value) {
    return builder.Pair(key, GgufType::kBool, Raw(static_cast<std::uint8_t>(value)));
  }
  static GgufBuilder& Strings(GgufBuilder& builder, const std::string& key) {
    return builder.Array(key, GgufType::kString, 1, GgufBuilder::String("x"));
  }
  // What every converter of llama.cpp has written since 2023.
  static GgufBuilder Common(const std::string& arch) {
    GgufBuilder builder;
    builder.Text("general.architecture", arch);
    Texts(builder, {"general.name", "tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.chat_template"});
    Numbers(builder, {"general.file_type", "general.quantization_version", arch + ".block_count",
                      arch + ".context_length", arch + ".embedding_length", arch + ".feed_forward_length",
                      arch + ".attention.head_count", arch + ".attention.head_count_kv", "tokenizer.ggml.bos_token_id",
                      "tokenizer.ggml.eos_token_id", "tokenizer.ggml.padding_token_id"});
    builder.F32(arch + ".attention.layer_norm_rms_epsilon", 1e-5f).F32(arch + ".rope.freq_base", 10000);
    Strings(Strings(builder, "tokenizer.ggml.tokens"), "tokenizer.ggml.merges");
    return builder.Array("tokenizer.ggml.token_type", GgufType::kI32, 1, Raw(1));
  }
};

TEST_F(GgufKeys, OfConvertersAreKnown) {
  for (const std::string arch : {"llama", "qwen2", "qwen3"}) {
    GgufBuilder of_2024 = Common(arch);
    Numbers(of_2024, {"tokenizer.ggml.unknown_token_id"});
    Flag(Flag(of_2024, "tokenizer.ggml.add_bos_token", false), "tokenizer.ggml.add_eos_token", false);
    if (arch == "llama") {
      Numbers(of_2024, {"llama.vocab_size", "llama.rope.dimension_count"});
      of_2024.Text("llama.tensor_data_layout", "Meta AI original pth").Text("general.source.url", "x");
    }
    Texts(of_2024, {"quantize.imatrix.file", "quantize.imatrix.dataset"});
    Numbers(of_2024, {"quantize.imatrix.entries_count", "quantize.imatrix.chunks_count"});

    GgufBuilder of_2026 = Common(arch);
    of_2026.Text("general.type", "model");
    Texts(of_2026,
          {"general.basename", "general.finetune", "general.size_label", "general.version", "general.organization",
           "general.description", "general.license", "general.license.name", "general.license.link", "general.repo_url",
           "general.quantized_by", "general.base_model.0.name", "general.base_model.0.organization",
           "general.base_model.0.version", "general.base_model.0.repo_url", "general.dataset.0.name"});
    Strings(Strings(Strings(of_2026, "general.tags"), "general.languages"), "general.datasets");
    Numbers(of_2026,
            {"general.base_model.count", "general.dataset.count", arch + ".attention.key_length",
             arch + ".attention.value_length", arch + ".rope.dimension_count", arch + ".vocab_size",
             "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id", "tokenizer.ggml.fim_pre_token_id",
             "tokenizer.ggml.fim_suf_token_id", "tokenizer.ggml.fim_mid_token_id", "tokenizer.ggml.fim_pad_token_id",
             "tokenizer.ggml.fim_rep_token_id", "tokenizer.ggml.fim_sep_token_id", "tokenizer.ggml.seperator_token_id",
             "tokenizer.ggml.mask_token_id", "general.sampling.top_k"});
    of_2026.F32("general.sampling.temp", 0.6f).F32("general.sampling.top_p", 0.95f);
    of_2026.Pair("split.count", GgufType::kU16, Raw<std::uint16_t>(0))
        .Pair("split.no", GgufType::kU16, Raw<std::uint16_t>(0));
    of_2026.Pair("split.tensors.count", GgufType::kI32, Raw(291));
    for (const char* key : {"tokenizer.ggml.add_space_prefix", "tokenizer.ggml.add_sep_token"})
      Flag(of_2026, key, false);
    Strings(of_2026, "tokenizer.chat_templates").Text("tokenizer.chat_template.tool_use", "x");
    Texts(of_2026, {"mradermacher.quantize_version", "mradermacher.quantized_at"});
    Numbers(of_2026, {"general.parameter_count"}).F32(arch + ".logit_scale", 1);
    of_2026.U32(arch + ".expert_count", 0).U32(arch + ".expert_used_count", 0);

    for (const GgufBuilder* builder : {&of_2024, &of_2026}) {
      AcceptedNames accepted;
      const auto status = Check(*builder, arch, accepted);
      EXPECT_TRUE(status.ok()) << status.error().message;
    }
  }
}

TEST_F(GgufKeys, WhatChangesNumbersOrIsUnknownIsNamed) {
  const auto number = [](const std::string& key, float value) {
    GgufBuilder builder = Common("llama");
    builder.F32(key, value);
    return builder;
  };
  const auto flag = [](const std::string& key) {
    GgufBuilder builder = Common("llama");
    Flag(builder, key, true);
    return builder;
  };
  GgufBuilder not_causal = Common("llama");
  Flag(not_causal, "llama.attention.causal", false);
  GgufBuilder adapter = Common("llama");
  adapter.Text("general.type", "adapter");
  GgufBuilder charsmap = Common("llama");
  charsmap.Array("tokenizer.ggml.precompiled_charsmap", GgufType::kU8, 2, "ab");
  std::vector<std::pair<std::string, GgufBuilder>> cases = {{"llama.attention.causal", not_causal},
                                                            {"general.type", adapter},
                                                            {"tokenizer.ggml.precompiled_charsmap", charsmap}};
  for (const char* key : {"llama.logit_scale", "llama.residual_scale", "llama.embedding_scale", "llama.attention.scale",
                          "llama.expert_count", "llama.attn_logit_softcapping", "llama.rope.scaling.attn_factor",
                          "llama.some_new_setting", "qwen2.context_length", "general.some_new_setting",
                          "tokenizer.ggml.some_new_setting", "clip.use_gelu"}) {
    cases.emplace_back(key, number(key, 2));
  }
  for (const char* key : {"tokenizer.ggml.add_eos_token", "tokenizer.ggml.remove_extra_whitespaces",
                          "tokenizer.ggml.normalizer.lowercase"}) {
    cases.emplace_back(key, flag(key));
  }
  for (const auto& [key, builder] : cases) {
    AcceptedNames none;
    const auto status = Check(builder, "llama", none);
    ASSERT_FALSE(status.ok()) << key;
    EXPECT_EQ(status.error().code, ErrorCode::kUnsupported);
    for (const std::string& part : {std::string("x.gguf"), "\"" + key + "\" is ", "--accept-unknown " + key}) {
      EXPECT_NE(status.error().message.find(part), std::string::npos) << status.error().message;
    }
    AcceptedNames accepted({key});
    EXPECT_TRUE(Check(builder, "llama", accepted).ok()) << key;
    EXPECT_EQ(accepted.found(), std::vector<std::string>{key});
  }
}

}  // namespace
}  // namespace marlin
