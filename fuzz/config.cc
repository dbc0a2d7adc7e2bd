// config.json: the model that it describes, and the quantization that it names.
#include "model/config.h"

#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "fuzz/target_list.h"
#include "io/checkpoint.h"
#include "io/json_text.h"
#include "io/quantized_layout.h"
#include "io/tensor.h"

namespace marlin {
namespace {

void CheckConfig(const ModelConfig& config) {
  for (const std::size_t size : {config.vocab_size, config.hidden_size, config.layers, config.heads, config.kv_heads,
                                 config.head_dim, config.intermediate_size, config.max_context}) {
    MARLIN_CHECK(size > 0 && size < std::size_t{1} << 31, "a size that means something");
  }
  MARLIN_CHECK(config.heads % config.kv_heads == 0 && config.head_dim % 2 == 0, "heads that fit together");
  MARLIN_CHECK(config.rope_frequencies.size() == config.head_dim / 2, "one frequency per pair");
  for (const float frequency : config.rope_frequencies) {
    MARLIN_CHECK(std::isfinite(frequency) && frequency > 0, "a frequency that rotates");
  }
  MARLIN_CHECK(std::isfinite(config.norm_eps) && config.norm_eps > 0, "an epsilon that keeps from dividing by 0");
  MARLIN_CHECK(CountParameters(config) < std::size_t{1} << 60, "a number of parameters that does not overflow");
}

// A matrix of 8 x 128 as a quantized checkpoint stores it, whose format the configuration decides.
void CheckQuantization(const nlohmann::json& json) {
  constexpr std::string_view kStem = "model.layers.0.mlp.up_proj";
  static const std::array<std::uint8_t, 1024> kZeros{};
  static const std::array<std::uint8_t, 16> kShape = EncodedShapeBytes(8, 128);
  Checkpoint checkpoint;
  checkpoint.config = json;
  const auto add = [&](std::string_view suffix, DType dtype, std::vector<std::size_t> shape) {
    Tensor tensor{std::string(kStem) + std::string(suffix), dtype, std::move(shape), kShape, {}};
    if (suffix != kShapeSuffix) tensor.bytes = std::span(kZeros).first(tensor.elements() * Info(dtype).block_bytes);
    checkpoint.index.emplace(tensor.name, checkpoint.tensors.size());
    checkpoint.tensors.push_back(std::move(tensor));
  };
  add(kPackedSuffix, DType::kI32, {8, 16});
  add(kScaleSuffix, DType::kF16, {8, 2});
  add(kZeroPointSuffix, DType::kI32, {1, 2});
  add(kShapeSuffix, DType::kI64, {2});
  const auto encoded = FindEncoded(checkpoint, kStem);
  if (encoded) {
    const EncodedSize size = SizeOfEncoded(encoded->format->info, encoded->rows, encoded->cols);
    MARLIN_CHECK(encoded->codes.size() == size.code_bytes && encoded->scales.size() == size.scale_bytes &&
                     encoded->zero_points.size() == size.zero_point_bytes,
                 "the bytes that the format wants");
  }
  ReadMadeBy(json);
}

}  // namespace

Status FuzzConfig(FuzzInput input) {
  const auto json = ParseJson(FuzzText(input), "config.json");
  if (!json) return json.error();
  CheckQuantization(*json);
  const auto config = ParseModelConfig(*json);
  if (!config) return config.error();
  CheckConfig(*config);
  return {};
}

}  // namespace marlin
