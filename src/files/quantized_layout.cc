#include "files/quantized_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "files/checkpoint.h"
#include "files/folder_layout.h"
#include "files/known_keys.h"
#include "formats/formats.h"

namespace marlin {
namespace {
using nlohmann::json;

// The member, or a null value when there is none: keys of a foreign configuration can be looked up without a net.
const json& Member(const json& value, std::string_view key) {
  static const json kNull;
  if (!value.is_object()) return kNull;
  const auto found = value.find(key);
  return found == value.end() ? kNull : *found;
}

Error Bad(const Checkpoint& checkpoint, const std::string& what) {
  return {ErrorCode::kInput, fmt::format("{}: {}", checkpoint.path.string(), what)};
}

Error Unsupported(const Checkpoint& checkpoint, const std::string& what) {
  return {ErrorCode::kUnsupported, fmt::format("{}: {}", checkpoint.path.string(), what)};
}

}  // namespace

Result<EncodedShape> ReadEncodedShape(const Checkpoint& checkpoint, std::string_view stem) {
  const std::string name = fmt::format("{}{}", stem, kShapeSuffix);
  const auto found = checkpoint.Get(name);
  if (!found) return found.error();
  const Tensor* const tensor = *found;
  const bool wide = tensor->dtype == DType::kI64;
  if ((!wide && tensor->dtype != DType::kI32) || tensor->elements() != 2 || tensor->shape.size() != 1) {
    return Bad(checkpoint, fmt::format("tensor {} is {} [{}], want I64 [2]", name, Info(tensor->dtype).name,
                                       fmt::join(tensor->shape, ", ")));
  }
  std::int64_t values[2];
  std::int32_t narrow[2];
  std::memcpy(wide ? static_cast<void*>(values) : narrow, tensor->bytes.data(), tensor->bytes.size());
  for (std::size_t i = 0; i < 2 && !wide; ++i) values[i] = narrow[i];
  const Tensor* codes = checkpoint.Find(fmt::format("{}{}", stem, kPackedSuffix));
  MARLIN_CHECK(codes != nullptr, "the caller found the codes");
  const std::size_t most = codes->bytes.size() * 2;  // two codes a byte at the densest
  if (values[0] <= 0 || values[1] <= 0 || static_cast<std::uint64_t>(values[0]) > most ||
      static_cast<std::uint64_t>(values[1]) > most) {
    return Bad(checkpoint, fmt::format("tensor {} says [{}, {}], which cannot be the shape of {} bytes of codes", name,
                                       values[0], values[1], codes->bytes.size()));
  }
  return EncodedShape{static_cast<std::size_t>(values[0]), static_cast<std::size_t>(values[1])};
}

namespace {

// This program's own map from stem to format.
Result<const FormatRow*> FormatOfPlan(const Checkpoint& checkpoint, const json& plan, std::string_view stem) {
  const json& name = Member(plan, stem);
  if (!name.is_string())
    return Bad(checkpoint, fmt::format("config.json: the plan does not name the format of {}", stem));
  const FormatRow* format = FindFormat(name.get_ref<const std::string&>());
  if (format == nullptr || format->info.group == 0) {
    return Unsupported(checkpoint,
                       fmt::format("config.json: {} has the format {}, which this version of the program does not "
                                   "know",
                                   stem, name.dump()));
  }
  return format;
}

// Whether an entry of "config_groups" speaks of a format.
bool IsOf(const FormatInfo& format, const json& layout, const json& weights) {
  if (!Holds(FolderLayout::kCompressedTensors, format) || layout != CompressedTensorsName(format)) return false;
  const json wanted = CompressedTensorsWeights(format);
  return std::ranges::all_of(std::array{"num_bits", "type", "symmetric", "strategy", "group_size"},
                             [&](const char* key) { return Member(weights, key) == wanted[key]; });
}

// The format that cuts the matrix into the scales and codes that are there, among those of the configuration's groups.
// Which modules a group applies to is not worked out: a group of a kind that this program does not read is refused.
Result<const FormatRow*> FormatOfCompressedTensors(const Checkpoint& checkpoint, const json& quantization,
                                                   std::string_view stem, std::size_t rows, std::size_t cols) {
  const json& groups = Member(quantization, "config_groups");
  if (!groups.is_object() || groups.empty())
    return Bad(checkpoint, "config.json: \"config_groups\" is missing or empty");
  const auto scales = checkpoint.Get(fmt::format("{}{}", stem, kScaleSuffix));
  if (!scales) return scales.error();
  const auto codes = checkpoint.Get(fmt::format("{}{}", stem, kPackedSuffix));
  if (!codes) return codes.error();
  const FormatRow* match = nullptr;
  for (const auto& [name, group] : groups.items()) {
    const json& weights = Member(group, "weights");
    const json& layout = Member(group, "format").is_null() ? Member(quantization, "format") : Member(group, "format");
    bool known = false;
    for (const FormatRow& row : Formats()) {
      if (!IsOf(row.info, layout, weights)) continue;
      known = true;
      const bool bytes = Info((*scales)->dtype).block_bytes == 1;  // instead of numbers of 16 bits
      if ((*scales)->cols() != GroupsPerRow(row.info, cols) || bytes != (row.info.scale_bits == 8)) continue;
      const bool fits = (*codes)->bytes.size() == SizeOfEncoded(row.info, rows, cols).code_bytes;
      if (fits || match == nullptr) match = &row;
    }
    if (known) continue;
    return Unsupported(
        checkpoint,
        fmt::format("config.json: {} is of a kind of compressed-tensors that this program does not read (num_bits {}, "
                    "type {}, symmetric {}, strategy {}, group_size {}, format {}); it reads what {} are written as",
                    name, Member(weights, "num_bits").dump(), Member(weights, "type").dump(),
                    Member(weights, "symmetric").dump(), Member(weights, "strategy").dump(),
                    Member(weights, "group_size").dump(), layout.dump(), FormatsOf(FolderLayout::kCompressedTensors)));
  }
  if (match == nullptr) {
    return Unsupported(checkpoint, fmt::format("{}: no format of config.json has {} scales for {} columns", stem,
                                               (*scales)->cols(), cols));
  }
  return match;
}

}  // namespace

Result<const FormatRow*> FormatOf(const Checkpoint& checkpoint, std::string_view stem, std::size_t rows,
                                  std::size_t cols) {
  const json& quantization = Member(checkpoint.config, "quantization_config");
  const json& ours = Member(quantization, "metal_marlin");
  if (!ours.is_null()) return FormatOfPlan(checkpoint, Member(ours, "plan"), stem);
  const json& method = Member(quantization, "quant_method");
  if (method != "compressed-tensors") {
    return Unsupported(
        checkpoint, fmt::format("config.json: {} is quantized by the method {}, which this program does not read", stem,
                                method.dump()));
  }
  return FormatOfCompressedTensors(checkpoint, quantization, stem, rows, cols);
}

namespace {

// The part, with exactly the type and shape that the format wants.
Result<std::span<const std::uint8_t>> FindPart(const Checkpoint& checkpoint, const PlannedTensor& wanted) {
  const auto found = checkpoint.Get(wanted.name);
  if (!found) return found.error();
  const Tensor* const tensor = *found;
  if (wanted.name.ends_with(kScaleSuffix) && tensor->dtype == DType::kBF16) {
    return Unsupported(checkpoint,
                       fmt::format("tensor {} holds BF16 scales and this program computes with F16 scales; convert "
                                   "the scales to F16 or quantize the original model with this program",
                                   checkpoint.NameInFiles(wanted.name)));
  }
  if (tensor->dtype != wanted.dtype || tensor->shape != wanted.shape) {
    return Bad(checkpoint, fmt::format("tensor {} is {} [{}], want {} [{}]", checkpoint.NameInFiles(wanted.name),
                                       Info(tensor->dtype).name, fmt::join(tensor->shape, ", "),
                                       Info(wanted.dtype).name, fmt::join(wanted.shape, ", ")));
  }
  return tensor->bytes;
}

// Why the first scale that this program does not compute with is none; empty where all are.
std::string FindBadScale(const EncodedMatrixView& matrix) {
  const ScaleType type = matrix.format->info.scale_type;
  if (type == ScaleType::kE8m0) {
    const auto bad = std::ranges::find_if_not(matrix.scales, IsE8m0InRange);
    if (bad == matrix.scales.end()) return {};
    return fmt::format("the scale 2^{}, want 2^{} to 2^{}", *bad - kE8m0Bias, kLeastScaleExponent,
                       kLargestScaleExponent);
  }
  if (type == ScaleType::kE4m3) {
    const auto bad = std::ranges::find_if(matrix.scales, [](std::uint8_t byte) { return byte > kE4m3MaxByte; });
    if (bad != matrix.scales.end()) return fmt::format("the E4M3 scale {:#04x}, want 0 to {:#04x}", *bad, kE4m3MaxByte);
  }
  return {};
}

Status CheckScales(const Checkpoint& checkpoint, std::string_view stem, const EncodedMatrixView& matrix) {
  const auto in_file = [&](std::string_view suffix) {
    return checkpoint.NameInFiles(fmt::format("{}{}", stem, suffix));
  };
  if (const std::string bad = FindBadScale(matrix); !bad.empty()) {
    return Bad(checkpoint, fmt::format("tensor {} holds {}", in_file(kScaleSuffix), bad));
  }
  if (matrix.format->info.unit_scope != UnitScope::kMatrix) return {};
  float inverse = 0;
  std::memcpy(&inverse, matrix.units.data(), sizeof(inverse));
  const float unit = 1 / inverse;
  int exponent = 0;
  if (std::isfinite(unit) && std::frexp(unit, &exponent) == 0.5f && HalfToFloat(FloatToHalf(unit)) == unit) return {};
  return Bad(checkpoint,
             fmt::format("tensor {} holds {}, want a power of two from 2^{} to 2^{}", in_file(kGlobalScaleSuffix),
                         inverse, -kLargestScaleExponent, -kLeastScaleExponent));
}

// The tensor of numbers that are stored as scales are: one per group.
PlannedTensor TensorOfGroups(std::string name, const FormatInfo& info, std::size_t rows, std::size_t cols) {
  const std::size_t groups = GroupsPerRow(info, cols);
  switch (info.scale_type) {
    case ScaleType::kFp16:
      return {std::move(name), DType::kF16, {rows, groups}};
    case ScaleType::kE8m0:
      return {std::move(name), DType::kU8, {rows, groups}};
    case ScaleType::kE4m3:
      return {std::move(name), DType::kF8E4M3, {rows, groups}};
    case ScaleType::kInt8:
      return {std::move(name), DType::kI8, {rows, groups}};
    case ScaleType::kUint6:
      return {std::move(name), DType::kU8, {rows, BytesOfBits(groups, info.scale_bits)}};
  }
  return {};
}

PlannedTensor TensorOfCodes(std::string name, const FormatInfo& info, std::size_t rows, std::size_t cols) {
  if (info.family == "int4" && cols % 8 == 0) return {std::move(name), DType::kI32, {rows, cols / 8}};
  const DType dtype = info.code_bits == 8 ? DType::kI8 : DType::kU8;
  return {std::move(name), dtype, {rows, CodeBytesPerRow(info, cols)}};
}

}  // namespace

std::vector<EncodedTensor> EncodedTensors(std::string_view stem, const FormatRow& format, std::size_t rows,
                                          std::size_t cols) {
  using View = EncodedMatrixView;
  const FormatInfo& info = format.info;
  MARLIN_CHECK(info.group != 0, "dense formats are stored as plain tensors");
  const auto name = [&](std::string_view suffix) { return fmt::format("{}{}", stem, suffix); };
  std::vector<EncodedTensor> parts;
  parts.push_back({TensorOfCodes(name(kPackedSuffix), info, rows, cols), &View::codes});
  parts.push_back({TensorOfGroups(name(kScaleSuffix), info, rows, cols), &View::scales});
  if (info.zero_point_bits != 0) {
    const std::size_t groups = GroupsPerRow(info, cols);
    parts.push_back({{name(kZeroPointSuffix), DType::kI32, {(rows + 7) / 8, groups}}, &View::zero_points});
  }
  if (HasBias(info)) parts.push_back({TensorOfGroups(name(kBiasSuffix), info, rows, cols), &View::biases});
  if (info.unit_scope == UnitScope::kMatrix) {
    parts.push_back({{name(kGlobalScaleSuffix), DType::kF32, {1}}, &View::units});
  } else if (info.unit_scope == UnitScope::kBlock) {
    const std::vector<std::uint64_t> shape = {rows, UnitBlocks(info, cols), UnitsPerBlock(info)};
    parts.push_back({{name(kUnitSuffix), DType::kF16, shape}, &View::units});
  }
  parts.push_back({{name(kShapeSuffix), DType::kI64, {2}}});
  return parts;
}

std::optional<std::string_view> StemOfEncoded(std::string_view name) {
  for (const std::string_view suffix : kEncodedSuffixes) {
    if (name.ends_with(suffix)) return name.substr(0, name.size() - suffix.size());
  }
  return std::nullopt;
}

std::array<std::uint8_t, 16> EncodedShapeBytes(std::size_t rows, std::size_t cols) {
  std::array<std::uint8_t, 16> bytes;
  for (std::size_t i = 0; i < 8; ++i) {
    bytes[i] = static_cast<std::uint8_t>(rows >> (8 * i));
    bytes[8 + i] = static_cast<std::uint8_t>(cols >> (8 * i));
  }
  return bytes;
}

bool FitsPackQuantized(const FormatInfo& format, std::size_t cols) {
  return format.family == "int4" && cols % static_cast<std::size_t>(format.group) == 0;
}

Result<EncodedMatrixView> FindEncoded(const Checkpoint& checkpoint, std::string_view stem) {
  if (checkpoint.Find(fmt::format("{}{}", stem, kPackedSuffix)) == nullptr) {
    return Bad(checkpoint,
               fmt::format("tensor {} is missing", checkpoint.NameInFiles(fmt::format("{}{}", stem, kPackedSuffix))));
  }
  if (checkpoint.Find(fmt::format("{}.weight_g_idx", stem)) != nullptr) {
    return Unsupported(checkpoint,
                       fmt::format("{} was quantized with reordered columns (weight_g_idx), which this program does "
                                   "not read",
                                   stem));
  }
  const auto shape = ReadEncodedShape(checkpoint, stem);
  if (!shape) return shape.error();
  const auto format = FormatOf(checkpoint, stem, shape->rows, shape->cols);
  if (!format) return format.error();
  EncodedMatrixView view;
  view.format = *format;
  view.rows = shape->rows;
  view.cols = shape->cols;
  if (!FitsRows((*format)->info, view.cols)) {
    return Bad(checkpoint, fmt::format("{} has rows of {} weights, want a multiple of {} for {}", stem, view.cols,
                                       (*format)->info.block, (*format)->info.name));
  }
  for (const EncodedTensor& part : EncodedTensors(stem, **format, view.rows, view.cols)) {
    if (part.bytes == nullptr) continue;  // read above
    if (auto status = FindPart(checkpoint, part.tensor).MoveTo(view.*part.bytes); !status) return status.error();
  }
  if (auto status = CheckScales(checkpoint, stem, view); !status) return status.error();
  return view;
}

namespace {

// The keys of a compressed-tensors configuration; what a group of weights says is checked with its weights.
constexpr std::array kCompressedTensorsKeys = {
    // Used.
    KnownKey{"quant_method"},
    KnownKey{"format"},
    KnownKey{"config_groups"},
    KnownKey{"metal_marlin"},
    // Without effect: which modules are quantized is seen from the tensors.
    KnownKey{"ignore"},
    KnownKey{"global_compression_ratio"},
    KnownKey{"quantization_status"},
    KnownKey{"version"},
    KnownKey{"run_compressed"},
    // Without effect with these values: others quantize the KV cache, leave out weights, or rotate activations.
    KnownKey{"kv_cache_scheme", &kEmpty},
    KnownKey{"sparsity_config", &kEmpty},
    KnownKey{"transform_config", &kEmpty},
};

Status CheckCompressedTensors(Checkpoint& checkpoint, const json& quantization) {
  const std::string where = (checkpoint.path / "config.json").string();
  for (const auto& [key, value] : quantization.items()) {
    if (value.is_null()) continue;
    const std::string name = "quantization_config." + key;
    const auto status = CheckKey(FindKnownKey(kCompressedTensorsKeys, key), name, value, where, checkpoint.accepted);
    if (!status) return status;
  }
  for (const auto& [name, group] : Member(quantization, "config_groups").items()) {
    for (const char* key : {"input_activations", "output_activations"}) {
      if (Member(group, key).is_null()) continue;
      return Unsupported(checkpoint, fmt::format("config.json: {} quantizes activations ({}), which this program does "
                                                 "not compute; quantize the 16-bit original instead",
                                                 name, key));
    }
  }
  return {};
}

}  // namespace

Status CheckQuantization(Checkpoint& checkpoint) {
  // MLX calls the key "quantization", early versions of compressed-tensors "compression_config".
  const bool mlx = LayoutOf(checkpoint.config) == FolderLayout::kMlx;  // checked with its tensors
  for (const char* key : {"quantization", "compression_config"}) {
    if (Member(checkpoint.config, key).is_null() || (mlx && key == std::string_view("quantization"))) continue;
    return Unsupported(checkpoint,
                       fmt::format("config.json: the weights are quantized (\"{}\" is {}) in a way that this "
                                   "program does not read; name the 16-bit original",
                                   key, ShortValue(checkpoint.config[key])));
  }
  const auto found = checkpoint.config.find("quantization_config");
  if (found == checkpoint.config.end()) return {};
  if (found->is_null()) {
    checkpoint.config.erase(found);
    return {};
  }
  if (!found->is_object()) {
    return Bad(checkpoint,
               fmt::format("config.json: \"quantization_config\" is {}, want an object or null", ShortValue(*found)));
  }
  const json& ours = Member(*found, "metal_marlin");
  for (const json& name : Member(ours, "accepted_unknown")) {
    if (name.is_string()) checkpoint.accepted.Inherit(name.get<std::string>());
  }
  const json& method = Member(*found, "quant_method");
  if (method == "compressed-tensors") return CheckCompressedTensors(checkpoint, *found);
  if ((method == "metal-marlin" || method == kMlxMethod) && ours.is_object()) return {};
  const std::string by = method.is_string() ? method.get<std::string>() : "a method without a name";
  return Unsupported(checkpoint, fmt::format("quantized by {}, which this program does not read; name the 16-bit "
                                             "original",
                                             by));
}

void NameFormat(json& config, const std::string& stem, std::string_view format) {
  if (Member(Member(Member(config, "quantization_config"), "metal_marlin"), "plan").is_null()) return;
  config["quantization_config"]["metal_marlin"]["plan"][stem] = format;
}

FolderLayout LayoutOf(const json& config) {
  const json& quantization = Member(config, "quantization_config");
  const json& method = Member(quantization, "quant_method");
  if (method == "compressed-tensors") return FolderLayout::kCompressedTensors;
  return method == kMlxMethod && Member(quantization, "metal_marlin").is_object() ? FolderLayout::kMlx
                                                                                  : FolderLayout::kOwn;
}

std::optional<std::string> OnlineRotation(const json& config) {
  const json& rotation = Member(Member(Member(config, "quantization_config"), "metal_marlin"), "rotation");
  if (!rotation.is_object()) return std::nullopt;
  for (const auto& [key, value] : rotation.items()) {
    if (key == "seed" || key == "heads" || key == "residual" || value.is_null() || value == false) continue;
    return key;
  }
  return std::nullopt;
}

std::optional<MadeBy> ReadMadeBy(const json& config) {
  const json& ours = Member(Member(config, "quantization_config"), "metal_marlin");
  const json& method = Member(ours, "method");
  if (!method.is_string()) return std::nullopt;
  MadeBy made;
  made.method = method.get<std::string>();
  const json& calibration = Member(ours, "calibration");
  const auto text = [](const json& object, const char* name) {
    const json& value = Member(object, name);
    return value.is_string() ? value.get<std::string>() : std::string();
  };
  const auto count = [&](const char* name) {
    const json& value = Member(calibration, name);
    return value.is_number_unsigned() ? value.get<std::size_t>() : 0;
  };
  made.text_name = text(calibration, "text");
  made.text_sha256 = text(calibration, "sha256");
  made.windows = count("windows");
  made.ctx = count("ctx");
  made.plan_sha256 = text(ours, "plan_sha256");
  made.plan_budget = text(ours, "plan_budget");
  return made;
}

}  // namespace marlin
