// The families of models: each describes a model from its configuration. One file for each, one row for each in
// family.cc.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/result.h"
#include "model/config_fields.h"
#include "model/description.h"

namespace marlin {

struct Family {
  const char* architecture;  // "LlamaForCausalLM"
  const char* model_type;    // "llama"
  Result<Description> (*describe)(const Config& config);
  const char* not_run_yet;  // what this program cannot run; null = all of it is run
};

Result<Description> DescribeLlama(const Config& config);
Result<Description> DescribeQwen2(const Config& config);
Result<Description> DescribeQwen3(const Config& config);
Result<Description> DescribeQwen35(const Config& config);
Result<Description> DescribeGemma4(const Config& config);
Result<Description> DescribeGptOss(const Config& config);
Result<Description> DescribeDeepseekV3(const Config& config);
Result<Description> DescribePhi3(const Config& config);
Result<Description> DescribeGpt2(const Config& config);
Result<Description> DescribeGptNeox(const Config& config);
Result<Description> DescribeGemma2(const Config& config);
Result<Description> DescribeGemma3(const Config& config);
Result<Description> DescribeMistral(const Config& config);
Result<Description> DescribeMinistral(const Config& config);
Result<Description> DescribeMinistral3(const Config& config);
Result<Description> DescribeSmolLM3(const Config& config);
Result<Description> DescribeOlmo2(const Config& config);
Result<Description> DescribeOlmo3(const Config& config);
Result<Description> DescribeGranite(const Config& config);
Result<Description> DescribeSeedOss(const Config& config);
Result<Description> DescribeGlm(const Config& config);
Result<Description> DescribeGlm4(const Config& config);

// Errors: kInput ("architectures" names none or several), kUnsupported (an unknown one).
Result<const Family*> FindFamily(const nlohmann::json& config);
// By "model_type". Errors: kUnsupported.
Result<const Family*> FindFamilyOfType(const std::string& model_type);

// Of a family that this program runs. Errors: kInput (missing or impossible values, named), kUnsupported (another
// architecture, or a setting that this program would compute wrongly: each is named; nothing is ignored silently).
Result<Description> DescribeModel(const nlohmann::json& config);

}  // namespace marlin
