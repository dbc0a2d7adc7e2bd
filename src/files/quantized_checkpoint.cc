#include "files/quantized_checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "files/quantized_layout.h"
#include "files/sums_file.h"

namespace marlin {
namespace {
using nlohmann::json;

bool IsEmbedding(std::string_view name) { return name.find("embed_tokens") != std::string_view::npos; }

// Other programs quantize linear layers only, with groups that divide the rows.
bool IsReadableByOthers(const QuantizedPlan& plan) {
  bool any = false;
  for (const PlannedWeight& weight : plan.weights) {
    if (weight.format == nullptr) continue;
    any = true;
    if (!FitsPackQuantized(weight.format->info, weight.shape[1]) || IsEmbedding(weight.name)) return false;
  }
  return any;
}

// One entry of "config_groups": INT4 with the group size of `info` for the modules in `targets`.
json ConfigGroup(const FormatInfo& info, json targets) {
  return {{"targets", std::move(targets)},
          {"weights",
           {{"num_bits", info.code_bits},
            {"type", "int"},
            {"symmetric", info.zero_point_bits == 0},
            {"group_size", info.group},
            {"strategy", "group"},
            {"dynamic", false}}},
          {"input_activations", nullptr},
          {"output_activations", nullptr},
          {"format", "pack-quantized"}};
}

// One format: all linear layers but those in "ignore". Several: each names its modules.
json ConfigGroups(const QuantizedPlan& plan) {
  std::map<std::string_view, std::pair<const FormatInfo*, json>> modules;  // by format
  for (const PlannedWeight& weight : plan.weights) {
    if (weight.format == nullptr) continue;
    auto& group = modules.try_emplace(weight.format->info.name, &weight.format->info, json::array()).first->second;
    group.second.push_back(weight.name);
  }
  json groups = json::object();
  for (auto& [name, group] : modules) {
    json targets = modules.size() == 1 ? json::array({"Linear"}) : std::move(group.second);
    groups[fmt::format("group_{}", groups.size())] = ConfigGroup(*group.first, std::move(targets));
  }
  return groups;
}

// Linear layers that stay plain. The head is one of them even when it is the embedding and has no tensor.
json Ignored(const QuantizedPlan& plan) {
  std::vector<std::string> names;
  bool head_is_quantized = false;
  for (const PlannedWeight& weight : plan.weights) {
    if (weight.format != nullptr) {
      head_is_quantized = head_is_quantized || weight.name == "lm_head";
      continue;
    }
    const bool linear = weight.shape.size() == 2 && weight.name.ends_with(kWeightSuffix) && !IsEmbedding(weight.name);
    if (linear) names.push_back(weight.name.substr(0, weight.name.size() - kWeightSuffix.size()));
  }
  if (!head_is_quantized && std::find(names.begin(), names.end(), "lm_head") == names.end()) names.push_back("lm_head");
  return names;
}

std::vector<PlannedTensor> PlanTensors(const QuantizedPlan& plan) {
  std::vector<PlannedTensor> tensors;
  for (const PlannedWeight& weight : plan.weights) {
    if (weight.format == nullptr) {
      tensors.push_back({weight.name, weight.dtype, weight.shape});
      continue;
    }
    MARLIN_CHECK(weight.shape.size() == 2, "an encoded weight is a matrix");
    for (EncodedTensor& part : EncodedTensors(weight.name, *weight.format, weight.shape[0], weight.shape[1])) {
      tensors.push_back(std::move(part.tensor));
    }
  }
  return tensors;
}

std::string Text(const json& value) { return value.dump(2, ' ', false, json::error_handler_t::replace) + "\n"; }

}  // namespace

json QuantizationConfig(const QuantizedPlan& plan) {
  json formats = json::object();
  for (const PlannedWeight& weight : plan.weights) {
    if (weight.format != nullptr) formats[weight.name] = weight.format->info.name;
  }
  const Provenance& from = plan.provenance;
  json ours = {{"layout", kQuantizedLayoutVersion},
               {"method", from.method},
               {"calibration", from.calibration},
               {"rotation", from.rotation},
               {"plan", std::move(formats)},
               {"source",
                {{"name", from.source_name},
                 {"container", from.source_container},
                 {"type", from.source_type},
                 {"sha256", from.source_sha256}}},
               {"program", from.program},
               {"command", from.command}};
  if (!from.plan_sha256.empty()) ours["plan_sha256"] = from.plan_sha256;
  if (!from.plan_budget.empty()) ours["plan_budget"] = from.plan_budget;
  if (!from.accepted_unknown.empty()) ours["accepted_unknown"] = from.accepted_unknown;
  if (!IsReadableByOthers(plan)) return {{"quant_method", "metal-marlin"}, {"metal_marlin", ours}};
  return {{"quant_method", "compressed-tensors"}, {"format", "pack-quantized"}, {"quantization_status", "compressed"},
          {"config_groups", ConfigGroups(plan)},  {"ignore", Ignored(plan)},    {"kv_cache_scheme", nullptr},
          {"global_compression_ratio", nullptr},  {"metal_marlin", ours}};
}

namespace {

// Nothing is replaced that quantize did not write.
Status CheckReplaceable(const std::filesystem::path& path) {
  std::error_code code;
  if (!std::filesystem::exists(std::filesystem::symlink_status(path, code))) return {};
  const auto refuse = [&](const std::string& what) {
    return Error{ErrorCode::kInput, fmt::format("{} {}; --overwrite replaces only what quantize made: choose another "
                                                "name, or move it away",
                                                path.string(), what)};
  };
  if (std::filesystem::is_symlink(path, code)) return refuse("is a link");
  if (!std::filesystem::is_directory(path, code)) return refuse("is not a folder");
  const auto unlisted = FirstUnlisted(path);
  if (!unlisted) return unlisted.error();
  if (!unlisted->empty()) return refuse("holds " + *unlisted);
  return {};
}

}  // namespace

QuantizedWriter::QuantizedWriter(AtomicDir folder, QuantizedPlan plan, SafetensorsWriter writer)
    : folder_(std::move(folder)), plan_(std::move(plan)), writer_(std::move(writer)) {}

Result<QuantizedWriter> QuantizedWriter::Create(const std::filesystem::path& path, bool overwrite, QuantizedPlan plan) {
  if (overwrite) {
    if (auto status = CheckReplaceable(path); !status) return status.error();
  }
  auto folder = AtomicDir::Create(path, overwrite);
  if (!folder) return folder.error();
  auto writer = SafetensorsWriter::Create(folder->temporary(), PlanTensors(plan), {}, plan.max_shard_bytes);
  if (!writer) return writer.error();
  return QuantizedWriter(std::move(*folder), std::move(plan), std::move(*writer));
}

const PlannedWeight& QuantizedWriter::Next(std::string_view name) {
  MARLIN_CHECK(next_ < plan_.weights.size() && plan_.weights[next_].name == name,
               "weights come in the order of the plan");
  return plan_.weights[next_++];
}

Status QuantizedWriter::Write(std::string_view stem, const EncodedMatrixView& matrix) {
  const PlannedWeight& planned = Next(stem);
  MARLIN_CHECK(planned.format == matrix.format, "the format of the plan");
  MARLIN_CHECK(planned.shape[0] == matrix.rows && planned.shape[1] == matrix.cols, "the shape of the plan");
  const auto shape = EncodedShapeBytes(matrix.rows, matrix.cols);
  for (const EncodedTensor& part : EncodedTensors(stem, *matrix.format, matrix.rows, matrix.cols)) {
    const std::span<const std::uint8_t> bytes =
        part.bytes == nullptr ? std::span<const std::uint8_t>(shape) : matrix.*part.bytes;
    if (auto status = writer_.Write(part.tensor.name, bytes); !status) return status;
  }
  return {};
}

Status QuantizedWriter::Write(std::string_view name, std::span<const std::uint8_t> bytes) {
  MARLIN_CHECK(Next(name).format == nullptr, "a plain tensor of the plan");
  return writer_.Write(name, bytes);
}

Status QuantizedWriter::Commit() {
  MARLIN_CHECK(next_ == plan_.weights.size(), "every weight of the plan was written");
  if (auto status = writer_.Commit(); !status) return status;
  json config = std::move(plan_.config);
  config["quantization_config"] = QuantizationConfig(plan_);
  const std::filesystem::path& folder = folder_.temporary();
  if (auto status = WriteFileAtomic(folder / "config.json", Text(config)); !status) return status;
  for (const auto& [name, text] : plan_.files) {
    if (auto status = WriteFileAtomic(folder / name, text); !status) return status;
  }
  if (auto status = WriteSums(folder); !status) return status;
  return folder_.Commit();
}

}  // namespace marlin
