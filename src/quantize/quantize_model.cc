#include "quantize/quantize_model.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "base/check.h"
#include "base/file.h"
#include "base/sha256.h"
#include "files/quantized_checkpoint.h"
#include "files/quantized_layout.h"
#include "formats/formats.h"
#include "model/families/family.h"
#include "model/weights.h"
#include "quantize/layer_store.h"
#include "quantize/weight_maker.h"
#include "text/tokenizer.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

Result<QuantizedPlan> PlanFolder(const SourceTensors& source, const QuantizeOptions& options, const FormatMap& formats,
                                 QuantizeSummary& summary) {
  const Checkpoint& checkpoint = source.checkpoint();
  QuantizedPlan plan;
  plan.config = checkpoint.config;
  std::size_t found = 0;
  for (const Tensor& tensor : checkpoint.tensors) {
    if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted"};
    const bool is_weight = tensor.name.ends_with(kWeightSuffix);
    const std::string stem = is_weight ? tensor.name.substr(0, tensor.name.size() - kWeightSuffix.size()) : "";
    if (const auto quantized = formats.find(stem); is_weight && quantized != formats.end()) {
      ++found;
      const FormatRow& format = FormatForRows(*quantized->second, tensor.cols());
      if (&format != quantized->second) ++summary.fallbacks[{quantized->second->info.name, format.info.name}];
      const bool fits = !options.fits || options.fits(format.info, tensor.cols());
      if (fits) {
        plan.weights.push_back({stem, &format, DType::kF16, {tensor.rows(), tensor.cols()}});
        continue;
      }
      summary.kept.push_back(stem);
    }
    const auto format = source.PlainFormat(tensor.name);
    if (!format) return format.error();
    checkpoint.Forget(tensor);
    plan.weights.push_back(
        {tensor.name, nullptr, (*format)->info.name == "bf16" ? DType::kBF16 : DType::kF16, tensor.shape});
  }
  if (found != formats.size()) {
    for (const auto& [stem, format] : formats) {
      if (const auto tensor = checkpoint.Get(WeightName(stem)); !tensor) return tensor.error();
    }
  }
  return plan;
}

// The tokenizer, and small files of the source folder that other programs look for.
Result<std::map<std::string, std::string>> CompanionFiles(const Checkpoint& checkpoint) {
  std::map<std::string, std::string> files;
  const auto tokenizer = Tokenizer::FromCheckpoint(checkpoint);
  if (!tokenizer) return tokenizer.error();
  files["tokenizer.json"] = tokenizer->ToHuggingFaceJson();
  if (auto config = tokenizer->ToHuggingFaceConfigJson(); !config.empty()) {
    files["tokenizer_config.json"] = std::move(config);
  }
  if (checkpoint.container == Container::kGguf) return files;
  constexpr std::size_t kSmall = std::size_t{16} << 20;
  for (const char* name :
       {"generation_config.json", "special_tokens_map.json", "chat_template.jinja", "chat_template.json"}) {
    std::error_code code;
    if (!fs::exists(checkpoint.path / name, code)) continue;
    if (auto status = ReadFile(checkpoint.path / name, kSmall).MoveTo(files[name]); !status) return status.error();
  }
  return files;
}

// Weights in the order of the forward pass: embedding, layer 0, 1, ..., the rest.
void SortByExecution(const Description& d, std::vector<PlannedWeight>& weights) {
  std::map<std::string, std::size_t, std::less<>> ranks;
  const auto add = [&](const Matrix& matrix, std::size_t rank) {
    ranks[matrix.name] = ranks[d.NameOf(matrix.source)] = rank;
    if (matrix.bias) ranks[d.NameOf(*matrix.bias)] = rank;
  };
  for (std::size_t i = 0; i < d.blocks.size(); ++i) {
    for (const Matrix& matrix : d.blocks[i].matrices) add(matrix, i + 1);
    for (const Vector& vector : d.blocks[i].vectors) ranks[d.NameOf(vector.source)] = i + 1;
  }
  add(d.matrices[d.embedding], 0);
  const auto rank = [&](const PlannedWeight& weight) {
    const auto found = ranks.find(weight.name);
    return found == ranks.end() ? SIZE_MAX : found->second;
  };
  std::ranges::stable_sort(weights, {}, rank);
}

Status WriteWeights(const Checkpoint& checkpoint, const QuantizedPlan& plan, WeightMaker& maker,
                    QuantizedWriter& writer, const ProgressFn& progress, std::vector<ClippedTensor>& clipped) {
  std::size_t done = 0;
  for (const PlannedWeight& weight : plan.weights) {
    if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted"};
    const auto matrix = maker.Make(weight.name);
    if (!matrix) return matrix.error();
    const Tensor* const read = checkpoint.Find(weight.format == nullptr ? weight.name : WeightName(weight.name));
    if (read != nullptr) checkpoint.Forget(*read);
    if (auto found = FindClipped(weight.name, matrix->view()); found.count > 0) clipped.push_back(std::move(found));
    const auto status =
        weight.format == nullptr ? writer.Write(weight.name, matrix->codes) : writer.Write(weight.name, matrix->view());
    if (!status) return status;
    if (progress) progress({"quantize", ++done, plan.weights.size(), "tensors", weight.name});
  }
  return writer.Commit();
}

// What decides the codes of a walk but its arithmetic, as one hash: layers that were kept belong to it or are made
// anew.
std::string WalkKey(const QuantizedPlan& plan, const Recipe& recipe, const CalibrationWindows& calibration) {
  std::string text = fmt::format("{}\n{}\n{}\n{}\n{}\n{}\n", plan.provenance.source_sha256, recipe.versions,
                                 plan.provenance.rotation.dump(), calibration.text_sha256, calibration.ctx,
                                 fmt::join(calibration.begins, ","));
  for (const PlannedWeight& weight : plan.weights) {
    if (weight.format != nullptr) text += fmt::format("{} {}\n", weight.name, weight.format->info.name);
  }
  return Sha256Hex(text);
}

MakerInput InputOf(const QuantizeOptions& options, const QuantizedPlan& plan, const Recipe& recipe,
                   const fs::path& folder) {
  MakerInput input{options.statistics, options.calibration, options.backend, std::nullopt};
  if (options.calibration != nullptr) {
    input.store.emplace(KeptLayersOf(folder), WalkKey(plan, recipe, *options.calibration),
                        options.backend->arithmetic());
  }
  return input;
}

nlohmann::json DescribeCalibration(const QuantizeOptions& options) {
  if (const CalibrationWindows* c = options.calibration) {
    return {{"text", c->text_name},
            {"sha256", c->text_sha256},
            {"windows", c->begins.size()},
            {"ctx", c->ctx},
            {"walk", true}};
  }
  if (options.statistics == nullptr) return nullptr;
  const StatisticsSource& source = options.statistics->source;
  return {{"text", source.text_name},
          {"sha256", source.text_sha256},
          {"windows", source.seen},
          {"ctx", source.ctx},
          {"walk", false}};
}

// What was written, as a reader sees it: every hash, and every planned matrix in its format and shape.
Result<VerifiedFolder> CheckRoundTrip(const fs::path& folder, const QuantizedPlan& plan, const ProgressFn& progress) {
  auto verified = VerifyFolder(folder, progress);
  if (!verified) return verified.error();
  const auto written = OpenCheckpoint(folder);
  if (!written) return written.error();
  for (const PlannedWeight& weight : plan.weights) {
    if (weight.format == nullptr) continue;
    const auto found = FindWeight(*written, weight.name);
    if (!found) return found.error();
    if (!found->encoded || found->encoded->format != weight.format || found->rows != weight.shape[0] ||
        found->cols != weight.shape[1]) {
      return Error{ErrorCode::kCorrupt,
                   fmt::format("{}: {} does not read back as {} [{}, {}]", folder.string(), weight.name,
                               weight.format->info.name, weight.shape[0], weight.shape[1])};
    }
  }
  return verified;
}

Status CheckFormat(const FormatRow& format) {
  if (format.info.group == 0) {
    return Error{ErrorCode::kUsage,
                 fmt::format("{} is not a quantization; choose one with a group, such as fp4-g128", format.info.name)};
  }
  return {};
}

Status CheckOptions(const Checkpoint& checkpoint, const FormatMap& formats) {
  if (formats.empty()) return Error{ErrorCode::kUsage, "this plan keeps every layer in 16 bits: nothing to quantize"};
  for (const auto& [stem, format] : formats) {
    if (auto status = CheckFormat(*format); !status) return status;
  }
  if (checkpoint.config.contains("quantization_config")) {
    return Error{ErrorCode::kInput, fmt::format("{} is already quantized; quantize its 16-bit original instead",
                                                checkpoint.path.string())};
  }
  return {};
}

Status CheckCalibration(const QuantizeOptions& options, const Recipe& recipe) {
  MARLIN_CHECK(options.statistics == nullptr || options.calibration == nullptr, "one kind of calibration");
  MARLIN_CHECK(options.calibration == nullptr || options.backend != nullptr, "a walk runs layers");
  const bool gram = options.calibration != nullptr || (options.statistics != nullptr && options.statistics->has_gram());
  const bool importance = gram || options.statistics != nullptr;
  if (recipe.rotate && options.statistics != nullptr) {
    return Error{ErrorCode::kUsage, fmt::format("the statistics (--stats) describe the model before rotation, but {} "
                                                "rotates it first; give the text itself (--calibration TEXT)",
                                                recipe.name)};
  }
  if (recipe.cannot_miss == MethodNeeds::kGram ? gram : importance || recipe.cannot_miss == MethodNeeds::kNothing) {
    return {};
  }
  return Error{
      ErrorCode::kUsage,
      fmt::format("the method {} needs a calibration text (--calibration TEXT), or statistics{} (--stats FILE)",
                  recipe.name, recipe.cannot_miss == MethodNeeds::kGram ? " collected with --full-gram" : "")};
}

// What a rotation reached, in words; empty without one.
std::string DescribeRotation(const SourceTensors& source) {
  if (!source.rotated()) return "";
  if (!source.residual_rotated()) {
    return fmt::format("the values inside every head only: {}, so the residual stream is not rotated",
                       source.why_not_residual());
  }
  return source.heads_rotated() ? "the residual stream, and the values inside every head" : "the residual stream only";
}

nlohmann::json RotationJson(const SourceTensors& source, std::uint64_t seed) {
  if (!source.rotated()) return nullptr;
  return {{"seed", seed}, {"heads", source.heads_rotated()}, {"residual", source.residual_rotated()}};
}

}  // namespace

fs::path KeptLayersOf(const fs::path& folder) {
  const auto named = NameOfNewFolder(folder);
  fs::path kept = named ? *named : folder;
  kept += ".part";
  return kept;
}

Result<std::vector<std::string>> StemsToQuantize(const Description& description, const QuantizeOptions& options) {
  if (options.quantize_head && description.tied_head() && !options.quantize_embeddings) {
    return Error{ErrorCode::kUsage, "this model's head is its embedding; quantize both with --quantize-embeddings"};
  }
  std::vector<std::string> stems;
  if (options.quantize_embeddings) stems.push_back(description.matrices[description.embedding].name);
  for (const Block& block : description.blocks) {
    for (const Matrix& matrix : block.matrices) {
      if (!matrix.keep_16_bits) stems.push_back(matrix.name);
    }
  }
  if (options.quantize_head && !description.tied_head()) stems.push_back(description.matrices[description.head].name);
  return stems;
}

Result<FormatMap> FormatsToUse(const Description& description, const QuantizeOptions& options) {
  MARLIN_CHECK((options.format == nullptr) != (options.formats == nullptr), "one format, or one for each");
  if (options.formats != nullptr) return *options.formats;
  const auto stems = StemsToQuantize(description, options);
  if (!stems) return stems.error();
  FormatMap formats;
  for (const std::string& stem : *stems) formats[stem] = options.format;
  return formats;
}

std::uint64_t QuantizingBytes(const Description& description, std::size_t windows, std::size_t ctx, MethodNeeds needs) {
  const bool gram = needs == MethodNeeds::kGram;
  std::uint64_t widest = 0;
  for (const Block& block : description.blocks) {
    for (const Matrix& matrix : block.matrices) widest = std::max<std::uint64_t>(widest, matrix.cols);
  }
  // With a Gram matrix also the factored Hessian and its work space, in double.
  return LayerWalk::Bytes(description, windows, ctx, gram) + (gram ? 2 * sizeof(double) * widest * widest : 0);
}

Result<StoredSizes> MeasureQuantizedFolder(const fs::path& folder) {
  const auto checkpoint = OpenCheckpoint(folder);
  if (!checkpoint) return checkpoint.error();
  StoredSizes sizes;
  for (const Tensor& tensor : checkpoint->tensors) {
    sizes.model_bytes += tensor.byte_size();
    if (!tensor.name.ends_with(kPackedSuffix)) continue;
    const auto weight = FindWeight(*checkpoint, tensor.name.substr(0, tensor.name.size() - kPackedSuffix.size()));
    if (!weight) return weight.error();
    StoredFormat& format = sizes.formats[std::string(weight->encoded->format->info.name)];
    format.tensors += 1;
    format.weights += weight->rows * weight->cols;
    sizes.quantized_parameters += weight->rows * weight->cols;
    sizes.quantized_bytes += SizeOfEncoded(weight->encoded->format->info, weight->rows, weight->cols).total();
  }
  return sizes;
}

Result<QuantizeSummary> QuantizeModel(const Checkpoint& checkpoint, const QuantizeOptions& options,
                                      const fs::path& path, const ProgressFn& progress) {
  const auto named = NameOfNewFolder(path);
  if (!named) return named.error();
  const fs::path& folder = *named;
  const auto recipe = ParseRecipe(options.method);
  if (!recipe) return recipe.error();
  if (auto status = CheckCalibration(options, *recipe); !status) return status.error();
  const auto description = DescribeModel(checkpoint.config);
  if (!description) {
    return Error{description.error().code, checkpoint.path.string() + ": " + description.error().message};
  }
  auto formats = FormatsToUse(*description, options);
  if (!formats) return formats.error();
  if (auto status = CheckOptions(checkpoint, *formats); !status) return status.error();
  ThreadPool pool(options.threads > 0 ? options.threads : AvailableThreads());

  const std::optional<std::uint64_t> seed = recipe->rotate ? std::optional(options.rotation_seed) : std::nullopt;
  const auto source = SourceTensors::Create(checkpoint, *description, seed, pool);
  if (!source) return source.error();

  QuantizeSummary summary;
  summary.rotated = DescribeRotation(*source);
  summary.fp16_bytes = 2 * CountParameters(*description);
  auto plan = PlanFolder(*source, options, *formats, summary);
  if (!plan) return plan.error();
  if (auto status = CompanionFiles(checkpoint).MoveTo(plan->files); !status) return status.error();
  SortByExecution(*description, plan->weights);
  Provenance& provenance = plan->provenance;
  provenance.method = recipe->name;
  provenance.rotation = RotationJson(*source, options.rotation_seed);
  provenance.source_name = checkpoint.name;
  provenance.source_container = checkpoint.container == Container::kGguf ? "gguf" : "safetensors";
  provenance.source_type = SourceType(checkpoint);
  provenance.source_sha256 = options.source_sha256;
  if (provenance.source_sha256.empty()) {
    if (auto status = HashCheckpoint(checkpoint).MoveTo(provenance.source_sha256); !status) return status.error();
  }
  provenance.program = options.program;
  provenance.calibration = DescribeCalibration(options);
  provenance.command = options.command;
  provenance.plan_sha256 = options.plan_sha256;
  provenance.plan_budget = options.plan_budget;
  provenance.accepted_unknown = checkpoint.accepted.found();

  FormatMap made;  // without what `fits` keeps
  for (const PlannedWeight& weight : plan->weights) {
    made[weight.name] =
        weight.format != nullptr ? weight.format : FindFormat(weight.dtype == DType::kBF16 ? "bf16" : "fp16");
  }
  auto writer = QuantizedWriter::Create(folder, options.overwrite, *plan);
  if (!writer) return writer.error();
  auto maker =
      WeightMaker::Create(*source, *recipe, std::move(made), InputOf(options, *plan, *recipe, folder), pool, progress);
  if (!maker) return maker.error();
  if (auto status = WriteWeights(checkpoint, *plan, *maker, *writer, progress, summary.clipped); !status)
    return status.error();
  maker->Done();
  LayerStore(KeptLayersOf(folder), "", "").Remove();  // of an unfinished run by another method
  const auto verified = CheckRoundTrip(folder, *plan, progress);
  if (!verified) return verified.error();
  summary.verified = *verified;
  const auto sizes = MeasureQuantizedFolder(folder);
  if (!sizes) return sizes.error();
  summary.sizes = *sizes;
  return summary;
}

}  // namespace marlin
