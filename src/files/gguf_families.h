// What the tables of gguf_names.cc cannot say of a family of models: settings that only follow from others, or that
// GGUF spells in another way than Hugging Face.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "files/gguf_metadata.h"
#include "files/gguf_pairs.h"
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

// What a function of a family reads when a model is written as GGUF. Sizes are those that the model has, whatever its
// configuration says or leaves out.
struct ModelFacts {
  struct Block {
    std::size_t kv_heads = 0, head_dim = 0, feed_forward = 0;
    std::size_t window = 0;  // 0 = none
  };
  std::vector<Block> blocks;
  std::size_t rotary_dims = 0;          // of a head without a window, else of any; 0 = learned positions
  double theta = 0, sliding_theta = 0;  // of blocks without and with a window
};

// A vector that follows from settings, as some architectures want it.
struct GgufVector {
  std::string name;
  std::vector<float> values;
};

// What a function of a family writes.
struct GgufConfigTarget {
  const nlohmann::json& config;
  const ModelFacts& facts;
  std::string_view architecture;
  GgufPairs& pairs;
  std::vector<GgufVector>& vectors;
  std::vector<std::string>& notes;  // what programs that read the file make of it, where that is not what it says

  void Set(std::string_view suffix, GgufNewValue value) const;
  // Whether each block has a window; written as the list that says so.
  void SetWindowPattern() const;
};

// Adds the keys and vectors that the tables of gguf_names.cc do not give. Errors: kUnsupported (a setting that the
// architecture does not have).
using WriteGgufConfig = Status (*)(const GgufConfigTarget& target);

// Of architectures that have no windows.
Status WriteWithoutWindows(const GgufConfigTarget& target);
Status WriteMinistral3(const GgufConfigTarget& target);
Status WriteGemma2(const GgufConfigTarget& target);
Status WriteWindows(const GgufConfigTarget& target);
Status WriteGemma4(const GgufConfigTarget& target);
Status WritePhi3(const GgufConfigTarget& target);
Status WriteChatGlm(const GgufConfigTarget& target);
Status WriteGptNeox(const GgufConfigTarget& target);

// A number of an object; `otherwise` where the object has none of this name.
double NumberOf(const nlohmann::json& object, const char* key, double otherwise);

// The settings of rotary positions of blocks without a window, in either spelling of config.json; an empty object where
// there are none.
nlohmann::json RopeSettings(const nlohmann::json& config);

Status FinishLlama(const GgufConfigSource& source, nlohmann::json& config);
Status FinishMinistral3(const GgufConfigSource& source, nlohmann::json& config);
Status FinishGemma2(const GgufConfigSource& source, nlohmann::json& config);
Status FinishGemma3(const GgufConfigSource& source, nlohmann::json& config);
Status FinishGemma4(const GgufConfigSource& source, nlohmann::json& config);
Status FinishPhi3(const GgufConfigSource& source, nlohmann::json& config);
Status FinishOlmo2(const GgufConfigSource& source, nlohmann::json& config);
Status FinishGlm4(const GgufConfigSource& source, nlohmann::json& config);
Status FinishChatGlm(const GgufConfigSource& source, nlohmann::json& config);
Status FinishGpt2(const GgufConfigSource& source, nlohmann::json& config);
Status FinishGptNeox(const GgufConfigSource& source, nlohmann::json& config);

}  // namespace marlin
