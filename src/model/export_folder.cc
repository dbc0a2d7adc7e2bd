#include "model/export_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/check.h"
#include "base/file.h"
#include "base/half.h"
#include "files/quantized_layout.h"
#include "model/config_keys.h"
#include "model/families/family.h"
#include "model/folder_parts.h"
#include "model/mlx_config.h"
#include "model/same_description.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

// Files beside the weights that other programs look for.
constexpr const char* kCompanions[] = {"tokenizer.json",
                                       "tokenizer_config.json",
                                       "special_tokens_map.json",
                                       "added_tokens.json",
                                       "vocab.json",
                                       "merges.txt",
                                       "tokenizer.model",
                                       "tekken.json",
                                       "generation_config.json",
                                       "chat_template.jinja",
                                       "chat_template.json"};

Error Refused(const OpenedModel& source, const std::string& what) {
  return {ErrorCode::kUnsupported, fmt::format("{}: {}", source.checkpoint.path.string(), what)};
}

std::size_t RowsOf(const std::vector<std::size_t>& shape) { return shape.empty() ? 1 : shape[0]; }

// The parts of stored tensors, by the names of their own tensors.
std::map<std::string, const SplitTensor*> SplitsOf(const Description& description) {
  std::map<std::string, const SplitTensor*> splits;
  for (const SplitTensor& split : description.splits) splits[description.tensors[split.tensor].name] = &split;
  return splits;
}

std::string WithoutWeight(const std::string& name) {
  return name.ends_with(kWeightSuffix) ? name.substr(0, name.size() - kWeightSuffix.size()) : name;
}

// What is stored as one becomes one again.
Result<std::vector<FolderWeight>> WeightsIn(const OpenedModel& source) {
  const auto splits = SplitsOf(source.description);
  std::vector<FolderWeight> weights;
  std::map<std::string, std::size_t> wholes;  // by name, in `weights`
  for (const Tensor& tensor : source.checkpoint.tensors) {
    auto found = PartOf(source.checkpoint, tensor);
    if (!found) return found.error();
    if (!*found) continue;
    NamedPart& own = **found;
    const bool encoded = own.part.encoded.has_value();
    const auto split = splits.find(encoded ? WeightName(own.name) : own.name);
    if (split == splits.end()) {
      weights.push_back({own.name, own.shape, {std::move(own.part)}});
      continue;
    }
    const SplitTensor& of = *split->second;
    if (of.source.transposed || of.source.expert) {
      return Refused(source, fmt::format("{} is a part of {}, which other programs store {}: its groups have no place "
                                         "there; --to gguf writes it as a matrix of its own",
                                         own.name, of.stored.name, of.source.expert ? "stacked" : "transposed"));
    }
    own.part.rows = of.source.rows;
    const std::string name = encoded ? WithoutWeight(of.stored.name) : of.stored.name;
    const auto [place, is_new] = wholes.try_emplace(name, weights.size());
    if (is_new) weights.push_back({name, of.stored.shape, {}});
    weights[place->second].parts.push_back(std::move(own.part));
  }
  return weights;
}

// That all parts of a whole are there and of one kind.
Status CheckWhole(const OpenedModel& source, const FolderWeight& weight) {
  std::size_t rows = 0;
  const FolderWeight::Part& first = weight.parts.front();
  for (const FolderWeight::Part& part : weight.parts) {
    rows += part.encoded ? part.encoded->rows : RowsOf(part.plain->shape);
    const bool same =
        part.encoded.has_value() == first.encoded.has_value() &&
        (part.encoded ? part.encoded->format == first.encoded->format : part.plain->dtype == first.plain->dtype);
    if (same) continue;
    return Refused(source,
                   fmt::format("{} is stored as one matrix, and its parts have different formats; quantize them "
                               "to the same one",
                               weight.name));
  }
  const bool one_unit = first.encoded && first.encoded->format->info.unit_scope == UnitScope::kMatrix;
  for (const FolderWeight::Part& part : weight.parts) {
    if (!one_unit || std::ranges::equal(part.encoded->units, first.encoded->units)) continue;
    return Refused(source, fmt::format("{} is stored as one matrix, and its parts of {} have different units for their "
                                       "scales; quantize them to another format",
                                       weight.name, first.encoded->format->info.name));
  }
  if (weight.parts.size() == 1 && first.rows.run == 0) return {};
  if (rows == RowsOf(weight.shape)) return {};
  return Refused(source, fmt::format("{} has {} rows, of which {} are quantized; it is stored as one matrix: quantize "
                                     "all of it or nothing",
                                     weight.name, RowsOf(weight.shape), rows));
}

Status CheckShape(const OpenedModel& source, const FolderWeight& weight, FolderLayout layout) {
  const FormatInfo& info = weight.parts.front().encoded->format->info;
  if (!Holds(layout, info)) {
    const std::string others = ContainersOf(info);
    return Refused(source, fmt::format("{} is {}, which {} does not hold without loss ({}); quantize to one of {}",
                                       weight.name, info.name, NameOf(layout),
                                       others.empty() ? "no other container does either" : "held by " + others,
                                       FormatsOf(layout)));
  }
  const auto group = static_cast<std::size_t>(info.group);
  if (weight.shape[1] % group != 0) {
    return Refused(source, fmt::format("{} has rows of {} weights, and {} wants whole groups of {}; quantize it to a "
                                       "format whose group divides its rows, or keep it in 16 bits",
                                       weight.name, weight.shape[1], NameOf(layout), group));
  }
  const Matrix& embedding = source.description.matrices[source.description.embedding];
  if (layout == FolderLayout::kCompressedTensors && weight.name == embedding.name) {
    return Refused(source, fmt::format("{} is the embedding, which programs that read compressed-tensors keep in 16 "
                                       "bits; quantize without --quantize-embeddings, or export --to mlx",
                                       weight.name));
  }
  return {};
}

// The type of most plain tensors, by their numbers.
DType UsualType(const std::vector<FolderWeight>& weights) {
  std::map<DType, std::size_t> numbers;
  for (const FolderWeight& weight : weights) {
    for (const FolderWeight::Part& part : weight.parts) {
      if (part.plain != nullptr) numbers[part.plain->dtype] += part.plain->elements();
    }
  }
  for (const DType type : {DType::kBF16, DType::kF32, DType::kF16}) numbers.try_emplace(type, 0);
  DType most = DType::kF16;
  for (const DType type : {DType::kBF16, DType::kF32}) most = numbers[type] > numbers[most] ? type : most;
  return most;
}

// The --type whose numbers hold all scales and biases.
std::string ExactTypes(const std::vector<FolderWeight>& weights, DType but) {
  const auto holds = [&](DType type) {
    return std::ranges::all_of(weights, [&](const FolderWeight& weight) {
      return std::ranges::all_of(weight.parts, [&](const FolderWeight::Part& part) {
        return !part.encoded || CountInexact(*part.encoded, type).count == 0;
      });
    });
  };
  const bool half = but != DType::kF16 && holds(DType::kF16);
  return half ? "--type f16 or --type f32" : "--type f32";
}

// MLX keeps scales and biases in the type that the model computes in.
Status CheckExact(const OpenedModel& source, const std::vector<FolderWeight>& weights, DType type) {
  for (const FolderWeight& weight : weights) {
    InexactGroups inexact;
    for (const FolderWeight::Part& part : weight.parts) {
      if (!part.encoded) continue;
      const InexactGroups found = CountInexact(*part.encoded, type);
      if (inexact.count == 0) std::tie(inexact.row, inexact.group) = std::tie(found.row, found.group);
      inexact.count += found.count;
      inexact.groups += found.groups;
    }
    if (inexact.count == 0) continue;
    return Refused(
        source,
        fmt::format("not lossless: {} is {}, and {} does not hold the scale, or zero point x scale, of {} of its "
                    "{} groups (the first: row {}, group {}); {} holds them all; mlx4-g32, mlx4-g64, "
                    "mlx4-g128, mlx-nvfp4 and mxfp4 are exact in every type",
                    weight.name, weight.parts.front().encoded->format->info.name, Info(type).name, inexact.count,
                    inexact.groups, inexact.row, inexact.group, ExactTypes(weights, type)));
  }
  return {};
}

// A plain tensor as a matrix: of a vector, each element is a row.
std::size_t ColsOf(const std::vector<std::size_t>& shape) { return shape.size() < 2 ? 1 : shape.back(); }

// Numbers that a type rounds. Errors: kNumerical (too large for it).
Result<std::uint64_t> CountRounded(const OpenedModel& source, const Tensor& tensor, DType type) {
  std::uint64_t rounded = 0;
  const Status status = ForRows(tensor, [&](std::size_t row, std::span<const float> values) -> Status {
    for (std::size_t i = 0; i < values.size(); ++i) {
      const float kept = RoundedTo(type, values[i]);
      rounded += kept != values[i] ? 1 : 0;
      if (std::isfinite(kept)) continue;
      return Error{ErrorCode::kNumerical,
                   fmt::format("{}: tensor {}: {} in row {} is beyond the largest number of {}; use --type bf16 (or "
                               "f32)",
                               source.checkpoint.path.string(), tensor.name, values[i], row + i / tensor.cols(),
                               Info(type).name)};
    }
    return {};
  });
  source.checkpoint.Forget(tensor);
  if (!status) return status.error();
  return rounded;
}

// What is not quantized gets the type too: where the user named it, rounded.
Status CheckPlain(const OpenedModel& source, const FolderExportOptions& options, DType type, FolderExport& out) {
  std::uint64_t rounded = 0;
  for (const FolderWeight& weight : out.weights) {
    for (const FolderWeight::Part& part : weight.parts) {
      if (part.plain == nullptr || part.plain->dtype == type || type == DType::kF32) continue;
      const auto count = CountRounded(source, *part.plain, type);
      if (!count) return count.error();
      rounded += *count;
      if (*count == 0 || options.type) continue;
      return Refused(source, fmt::format("not lossless: {} is {}, and the other tensors, whose type MLX computes in, "
                                         "are {}, which does not hold {} of its numbers; --type f32 holds all, --type "
                                         "f16 or bf16 rounds them",
                                         weight.name, Info(part.plain->dtype).name, Info(type).name, *count));
    }
  }
  if (rounded > 0) {
    out.notes.push_back(fmt::format("{} numbers of tensors that are not quantized are rounded to {} (--type)", rounded,
                                    Info(type).name));
  }
  return {};
}

// A configuration that names bf16 makes programs round F16 scales.
void NoteScales(const OpenedModel& source, FolderExport& out) {
  const json& config = source.checkpoint.config;
  const auto names = [&](const char* key) { return config.is_object() && config.value(key, json()) == "bfloat16"; };
  if (!names("dtype") && !names("torch_dtype")) return;
  const auto inexact = [](const FolderWeight& weight) {
    return std::ranges::any_of(weight.parts, [](const FolderWeight::Part& part) {
      return part.encoded && CountInexact(*part.encoded, DType::kBF16).count > 0;
    });
  };
  if (std::ranges::none_of(out.weights, inexact)) return;
  out.notes.emplace_back(
      "the scales are F16, and config.json says bfloat16, to which some programs round them; load the "
      "folder with the dtype float16 or float32");
}

Result<std::map<std::string, std::string>> CompanionsOf(const fs::path& folder) {
  constexpr std::size_t kMost_bytes = std::size_t{1} << 28;
  std::map<std::string, std::string> files;
  for (const char* name : kCompanions) {
    std::error_code code;
    if (!fs::exists(folder / name, code)) continue;
    if (auto status = ReadFile(folder / name, kMost_bytes).MoveTo(files[name]); !status) return status.error();
  }
  return files;
}

// That a reader of the configuration finds the same model.
Status CheckConfigSays(const OpenedModel& source, const json& config) {
  const auto description = DescribeModel(config);
  if (!description) return Refused(source, description.error().message);
  AcceptedNames accepted = source.checkpoint.accepted;
  const std::string where = source.checkpoint.path.string();
  if (auto status = CheckConfigKeys(config, description->read_keys, where, accepted); !status) return status;
  const auto difference = FirstDifference(source.description, *description);
  if (!difference) return {};
  return Refused(source, fmt::format("{} is {}, and a reader of the folder would take {}", difference->setting,
                                     difference->first, difference->second));
}

Status CheckSource(const OpenedModel& source, FolderLayout layout) {
  if (source.checkpoint.container == Container::kSafetensors &&
      source.checkpoint.config.contains("quantization_config"))
    return {};
  return Refused(source,
                 fmt::format("is not a folder made by quantize, and {} is written of one; quantize it to one of "
                             "{} first",
                             NameOf(layout), FormatsOf(layout)));
}

Status CheckWeights(const OpenedModel& source, const FolderExportOptions& options, FolderExport& out) {
  for (const FolderWeight& weight : out.weights) {
    if (auto status = CheckWhole(source, weight); !status) return status;
    if (!weight.parts.front().encoded) continue;
    if (auto status = CheckShape(source, weight, options.layout); !status) return status;
  }
  if (options.layout != FolderLayout::kMlx) {
    NoteScales(source, out);
    return {};
  }
  const DType type = options.type.value_or(UsualType(out.weights));
  out.plan.number = type;
  if (auto status = CheckExact(source, out.weights, type); !status) return status;
  return CheckPlain(source, options, type, out);
}

// What the source's folder says of itself, and which program wrote it anew.
json MadeFrom(const OpenedModel& source, const FolderExportOptions& options) {
  json made = source.checkpoint.config["quantization_config"].value("metal_marlin", json::object());
  made["exported"] = {{"program", options.program}};
  return made;
}

}  // namespace

Error RotatedWhileItRuns(const OpenedModel& source, const std::string& rotation, std::string_view container) {
  return Refused(source, fmt::format("it is rotated while it runs (\"{}\"), which {} cannot say; quantize without that "
                                     "rotation",
                                     rotation, container));
}

Result<FolderExport> PlanFolder(const OpenedModel& source, const FolderExportOptions& options) {
  if (auto status = CheckSource(source, options.layout); !status) return status.error();
  if (const auto rotation = OnlineRotation(source.checkpoint.config))
    return RotatedWhileItRuns(source, *rotation, NameOf(options.layout));
  FolderExport out;
  out.plan.layout = options.layout;
  out.plan.made = MadeFrom(source, options);
  if (auto status = WeightsIn(source).MoveTo(out.weights); !status) return status.error();
  if (auto status = CheckWeights(source, options, out); !status) return status.error();
  const bool mlx = options.layout == FolderLayout::kMlx;
  for (const FolderWeight& weight : out.weights) {
    const FolderWeight::Part& first = weight.parts.front();
    const DType own = first.encoded || mlx ? out.plan.number : first.plain->dtype;
    out.plan.weights.push_back({weight.name, first.encoded ? first.encoded->format : nullptr, own, weight.shape});
  }
  out.plan.config = mlx ? MlxConfig(source.checkpoint.config, source.description) : source.checkpoint.config;
  if (auto status = CheckConfigSays(source, out.plan.config); !status) return status.error();
  if (auto status = CompanionsOf(source.checkpoint.path).MoveTo(out.plan.files); !status) return status.error();
  return out;
}

namespace {

// Copies all rows of `from` to the rows of the whole.
void CopyRows(const EncodedMatrixView& from, RowRange rows, EncodedMatrix& whole) {
  std::vector<std::uint32_t> codes(from.cols);
  for (std::size_t row = 0; row < from.rows; ++row) {
    const std::size_t to = rows.At(row);
    GetCodes(from, row, 0, codes);
    SetCodes(whole, to, 0, codes);
    for (std::size_t g = 0; g < from.groups(); ++g) SetParams(whole, to, g, GetParams(from, row, g));
  }
}

Status WriteEncoded(const FolderWeight& weight, QuantizedWriter& writer) {
  const EncodedMatrixView& first = *weight.parts.front().encoded;
  if (weight.parts.size() == 1) return writer.Write(weight.name, first);
  EncodedMatrix whole(*first.format, weight.shape[0], weight.shape[1]);
  for (const FolderWeight::Part& part : weight.parts) CopyRows(*part.encoded, part.rows, whole);
  return writer.Write(weight.name, whole.view());
}

Status WritePlain(const FolderWeight& weight, DType type, QuantizedWriter& writer) {
  const Tensor& first = *weight.parts.front().plain;
  if (weight.parts.size() == 1 && first.IsPlain() && first.dtype == type) return writer.Write(weight.name, first.bytes);
  const std::size_t row_bytes = ColsOf(weight.shape) * Info(type).block_bytes;
  std::size_t all_bytes = Info(type).block_bytes;
  for (const std::size_t axis : weight.shape) all_bytes *= axis;
  std::vector<std::uint8_t> bytes(all_bytes), piece;
  for (const FolderWeight::Part& part : weight.parts) {
    std::size_t at = 0;  // of the part, in bytes
    const Status status = ForRows(*part.plain, [&](std::size_t, std::span<const float> values) -> Status {
      piece.clear();
      for (const float value : values) AppendNumber(type, value, piece);
      for (std::size_t i = 0; i < piece.size(); i += row_bytes, at += row_bytes) {
        std::ranges::copy_n(piece.begin() + static_cast<std::ptrdiff_t>(i), static_cast<std::ptrdiff_t>(row_bytes),
                            bytes.begin() + static_cast<std::ptrdiff_t>(part.rows.At(at / row_bytes) * row_bytes));
      }
      return {};
    });
    if (!status) return status;
  }
  return writer.Write(weight.name, bytes);
}

}  // namespace

Result<FolderWritten> WriteFolder(const FolderExport& plan, const fs::path& path, bool overwrite,
                                  const ProgressFn& progress) {
  const auto named = NameOfNewFolder(path);
  if (!named) return named.error();
  auto writer = QuantizedWriter::Create(*named, overwrite, plan.plan);
  if (!writer) return writer.error();
  for (std::size_t i = 0; i < plan.weights.size(); ++i) {
    if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted while writing the model"};
    const FolderWeight& weight = plan.weights[i];
    const Status status = weight.parts.front().encoded ? WriteEncoded(weight, *writer)
                                                       : WritePlain(weight, plan.plan.weights[i].dtype, *writer);
    if (!status) return status.error();
    if (progress) progress({"writing", i + 1, plan.weights.size(), "tensors", weight.name});
  }
  if (auto status = writer->Commit(); !status) return status.error();
  return FolderWritten{writer->tensors(), writer->bytes()};
}

}  // namespace marlin
