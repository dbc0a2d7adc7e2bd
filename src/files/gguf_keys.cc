#include "files/gguf_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "files/known_keys.h"

namespace marlin {
namespace {
using nlohmann::json;

const HarmlessValues kModelType = {[](const json& value) { return value == "model"; }, "\"model\""};

// After "ARCH.": those that no family reads.
constexpr std::array kArchitectureKeys = {
    // Without effect: the embedding has the number of tokens, norms are RMS norms, pooling is for embedding vectors.
    KnownKey{"vocab_size"},
    KnownKey{"tensor_data_layout"},
    KnownKey{"attention.layer_norm_epsilon"},
    KnownKey{"pooling_type"},
    KnownKey{"rope.scaling.finetuned"},
    // Without effect with these values.
    KnownKey{"attention.causal", &kTrue},
    KnownKey{"attention.clamp_kqv", &kZero},
    KnownKey{"attention.max_alibi_bias", &kZero},
    KnownKey{"attention.scale", &kZero},
    KnownKey{"attention.output_scale", &kZeroOrOne},
    KnownKey{"attention.temperature_scale", &kZero},
    KnownKey{"attention.group_norm_groups", &kZero},
    KnownKey{"attention.shared_kv_layers", &kZero},
    KnownKey{"attn_logit_softcapping", &kZero},
    KnownKey{"final_logit_softcapping", &kZero},
    KnownKey{"router_logit_softcapping", &kZero},
    KnownKey{"logit_scale", &kZeroOrOne},
    KnownKey{"residual_scale", &kZeroOrOne},
    KnownKey{"embedding_scale", &kZeroOrOne},
    KnownKey{"use_parallel_residual", &kZero},
    KnownKey{"swin_norm", &kZero},
    KnownKey{"nextn_predict_layers", &kZero},
    KnownKey{"leading_dense_block_count", &kZero},
    KnownKey{"expert_count", &kZero},
    KnownKey{"expert_used_count", &kZero},
    KnownKey{"expert_shared_count", &kZero},
    KnownKey{"expert_group_count", &kZero},
    KnownKey{"expert_group_used_count", &kZero},
    KnownKey{"rope.scaling.attn_factor", &kOne},
    KnownKey{"rope.scaling.yarn_attn_factor", &kOne},
    KnownKey{"rope.scaling.yarn_log_multiplier", &kZero},
    KnownKey{"rope.scaling.alpha", &kZeroOrOne},
};

constexpr std::array kOtherKeys = {
    // Used.
    KnownKey{"general.architecture"},
    KnownKey{"general.alignment"},
    KnownKey{"split.count"},
    // What the file says of itself and of where it comes from.
    KnownKey{"general.type", &kModelType},
    KnownKey{"general.name"},
    KnownKey{"general.author"},
    KnownKey{"general.version"},
    KnownKey{"general.organization"},
    KnownKey{"general.finetune"},
    KnownKey{"general.basename"},
    KnownKey{"general.description"},
    KnownKey{"general.quantized_by"},
    KnownKey{"general.quantization_version"},
    KnownKey{"general.file_type"},
    KnownKey{"general.size_label"},
    KnownKey{"general.parameter_count"},
    KnownKey{"general.license*"},
    KnownKey{"general.url"},
    KnownKey{"general.doi"},
    KnownKey{"general.uuid"},
    KnownKey{"general.repo_url"},
    KnownKey{"general.source.*"},
    KnownKey{"general.base_model.*"},
    KnownKey{"general.dataset.*"},
    KnownKey{"general.datasets"},
    KnownKey{"general.tags"},
    KnownKey{"general.languages"},
    KnownKey{"general.sampling.*"},
    KnownKey{"split.no"},
    KnownKey{"split.tensors.count"},
    KnownKey{"quantize.imatrix.*"},
    KnownKey{"mradermacher.*"},
    KnownKey{"metal_marlin.*"},
    // The tokenizer: used.
    KnownKey{"tokenizer.ggml.model"},
    KnownKey{"tokenizer.ggml.pre"},
    KnownKey{"tokenizer.ggml.tokens"},
    KnownKey{"tokenizer.ggml.token_type"},
    KnownKey{"tokenizer.ggml.merges"},
    KnownKey{"tokenizer.ggml.bos_token_id"},
    KnownKey{"tokenizer.ggml.eos_token_id"},
    KnownKey{"tokenizer.ggml.eot_token_id"},
    KnownKey{"tokenizer.ggml.eom_token_id"},
    KnownKey{"tokenizer.ggml.eos_token_ids"},
    KnownKey{"tokenizer.ggml.unknown_token_id"},
    KnownKey{"tokenizer.ggml.padding_token_id"},
    KnownKey{"tokenizer.ggml.add_bos_token"},
    KnownKey{"tokenizer.ggml.add_space_prefix"},
    KnownKey{"tokenizer.ggml.scores"},
    KnownKey{"tokenizer.chat_template"},
    // Without effect on tokens: special tokens for other uses, other templates, a copy of tokenizer.json.
    KnownKey{"tokenizer.ggml.token_type_count"},
    KnownKey{"tokenizer.ggml.seperator_token_id"},
    KnownKey{"tokenizer.ggml.separator_token_id"},
    KnownKey{"tokenizer.ggml.cls_token_id"},
    KnownKey{"tokenizer.ggml.mask_token_id"},
    KnownKey{"tokenizer.ggml.prefix_token_id"},
    KnownKey{"tokenizer.ggml.suffix_token_id"},
    KnownKey{"tokenizer.ggml.middle_token_id"},
    KnownKey{"tokenizer.ggml.fim_pre_token_id"},
    KnownKey{"tokenizer.ggml.fim_suf_token_id"},
    KnownKey{"tokenizer.ggml.fim_mid_token_id"},
    KnownKey{"tokenizer.ggml.fim_pad_token_id"},
    KnownKey{"tokenizer.ggml.fim_rep_token_id"},
    KnownKey{"tokenizer.ggml.fim_sep_token_id"},
    KnownKey{"tokenizer.huggingface.json"},
    KnownKey{"tokenizer.chat_template.*"},
    KnownKey{"tokenizer.chat_templates"},
    // Without effect with these values: this program adds a BOS token and nothing else.
    KnownKey{"tokenizer.ggml.add_eos_token", &kFalse},
    KnownKey{"tokenizer.ggml.add_sep_token", &kFalse},
    KnownKey{"tokenizer.ggml.remove_extra_whitespaces", &kFalse},
    KnownKey{"tokenizer.ggml.normalizer.lowercase", &kFalse},
    KnownKey{"tokenizer.ggml.precompiled_charsmap", &kEmpty},
};

// A value as the list of harmless values wants it, long arrays cut off.
struct ToJson {
  static constexpr std::size_t kMost = 16;
  json operator()(bool value) const { return value; }
  json operator()(std::int64_t value) const { return value; }
  json operator()(std::uint64_t value) const { return value; }
  json operator()(double value) const { return value; }
  json operator()(std::string_view value) const { return Printable(value); }
  json operator()(const GgufNumbers& values) const {
    json list = json::array();
    for (std::size_t i = 0; i < std::min(values.size, kMost); ++i) {
      list.push_back(values.is_integer() ? json(values.Integer(i)) : json(values.Number(i)));
    }
    return list;
  }
  json operator()(const GgufStrings& values) const {
    json list = json::array();
    for (std::size_t i = 0; i < std::min(values.size(), kMost); ++i) list.push_back(Printable(values[i]));
    return list;
  }
};

}  // namespace

Status CheckGgufKeys(const GgufFile& gguf, std::string_view architecture,
                     const std::set<std::string, std::less<>>& read, AcceptedNames& accepted) {
  const std::string prefix = fmt::format("{}.", architecture);
  for (const auto& [name, value] : gguf.metadata) {
    if (name.starts_with(prefix) && read.contains(name.substr(prefix.size()))) continue;
    const KnownKey* row = name.starts_with(prefix) ? FindKnownKey(kArchitectureKeys, name.substr(prefix.size()))
                                                   : FindKnownKey(kOtherKeys, name);
    const auto status =
        CheckKey(row, Printable(name), std::visit(ToJson(), value), gguf.file.path().string(), accepted);
    if (!status) return status;
  }
  return {};
}

}  // namespace marlin
