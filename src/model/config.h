// ModelConfig: a model as data. Every difference between the supported families is a field here. The forward pass reads
// the fields and knows no family. Filled from the Hugging Face configuration by the family table in config.cc.
#pragma once

#include <array>
#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "kernels/backend.h"

namespace marlin {

// The linear layers of a block, in execution order. Layers that share their input are neighbours.
enum Slot : std::size_t { kQ, kK, kV, kO, kGate, kUp, kDown, kSlots };

struct ModelConfig {
  std::string architecture;  // "LlamaForCausalLM"
  std::size_t vocab_size = 0;
  std::size_t hidden_size = 0;
  std::size_t layers = 0;
  std::size_t heads = 0;
  std::size_t kv_heads = 0;  // divides heads
  std::size_t head_dim = 0;  // even
  std::size_t intermediate_size = 0;
  std::size_t max_context = 0;  // positions the model was trained for
  float norm_eps = 0;
  Activation activation = Activation::kSilu;
  bool tied_head = false;                              // the head is the embedding
  std::array<bool, kSlots> biased = {};                // linear layers that have a bias in every block
  std::set<std::pair<std::size_t, Slot>> also_biased;  // and those of single blocks (layer, slot)
  std::vector<float> rope_frequencies;  // [head_dim / 2] radians per position; every kind of scaling ends up here

  std::size_t q_size() const { return heads * head_dim; }
  std::size_t kv_size() const { return kv_heads * head_dim; }
  bool HasBias(std::size_t layer, Slot slot) const { return biased[slot] || also_biased.contains({layer, slot}); }
  std::size_t CountBiases() const;  // tensors, of the whole model
};

// Errors: kInput (missing or impossible values, named), kUnsupported (another architecture, or a setting that this
// program would compute wrongly: each is named; nothing is ignored silently).
Result<ModelConfig> ParseModelConfig(const nlohmann::json& config);

struct LinearSlot {
  const char* name;                         // "self_attn.q_proj"
  std::size_t (*rows)(const ModelConfig&);  // n
  std::size_t (*cols)(const ModelConfig&);  // k
};

extern const LinearSlot kLinearSlots[kSlots];

// "model.layers.3.self_attn.q_proj"
std::string LinearStem(std::size_t layer, Slot slot);
// The layer and slot of such a name; empty for other names.
std::optional<std::pair<std::size_t, Slot>> ParseLinearStem(std::string_view stem);

// The norms of a block, in execution order.
enum Norm : std::size_t { kAttentionNorm, kMlpNorm, kNorms };

// "model.layers.3.input_layernorm.weight"
std::string NormName(std::size_t layer, Norm norm);

inline constexpr const char* kFinalNormName = "model.norm.weight";
inline constexpr const char* kEmbeddingStem = "model.embed_tokens";
inline constexpr const char* kHeadStem = "lm_head";

// Checks that the model was trained for windows of ctx tokens; beyond that its predictions are useless. Errors: kUsage.
Status CheckContext(const ModelConfig& config, std::size_t ctx);

// Parameters of the model, tied tensors once.
std::size_t CountParameters(const ModelConfig& config);

}  // namespace marlin
