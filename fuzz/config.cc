// config.json: the model that it describes, and the quantization that it names.
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "files/checkpoint.h"
#include "files/folder_layout.h"
#include "files/folder_reader.h"
#include "files/json_text.h"
#include "files/quantized_layout.h"
#include "files/tensor.h"
#include "fuzz/target_list.h"
#include "model/families/family.h"

namespace marlin {
namespace {

void CheckDescription(const Description& d) {
  const Dimensions sizes = DimensionsOf(d);
  for (const std::size_t size : {d.vocab_size, d.hidden_size, d.blocks.size(), sizes.heads, sizes.kv_heads,
                                 sizes.head_dim, sizes.intermediate_size, d.max_context}) {
    MARLIN_CHECK(size > 0 && size < std::size_t{1} << 31, "a size that means something");
  }
  MARLIN_CHECK(sizes.heads % sizes.kv_heads == 0 && sizes.head_dim % 2 == 0, "heads that fit together");
  for (const Rope& rope : d.ropes) {
    MARLIN_CHECK(rope.scaling.frequencies.size() == rope.dims / 2, "one frequency per pair");
    for (const float frequency : rope.scaling.frequencies) {
      MARLIN_CHECK(std::isfinite(frequency) && frequency >= 0, "a frequency that rotates");
    }
    MARLIN_CHECK(std::isfinite(rope.scaling.magnitude) && rope.scaling.magnitude > 0, "a magnitude");
  }
  const float eps = d.norms[d.final_norm].eps;
  MARLIN_CHECK(std::isfinite(eps) && eps > 0, "an epsilon that keeps from dividing by 0");
  MARLIN_CHECK(CountParameters(d) < std::size_t{1} << 60, "a number of parameters that does not overflow");
}

// A matrix of 8 x 128 as a quantized checkpoint or a folder of MLX stores it, whose format the configuration decides.
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
  if (LayoutOf(json) == FolderLayout::kMlx) {
    add(kWeightSuffix, DType::kU32, {8, 16});
    add(kMlxScales, DType::kF16, {8, 2});
    add(kMlxBiases, DType::kF16, {8, 2});
  } else {
    add(kPackedSuffix, DType::kI32, {8, 16});
    add(kScaleSuffix, DType::kF16, {8, 2});
    add(kZeroPointSuffix, DType::kI32, {1, 2});
    add(kShapeSuffix, DType::kI64, {2});
  }
  if (!TranslateFolder(checkpoint)) return;
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
  const auto description = DescribeModel(*json);
  if (!description) return description.error();
  CheckDescription(*description);
  return {};
}

}  // namespace marlin
