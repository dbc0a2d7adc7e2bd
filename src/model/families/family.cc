#include "model/families/family.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/did_you_mean.h"
#include "files/known_keys.h"
#include "model/config_fields.h"
#include "model/runnable.h"

namespace marlin {
namespace {
using nlohmann::json;

constexpr std::array kFamilies = {
    Family{"LlamaForCausalLM", "llama", DescribeLlama, nullptr},
    Family{"Qwen2ForCausalLM", "qwen2", DescribeQwen2, nullptr},
    Family{"Qwen3ForCausalLM", "qwen3", DescribeQwen3, nullptr},
    Family{"Gemma2ForCausalLM", "gemma2", DescribeGemma2, nullptr},
    Family{"Gemma3ForCausalLM", "gemma3_text", DescribeGemma3, nullptr},
    Family{"MistralForCausalLM", "mistral", DescribeMistral, nullptr},
    Family{"MinistralForCausalLM", "ministral", DescribeMinistral, nullptr},
    Family{"Ministral3ForCausalLM", "ministral3", DescribeMinistral3, nullptr},
    Family{"Phi3ForCausalLM", "phi3", DescribePhi3, nullptr},
    Family{"SmolLM3ForCausalLM", "smollm3", DescribeSmolLM3, nullptr},
    Family{"Olmo2ForCausalLM", "olmo2", DescribeOlmo2, nullptr},
    Family{"Olmo3ForCausalLM", "olmo3", DescribeOlmo3, nullptr},
    Family{"GraniteForCausalLM", "granite", DescribeGranite, nullptr},
    Family{"Gemma4ForCausalLM", "gemma4_text", DescribeGemma4, nullptr},
    Family{"GlmForCausalLM", "glm", DescribeGlm, nullptr},
    Family{"Glm4ForCausalLM", "glm4", DescribeGlm4, nullptr},
    Family{"SeedOssForCausalLM", "seed_oss", DescribeSeedOss, nullptr},
    Family{"GPT2LMHeadModel", "gpt2", DescribeGpt2, nullptr},
    Family{"GPTNeoXForCausalLM", "gpt_neox", DescribeGptNeox, nullptr},
    Family{"Qwen3_5ForCausalLM", "qwen3_5_text", DescribeQwen35, "gated DeltaNet"},
    Family{"GptOssForCausalLM", "gpt_oss", DescribeGptOss, "experts"},
    Family{"DeepseekV3ForCausalLM", "deepseek_v3", DescribeDeepseekV3, "latent attention and experts"},
};

// Published architectures that have no description here. They are refused by what they need, so that no near name of
// another family is offered.
struct NotDescribed {
  const char* architecture;
  const char* needs;
};
constexpr std::array kNotDescribed = {
    NotDescribed{"MixtralForCausalLM", "experts"},
    NotDescribed{"Qwen2MoeForCausalLM", "experts"},
    NotDescribed{"Qwen3MoeForCausalLM", "experts"},
    NotDescribed{"Qwen3NextForCausalLM", "gated DeltaNet and experts"},
    NotDescribed{"Qwen3_5MoeForCausalLM", "gated DeltaNet and experts"},
    NotDescribed{"GraniteMoeForCausalLM", "experts"},
    NotDescribed{"GraniteMoeHybridForCausalLM", "state spaces and experts"},
    NotDescribed{"OlmoeForCausalLM", "experts"},
    NotDescribed{"PhimoeForCausalLM", "experts"},
    NotDescribed{"Glm4MoeForCausalLM", "experts"},
    NotDescribed{"Glm4MoeLiteForCausalLM", "latent attention and experts"},
    NotDescribed{"DeepseekV2ForCausalLM", "latent attention and experts"},
    NotDescribed{"Lfm2ForCausalLM", "gated short convolutions"},
    NotDescribed{"MambaForCausalLM", "state spaces"},
    NotDescribed{"Mamba2ForCausalLM", "state spaces"},
    NotDescribed{"JambaForCausalLM", "state spaces and experts"},
    NotDescribed{"NemotronHForCausalLM", "state spaces"},
    NotDescribed{"GemmaForCausalLM", "a description that this program does not have"},
    NotDescribed{"Gemma3nForConditionalGeneration", "sparse activations and alternating updates"},
    NotDescribed{"PhiForCausalLM", "a description that this program does not have"},
    NotDescribed{"GPTJForCausalLM", "a description that this program does not have"},
};

std::vector<std::string> SupportedNames() {
  std::vector<std::string> names;
  for (const Family& family : kFamilies) {
    if (family.not_run_yet == nullptr) names.emplace_back(family.architecture);
  }
  return names;
}

std::string SupportedList() { return fmt::format("supported are {}", fmt::join(SupportedNames(), ", ")); }

}  // namespace

Result<const Family*> FindFamily(const json& config) {
  const json names = config.is_object() ? config.value("architectures", json()) : json();
  if (!names.is_array() || names.size() != 1 || !names[0].is_string()) {
    return BadConfig(
        fmt::format("\"architectures\" is {}, want a list of one; {}", ShortValue(names), SupportedList()));
  }
  const auto name = names[0].get<std::string>();
  for (const Family& family : kFamilies) {
    if (name == family.architecture) return &family;
  }
  for (const NotDescribed& row : kNotDescribed) {
    if (name != row.architecture) continue;
    return UnsupportedConfig(
        fmt::format("architecture {} cannot be run yet: it needs {}; {}", name, row.needs, SupportedList()));
  }
  const auto supported = SupportedNames();
  return UnsupportedConfig(fmt::format("architecture {} is not supported{} Supported are {}", name,
                                       DidYouMean(name, supported), fmt::join(supported, ", ")));
}

Result<const Family*> FindFamilyOfType(const std::string& model_type) {
  for (const Family& family : kFamilies) {
    if (model_type == family.model_type) return &family;
  }
  return UnsupportedConfig(fmt::format("a model of type \"{}\" is not supported; {}", model_type, SupportedList()));
}

Result<Description> DescribeModel(const json& config) {
  const auto family = FindFamily(config);
  if (!family) return family.error();
  if ((*family)->not_run_yet != nullptr) {
    return UnsupportedConfig(fmt::format("architecture {} is known, but its {} cannot be run yet; {}",
                                         (*family)->architecture, (*family)->not_run_yet, SupportedList()));
  }
  if (const json type = config.value("model_type", json()); !type.is_null() && type != (*family)->model_type) {
    return BadConfig(fmt::format("\"architectures\" names {}, and \"model_type\" is {}, want \"{}\"",
                                 (*family)->architecture, ShortValue(type), (*family)->model_type));
  }
  const Config settings(config);
  auto description = (*family)->describe(settings);
  if (!description) return description.error();
  if (auto status = CheckRunnable(*description); !status) return status.error();
  SplitStored(*description);
  description->architecture = (*family)->architecture;
  description->read_keys = settings.read();
  return description;
}

}  // namespace marlin
