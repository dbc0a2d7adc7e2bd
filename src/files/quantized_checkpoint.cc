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

// Those that are quantized, by the name of their format.
std::map<std::string_view, std::vector<const PlannedWeight*>> ByFormat(const QuantizedPlan& plan) {
  std::map<std::string_view, std::vector<const PlannedWeight*>> out;
  for (const PlannedWeight& weight : plan.weights) {
    if (weight.format != nullptr) out[weight.format->info.name].push_back(&weight);
  }
  return out;
}

// One format: all linear layers but those in "ignore". Several: each names its modules.
json ConfigGroups(const QuantizedPlan& plan) {
  const auto formats = ByFormat(plan);
  json groups = json::object();
  for (const auto& [name, weights] : formats) {
    const FormatInfo& info = weights.front()->format->info;
    json targets = json::array();
    for (const PlannedWeight* weight : weights) targets.push_back(weight->name);
    if (formats.size() == 1) targets = json::array({"Linear"});
    groups[fmt::format("group_{}", groups.size())] = {{"targets", std::move(targets)},
                                                      {"weights", CompressedTensorsWeights(info)},
                                                      {"input_activations", nullptr},
                                                      {"output_activations", nullptr},
                                                      {"format", CompressedTensorsName(info)}};
  }
  return groups;
}

// What all formats are called, if they are called the same.
std::string_view CommonName(const QuantizedPlan& plan) {
  std::string_view common;
  for (const auto& [name, weights] : ByFormat(plan)) {
    const std::string_view own = CompressedTensorsName(weights.front()->format->info);
    if (!common.empty() && own != common) return "mixed-precision";
    common = own;
  }
  return common;
}

// What MLX reads: the settings of the format that most modules have, and those of the others under their names.
json MlxQuantization(const QuantizedPlan& plan) {
  const auto formats = ByFormat(plan);
  const auto most = std::ranges::max_element(formats, {}, [](const auto& entry) { return entry.second.size(); });
  json out = MlxSettings(most->second.front()->format->info);
  for (const auto& [name, weights] : formats) {
    if (name == most->first) continue;
    for (const PlannedWeight* weight : weights) out[weight->name] = MlxSettings(weight->format->info);
  }
  return out;
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
    for (PlannedTensor& part :
         TensorsOf(plan.layout, plan.number, weight.name, *weight.format, weight.shape[0], weight.shape[1])) {
      tensors.push_back(std::move(part));
    }
  }
  return tensors;
}

json Describe(const Provenance& from) {
  json ours = {{"layout", kQuantizedLayoutVersion},
               {"method", from.method},
               {"calibration", from.calibration},
               {"rotation", from.rotation},
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
  return ours;
}

std::string Text(const json& value) { return value.dump(2, ' ', false, json::error_handler_t::replace) + "\n"; }

}  // namespace

json QuantizationConfig(const QuantizedPlan& plan) {
  json formats = json::object();
  for (const PlannedWeight& weight : plan.weights) {
    if (weight.format != nullptr) formats[weight.name] = weight.format->info.name;
  }
  json ours = plan.made.is_null() ? Describe(plan.provenance) : plan.made;
  ours["plan"] = std::move(formats);
  if (plan.layout == FolderLayout::kMlx) return {{"quant_method", kMlxMethod}, {"metal_marlin", ours}};
  if (plan.layout == FolderLayout::kOwn && !IsReadableByOthers(plan)) {
    return {{"quant_method", "metal-marlin"}, {"metal_marlin", ours}};
  }
  return {{"quant_method", "compressed-tensors"}, {"format", CommonName(plan)}, {"quantization_status", "compressed"},
          {"config_groups", ConfigGroups(plan)},  {"ignore", Ignored(plan)},    {"kv_cache_scheme", nullptr},
          {"global_compression_ratio", nullptr},  {"metal_marlin", ours}};
}

namespace {

// Nothing is replaced that this program did not write.
Status CheckReplaceable(const std::filesystem::path& path) {
  std::error_code code;
  if (!std::filesystem::exists(std::filesystem::symlink_status(path, code))) return {};
  const auto refuse = [&](const std::string& what) {
    return Error{ErrorCode::kInput,
                 fmt::format("{} {}; --overwrite replaces only what this program made: choose another "
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

Status CheckNewFolder(const std::filesystem::path& path, bool overwrite) {
  if (overwrite) {
    if (auto status = CheckReplaceable(path); !status) return status;
  }
  const auto named = CheckOutputFolder(path, overwrite);
  return named ? Status() : named.error();
}

QuantizedWriter::QuantizedWriter(AtomicDir folder, QuantizedPlan plan, SafetensorsWriter writer)
    : folder_(std::move(folder)), plan_(std::move(plan)), writer_(std::move(writer)) {}

Result<QuantizedWriter> QuantizedWriter::Create(const std::filesystem::path& path, bool overwrite, QuantizedPlan plan) {
  if (auto status = CheckNewFolder(path, overwrite); !status) return status.error();
  auto tensors = PlanTensors(plan);
  const std::size_t count = tensors.size();
  std::uint64_t bytes = 0;
  for (const PlannedTensor& tensor : tensors) {
    const auto size = ByteSize(tensor.dtype, tensor.shape, "tensor " + tensor.name);
    if (!size) return size.error();
    bytes += *size;
  }
  auto folder = AtomicDir::Create(path, overwrite);
  if (!folder) return folder.error();
  if (auto status = CheckFreeSpace(folder->temporary(), bytes); !status) return status.error();
  auto writer = SafetensorsWriter::Create(folder->temporary(), std::move(tensors), {}, plan.max_shard_bytes);
  if (!writer) return writer.error();
  QuantizedWriter out(std::move(*folder), std::move(plan), std::move(*writer));
  out.tensors_ = count;
  out.bytes_ = bytes;
  return out;
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
  const auto bytes = BytesOf(plan_.layout, plan_.number, matrix);
  const auto tensors = TensorsOf(plan_.layout, plan_.number, stem, *matrix.format, matrix.rows, matrix.cols);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (auto status = writer_.Write(tensors[i].name, bytes[i].view()); !status) return status;
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
  config.erase("quantization");
  if (plan_.layout == FolderLayout::kMlx) config["quantization"] = MlxQuantization(plan_);
  const std::filesystem::path& folder = folder_.temporary();
  if (auto status = WriteFileAtomic(folder / "config.json", Text(config)); !status) return status;
  for (const auto& [name, text] : plan_.files) {
    if (auto status = WriteFileAtomic(folder / name, text); !status) return status;
  }
  if (auto status = WriteSums(folder); !status) return status;
  return folder_.Commit();
}

}  // namespace marlin
