// For tests only: small random models in folders, with every shape that folding must support, and their outputs.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/half.h"
#include "base/rng.h"
#include "formats/formats.h"
#include "io/checkpoint.h"
#include "io/safetensors_writer.h"
#include "kernels/reference_backend.h"
#include "model/model.h"
#include "quantize/source_tensors.h"

namespace marlin {

struct TestShape {
  bool qwen = false;  // q, k, v have biases and nothing else has; else every linear layer has one
  bool tied = false;
  bool constant_final_norm = false;
  std::size_t hidden = 36;  // 4 x 9
  std::size_t head_dim = 12;
  std::size_t heads = 6;
  std::size_t kv_heads = 2;
  std::size_t intermediate = 50;
};

inline nlohmann::json TestConfig(const TestShape& shape) {
  return {{"architectures", {shape.qwen ? "Qwen2ForCausalLM" : "LlamaForCausalLM"}},
          {"vocab_size", 41},
          {"hidden_size", shape.hidden},
          {"intermediate_size", shape.intermediate},
          {"num_hidden_layers", 2},
          {"num_attention_heads", shape.heads},
          {"num_key_value_heads", shape.kv_heads},
          {"head_dim", shape.head_dim},
          {"attention_bias", !shape.qwen},
          {"mlp_bias", !shape.qwen},
          {"rms_norm_eps", 1e-5},
          {"tie_word_embeddings", shape.tied},
          {"max_position_embeddings", 64}};
}

// Names and shapes of every tensor of a configuration.
inline std::vector<PlannedTensor> TestTensors(const ModelConfig& c) {
  std::vector<PlannedTensor> plan = {{"model.embed_tokens.weight", DType::kBF16, {c.vocab_size, c.hidden_size}}};
  for (std::size_t layer = 0; layer < c.layers; ++layer) {
    for (const Norm norm : {kAttentionNorm, kMlpNorm}) {
      plan.push_back({NormName(layer, norm), DType::kBF16, {c.hidden_size}});
    }
    for (std::size_t s = 0; s < kSlots; ++s) {
      const std::string stem = LinearStem(layer, static_cast<Slot>(s));
      const LinearSlot& slot = kLinearSlots[s];
      plan.push_back({stem + ".weight", DType::kBF16, {slot.rows(c), slot.cols(c)}});
      if (c.HasBias(layer, static_cast<Slot>(s))) plan.push_back({stem + ".bias", DType::kBF16, {slot.rows(c)}});
    }
  }
  plan.push_back({kFinalNormName, DType::kBF16, {c.hidden_size}});
  if (!c.tied_head) plan.push_back({"lm_head.weight", DType::kBF16, {c.vocab_size, c.hidden_size}});
  return plan;
}

// Random values in BF16; norms around 1 with spread, so that they do not commute with a rotation.
inline Checkpoint WriteTestCheckpoint(const std::filesystem::path& folder, const TestShape& shape, std::uint64_t seed) {
  std::filesystem::create_directories(folder);
  EXPECT_TRUE(WriteFileAtomic(folder / "config.json", TestConfig(shape).dump()).ok());
  const auto config = ParseModelConfig(TestConfig(shape));
  EXPECT_TRUE(config.ok()) << config.error().message;
  const auto plan = TestTensors(*config);
  auto writer = SafetensorsWriter::Create(folder, plan);
  EXPECT_TRUE(writer.ok());
  Rng rng(seed);
  for (const PlannedTensor& tensor : plan) {
    const bool norm = tensor.name.find("norm") != std::string::npos;
    const bool constant = norm && shape.constant_final_norm && tensor.name == kFinalNormName;
    const std::size_t count = tensor.shape[0] * (tensor.shape.size() == 2 ? tensor.shape[1] : 1);
    std::vector<std::uint8_t> bytes;
    for (std::size_t i = 0; i < count; ++i) {
      const double value = constant ? 1.25 : norm ? 1 + 0.4 * rng.Normal() : 0.3 * rng.Normal();
      const std::uint16_t bits = FloatToBf16(static_cast<float>(value));
      bytes.push_back(static_cast<std::uint8_t>(bits));
      bytes.push_back(static_cast<std::uint8_t>(bits >> 8));
    }
    EXPECT_TRUE(writer->Write(tensor.name, bytes).ok());
  }
  EXPECT_TRUE(writer->Commit().ok());
  auto checkpoint = OpenCheckpoint(folder);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  return std::move(*checkpoint);
}

using TensorValues = std::map<std::string, std::vector<float>>;

// Every tensor of the source in fp32.
inline TensorValues AllValues(const SourceTensors& source) {
  TensorValues all;
  for (const PlannedTensor& tensor : TestTensors(source.config())) {
    auto values = source.Values(tensor.name);
    EXPECT_TRUE(values.ok()) << values.error().message;
    all[tensor.name] = std::move(*values);
  }
  return all;
}

// The logits [tokens, vocab] that a model of these tensors gives for a fixed sequence, computed in fp32.
inline std::vector<float> LogitsOf(const ModelConfig& config, const TensorValues& tensors) {
  const auto backend = MakeReferenceBackend();
  const auto matrix = [&](const std::string& stem, std::size_t rows, std::size_t cols) {
    const MatrixView<const float> values(tensors.at(stem + ".weight").data(), rows, cols);
    return std::move(*backend->Pack(Encode(*FindFormat("fp32"), values).view()));
  };
  const auto vector = [&](const std::string& name) {
    auto buffer = std::move(*backend->Allocate(tensors.at(name).size()));
    backend->Upload(tensors.at(name), buffer->data());
    return buffer;
  };
  Model model;
  model.config = config;
  model.backend = backend.get();
  model.weights.embedding = matrix(kEmbeddingStem, config.vocab_size, config.hidden_size);
  for (std::size_t i = 0; i < config.layers; ++i) {
    Layer layer;
    layer.attention_norm = vector(NormName(i, kAttentionNorm));
    layer.mlp_norm = vector(NormName(i, kMlpNorm));
    for (std::size_t s = 0; s < kSlots; ++s) {
      const std::string stem = LinearStem(i, static_cast<Slot>(s));
      layer.linear[s].weight = matrix(stem, kLinearSlots[s].rows(config), kLinearSlots[s].cols(config));
      if (config.HasBias(i, static_cast<Slot>(s))) layer.linear[s].bias = vector(stem + ".bias");
    }
    model.weights.layers.push_back(std::move(layer));
  }
  model.weights.final_norm = vector(kFinalNormName);
  if (!config.tied_head) model.weights.own_head = matrix(kHeadStem, config.vocab_size, config.hidden_size);
  Rng rng(77);
  std::vector<std::int32_t> tokens(24);
  for (std::int32_t& token : tokens) token = static_cast<std::int32_t>(rng.Below(config.vocab_size));
  auto session = Session::Create(model, tokens.size(), tokens.size());
  EXPECT_TRUE(session.ok());
  auto logits = std::move(*backend->Allocate(tokens.size() * config.vocab_size));
  session->Logits(session->Forward(tokens), {logits->data(), tokens.size(), config.vocab_size});
  std::vector<float> out(logits->size());
  backend->Download(logits->data(), out);
  return out;
}

// max |a - b| / max |a|
inline double RelativeDifference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double difference = 0;
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference = std::max(difference, std::abs(double{a[i]} - double{b[i]}));
    largest = std::max(largest, std::abs(double{a[i]}));
  }
  return difference / largest;
}

}  // namespace marlin
