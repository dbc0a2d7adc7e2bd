#include "model/families/family.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>

#include "files/known_keys.h"
#include "model/block.h"
#include "model/config_fields.h"

namespace marlin {
namespace {
using nlohmann::json;

constexpr std::array kFamilies = {
    Family{"LlamaForCausalLM", "llama", DescribeLlama, nullptr},
    Family{"Qwen2ForCausalLM", "qwen2", DescribeQwen2, nullptr},
    Family{"Qwen3ForCausalLM", "qwen3", DescribeQwen3, nullptr},
    Family{"Qwen3_5ForCausalLM", "qwen3_5_text", DescribeQwen35, "gated DeltaNet"},
    Family{"Gemma4ForCausalLM", "gemma4_text", DescribeGemma4, "embeddings for each block"},
    Family{"GptOssForCausalLM", "gpt_oss", DescribeGptOss, "experts"},
    Family{"DeepseekV3ForCausalLM", "deepseek_v3", DescribeDeepseekV3, "latent attention and experts"},
    Family{"Phi3ForCausalLM", "phi3", DescribePhi3, "tensors of several matrices"},
    Family{"GPT2LMHeadModel", "gpt2", DescribeGpt2, "learned positions and layer norms"},
    Family{"GPTNeoXForCausalLM", "gpt_neox", DescribeGptNeox, "parallel parts and layer norms"},
};

std::string SupportedNames() {
  std::string names;
  for (const Family& family : kFamilies) {
    if (family.not_run_yet == nullptr) names += fmt::format("{}{}", names.empty() ? "" : ", ", family.architecture);
  }
  return names;
}

}  // namespace

Result<const Family*> FindFamily(const json& config) {
  const std::string known = SupportedNames();
  const json names = config.is_object() ? config.value("architectures", json()) : json();
  if (!names.is_array() || names.size() != 1 || !names[0].is_string()) {
    return BadConfig(fmt::format("\"architectures\" is {}, want a list of one of {}", ShortValue(names), known));
  }
  const auto name = names[0].get<std::string>();
  for (const Family& family : kFamilies) {
    if (name == family.architecture) return &family;
  }
  return UnsupportedConfig(fmt::format("architecture {} is not supported; supported are {}", name, known));
}

Result<Description> DescribeModel(const json& config) {
  const auto family = FindFamily(config);
  if (!family) return family.error();
  if ((*family)->not_run_yet != nullptr) {
    return UnsupportedConfig(fmt::format("architecture {} is known, but its {} cannot be run yet; supported are {}",
                                         (*family)->architecture, (*family)->not_run_yet, SupportedNames()));
  }
  if (HasKey(config, "model_type") && config["model_type"] != (*family)->model_type) {
    return BadConfig(fmt::format("\"architectures\" names {}, and \"model_type\" is {}, want \"{}\"",
                                 (*family)->architecture, ShortValue(config["model_type"]), (*family)->model_type));
  }
  auto description = (*family)->describe(config);
  if (!description) return description.error();
  if (auto status = CheckRunnable(*description); !status) return status.error();
  description->architecture = (*family)->architecture;
  return description;
}

}  // namespace marlin
