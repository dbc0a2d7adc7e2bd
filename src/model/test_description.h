// For tests: small models of the Llama family.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "model/families/family.h"

namespace marlin {

struct TestSizes {
  std::size_t vocab = 96, hidden = 32, layers = 2, heads = 4, kv_heads = 2, head_dim = 8, intermediate = 88;
  std::size_t context = 64;
  bool tied = false;
};

inline nlohmann::json TestConfig(const TestSizes& s) {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"vocab_size", s.vocab},
          {"hidden_size", s.hidden},
          {"num_hidden_layers", s.layers},
          {"num_attention_heads", s.heads},
          {"num_key_value_heads", s.kv_heads},
          {"head_dim", s.head_dim},
          {"intermediate_size", s.intermediate},
          {"max_position_embeddings", s.context},
          {"rms_norm_eps", 1e-5},
          {"tie_word_embeddings", s.tied}};
}

inline Description TestDescription(const TestSizes& s) {
  auto description = DescribeModel(TestConfig(s));
  MARLIN_CHECK(description.ok(), "a small Llama");
  return *std::move(description);
}

// Places in a block of the Llama family: its matrices, the inputs that they read, and its vectors.
inline constexpr std::size_t kQMatrix = 0, kKMatrix = 1, kVMatrix = 2, kOMatrix = 3, kGateMatrix = 4, kUpMatrix = 5,
                             kDownMatrix = 6;
inline constexpr std::size_t kQkvInput = 0, kOInput = 1, kGateUpInput = 2, kDownInput = 3;
inline constexpr std::size_t kMixerNormVector = 0, kFeedForwardNormVector = 1;

}  // namespace marlin
