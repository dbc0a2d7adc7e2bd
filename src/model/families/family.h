// The families of models: each describes a model from its configuration. One file for each, one row for each in
// family.cc.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/result.h"
#include "model/description.h"

namespace marlin {

struct Family {
  const char* architecture;  // "LlamaForCausalLM"
  const char* model_type;    // "llama"
  Result<Description> (*describe)(const nlohmann::json& config);
  const char* not_run_yet;  // what this program cannot run; null = all of it is run
};

Result<Description> DescribeLlama(const nlohmann::json& config);
Result<Description> DescribeQwen2(const nlohmann::json& config);
Result<Description> DescribeQwen3(const nlohmann::json& config);
Result<Description> DescribeQwen35(const nlohmann::json& config);
Result<Description> DescribeGemma4(const nlohmann::json& config);
Result<Description> DescribeGptOss(const nlohmann::json& config);
Result<Description> DescribeDeepseekV3(const nlohmann::json& config);
Result<Description> DescribePhi3(const nlohmann::json& config);
Result<Description> DescribeGpt2(const nlohmann::json& config);
Result<Description> DescribeGptNeox(const nlohmann::json& config);

// Errors: kInput ("architectures" names none or several), kUnsupported (an unknown one).
Result<const Family*> FindFamily(const nlohmann::json& config);

// Of a family that this program runs. Errors: kInput (missing or impossible values, named), kUnsupported (another
// architecture, or a setting that this program would compute wrongly: each is named; nothing is ignored silently).
Result<Description> DescribeModel(const nlohmann::json& config);

}  // namespace marlin
