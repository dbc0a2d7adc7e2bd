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
#include "files/checkpoint.h"
#include "files/safetensors_writer.h"
#include "formats/formats.h"
#include "kernels/test_device.h"
#include "model/families/family.h"
#include "model/model.h"
#include "quantize/source_tensors.h"

namespace marlin {

struct TestShape {
  bool qwen = false;   // q, k, v have biases and nothing else has; else every linear layer has one
  bool qwen3 = false;  // norms of queries and keys; the linear layers of attention have biases
  bool tied = false;
  bool constant_final_norm = false;
  std::size_t hidden = 36;  // 4 x 9
  std::size_t head_dim = 12;
  std::size_t heads = 6;
  std::size_t kv_heads = 2;
  std::size_t intermediate = 50;
};

inline nlohmann::json ConfigOf(const TestShape& shape) {
  const char* architecture = shape.qwen3 ? "Qwen3ForCausalLM" : shape.qwen ? "Qwen2ForCausalLM" : "LlamaForCausalLM";
  return {{"architectures", {architecture}},
          {"vocab_size", 41},
          {"hidden_size", shape.hidden},
          {"intermediate_size", shape.intermediate},
          {"num_hidden_layers", 2},
          {"num_attention_heads", shape.heads},
          {"num_key_value_heads", shape.kv_heads},
          {"head_dim", shape.head_dim},
          {"attention_bias", !shape.qwen},
          {"mlp_bias", !shape.qwen && !shape.qwen3},
          {"rms_norm_eps", 1e-5},
          {"tie_word_embeddings", shape.tied},
          {"max_position_embeddings", 64}};
}

// Names and shapes of every tensor of a model.
inline std::vector<PlannedTensor> TestTensors(const Description& d) {
  std::vector<PlannedTensor> plan;
  const auto add_matrix = [&](const Matrix& matrix) {
    plan.push_back({d.NameOf(matrix.source), DType::kBF16, {matrix.rows, matrix.cols}});
    if (matrix.bias) plan.push_back({d.NameOf(*matrix.bias), DType::kBF16, {matrix.rows}});
  };
  const auto add_vectors = [&](const Parts& parts) {
    for (const Vector& vector : parts.vectors) plan.push_back({d.NameOf(vector.source), DType::kBF16, {vector.size}});
  };
  add_matrix(d.matrices[d.embedding]);
  for (const Block& block : d.blocks) {
    add_vectors(block);
    for (const Matrix& matrix : block.matrices) add_matrix(matrix);
  }
  add_vectors(d);
  if (!d.tied_head()) add_matrix(d.matrices[d.head]);
  return plan;
}

// Random values in BF16; norms around 1 with spread, so that they do not commute with a rotation.
inline Checkpoint WriteTestCheckpoint(const std::filesystem::path& folder, const TestShape& shape, std::uint64_t seed) {
  std::filesystem::create_directories(folder);
  EXPECT_TRUE(WriteFileAtomic(folder / "config.json", ConfigOf(shape).dump()).ok());
  const auto config = DescribeModel(ConfigOf(shape));
  EXPECT_TRUE(config.ok()) << config.error().message;
  const auto plan = TestTensors(*config);
  auto writer = SafetensorsWriter::Create(folder, plan);
  EXPECT_TRUE(writer.ok());
  Rng rng(seed);
  for (const PlannedTensor& tensor : plan) {
    const bool norm = tensor.name.find("norm") != std::string::npos;
    const bool constant = norm && shape.constant_final_norm && tensor.name == "model.norm.weight";
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
  for (const PlannedTensor& tensor : TestTensors(source.description())) {
    auto values = source.Values(tensor.name);
    EXPECT_TRUE(values.ok()) << values.error().message;
    all[tensor.name] = std::move(*values);
  }
  return all;
}

// The logits [tokens, vocab] that a model of these tensors gives for a fixed sequence, computed in fp32.
inline std::vector<float> LogitsOf(const Description& d, const TensorValues& tensors) {
  const auto backend = TestReference();
  const auto vector = [&](const Source& source) {
    const std::vector<float>& values = tensors.at(d.NameOf(source));
    auto buffer = std::move(*backend->Allocate(values.size()));
    backend->Upload(values, View(buffer, 1, values.size()));
    return buffer;
  };
  const auto load = [&](const Parts& parts) {
    LoadedParts loaded;
    for (const Vector& v : parts.vectors) loaded.vectors.push_back(vector(v.source));
    for (const Matrix& m : parts.matrices) {
      const MatrixView<const float> values(tensors.at(d.NameOf(m.source)).data(), m.rows, m.cols);
      Linear& linear = loaded.matrices.emplace_back();
      linear.weight = std::move(*backend->Pack(Encode(*FindFormat("fp32"), values).view()));
      if (m.bias) linear.bias = vector(*m.bias);
    }
    return loaded;
  };
  Model model;
  model.description = d;
  model.backend = backend.get();
  model.weights.around = load(d);
  for (const Block& block : d.blocks) model.weights.blocks.push_back(load(block));
  Rng rng(77);
  std::vector<std::int32_t> tokens(24);
  for (std::int32_t& token : tokens) token = static_cast<std::int32_t>(rng.Below(d.vocab_size));
  auto session = Session::Create(model, tokens.size(), tokens.size());
  EXPECT_TRUE(session.ok());
  auto logits = std::move(*backend->Allocate(tokens.size() * d.vocab_size));
  model.Logits(session->Forward(tokens), View(logits, tokens.size(), d.vocab_size));
  return Values(*backend, View(logits, tokens.size(), d.vocab_size));
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
