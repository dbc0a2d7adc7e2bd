// What the tables of gguf_names.cc cannot say of a family of models: settings that only follow from others, or that
// GGUF spells in another way than Hugging Face.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "base/result.h"
#include "files/gguf_metadata.h"
#include "files/tensor.h"

namespace marlin {

// What a function of a family reads.
struct GgufConfigSource {
  const GgufMetadata& metadata;
  const std::vector<Tensor>& tensors;  // by the names of Hugging Face
  std::size_t blocks = 0, hidden = 0, heads = 0, head_dim = 0;

  const Tensor* Find(std::string_view name) const;
};

// Completes a configuration that has the keys of the tables. Errors: kInput, kUnsupported, naming the key.
using FinishGgufConfig = Status (*)(const GgufConfigSource& source, nlohmann::json& config);

Status FinishLlama(const GgufConfigSource& source, nlohmann::json& config);
Status FinishMinistral3(const GgufConfigSource& source, nlohmann::json& config);
Status FinishGemma2(const GgufConfigSource& source, nlohmann::json& config);
Status FinishGemma3(const GgufConfigSource& source, nlohmann::json& config);
Status FinishGemma4(const GgufConfigSource& source, nlohmann::json& config);
Status FinishPhi3(const GgufConfigSource& source, nlohmann::json& config);
Status FinishOlmo2(const GgufConfigSource& source, nlohmann::json& config);
Status FinishGlm4(const GgufConfigSource& source, nlohmann::json& config);
Status FinishGpt2(const GgufConfigSource& source, nlohmann::json& config);
Status FinishGptNeox(const GgufConfigSource& source, nlohmann::json& config);

}  // namespace marlin
