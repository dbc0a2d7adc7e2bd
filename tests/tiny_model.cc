#include "tests/tiny_model.h"

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/file.h"
#include "base/half.h"
#include "base/rng.h"
#include "files/safetensors_writer.h"
#include "model/families/family.h"
#include "text/byte_alphabet.h"

namespace marlin {
namespace {
using nlohmann::json;

json ConfigOf(const std::string& architecture) {
  json config = {{"architectures", {architecture}},
                 {"vocab_size", 256},
                 {"hidden_size", 64},
                 {"intermediate_size", 96},
                 {"num_hidden_layers", 2},
                 {"num_attention_heads", 4},
                 {"num_key_value_heads", 2},
                 {"rms_norm_eps", 1e-5},
                 {"rope_theta", 10000},
                 {"tie_word_embeddings", true},
                 {"max_position_embeddings", 2048}};
  const auto family = FindFamily(config);
  MARLIN_CHECK(family.ok(), "a family that there is");
  config["model_type"] = (*family)->model_type;
  if (architecture != "LlamaForCausalLM") config["head_dim"] = 24;
  return config;
}

std::string TokenizerJson() {
  json vocab = json::object();
  for (int byte = 0; byte < 256; ++byte) vocab[ToByteAlphabet(std::string(1, static_cast<char>(byte)))] = byte;
  const json tokenizer = {{"version", "1.0"},
                          {"added_tokens", json::array()},
                          {"normalizer", nullptr},
                          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
                          {"post_processor", nullptr},
                          {"decoder", {{"type", "ByteLevel"}}},
                          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", json::array()}}}};
  return tokenizer.dump();
}

std::vector<std::uint8_t> RandomBf16(std::size_t count, double centre, double spread, Rng& rng) {
  std::vector<std::uint8_t> bytes;
  bytes.reserve(2 * count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint16_t bits = FloatToBf16(static_cast<float>(centre + spread * rng.Normal()));
    bytes.push_back(static_cast<std::uint8_t>(bits));
    bytes.push_back(static_cast<std::uint8_t>(bits >> 8));
  }
  return bytes;
}

}  // namespace

void WriteTinyModel(const std::filesystem::path& folder, const char* architecture) {
  std::filesystem::create_directories(folder);
  const json config = ConfigOf(architecture);
  const auto description = DescribeModel(config);
  MARLIN_CHECK(description.ok(), "the tiny model's configuration");
  std::vector<PlannedTensor> plan = {{"model.embed_tokens.weight", DType::kBF16, {256, 64}}};
  for (const Block& block : description->blocks) {
    for (const Vector& vector : block.vectors) {
      plan.push_back({description->NameOf(vector.source), DType::kBF16, {vector.size}});
    }
    for (const Matrix& matrix : block.matrices) {
      plan.push_back({description->NameOf(matrix.source), DType::kBF16, {matrix.rows, matrix.cols}});
    }
  }
  plan.push_back({"model.norm.weight", DType::kBF16, {64}});
  auto writer = SafetensorsWriter::Create(folder, plan);
  MARLIN_CHECK(writer.ok(), "the tiny model's file");
  Rng rng(11);
  for (const PlannedTensor& tensor : plan) {
    const bool matrix = tensor.shape.size() == 2;
    const std::size_t count = tensor.shape[0] * (matrix ? tensor.shape[1] : 1);
    MARLIN_CHECK(writer->Write(tensor.name, RandomBf16(count, matrix ? 0 : 1, matrix ? 0.15 : 0.1, rng)).ok(), "write");
  }
  MARLIN_CHECK(writer->Commit().ok(), "commit");
  MARLIN_CHECK(WriteFileAtomic(folder / "config.json", config.dump(2)).ok(), "config");
  MARLIN_CHECK(WriteFileAtomic(folder / "tokenizer.json", TokenizerJson()).ok(), "tokenizer");
}

void WriteTinyText(const std::filesystem::path& file) {
  constexpr std::array kWords = {"the", "tide", "rises", "twice", "a", "day", "and", "falls", "again", "under", "moon"};
  Rng rng(4);
  std::string text;
  while (text.size() < 3000) {
    text += kWords[rng.Below(kWords.size())];
    text += rng.Below(9) == 0 ? ".\n" : " ";
  }
  MARLIN_CHECK(WriteFileAtomic(file, text).ok(), "text");
}

}  // namespace marlin
