#include "quantize/quantize_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/file.h"
#include "formats/formats.h"
#include "io/quantized_checkpoint.h"
#include "io/quantized_layout.h"
#include "io/tokenizer.h"
#include "model/weights.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

constexpr std::string_view kWeightSuffix = ".weight";

Result<QuantizedPlan> PlanFolder(const Checkpoint& checkpoint, const QuantizeOptions& options,
                                 const std::set<std::string>& stems, ThreadPool& pool, QuantizeSummary& summary) {
  QuantizedPlan plan;
  plan.config = checkpoint.config;
  std::size_t found = 0;
  for (const Tensor& tensor : checkpoint.tensors) {
    if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted"};
    const bool is_weight = tensor.name.ends_with(kWeightSuffix);
    const std::string stem = is_weight ? tensor.name.substr(0, tensor.name.size() - kWeightSuffix.size()) : "";
    if (is_weight && stems.contains(stem)) {
      ++found;
      const bool fits = !options.compat || FitsPackQuantized(options.format->info, tensor.cols());
      if (fits) {
        plan.weights.push_back({stem, options.format, DType::kF16, {tensor.rows(), tensor.cols()}});
        continue;
      }
      summary.kept.push_back(stem);
    }
    const auto format = ChoosePlainFormat(tensor, Precision::kSixteenBit, pool);
    if (!format) return Error{format.error().code, checkpoint.path.string() + ": " + format.error().message};
    plan.weights.push_back(
        {tensor.name, nullptr, (*format)->info.name == "bf16" ? DType::kBF16 : DType::kF16, tensor.shape});
  }
  if (found != stems.size()) {
    for (const std::string& stem : stems) {
      if (checkpoint.Find(stem + std::string(kWeightSuffix)) != nullptr) continue;
      return Error{ErrorCode::kInput, fmt::format("{}: tensor {}.weight is missing", checkpoint.path.string(), stem)};
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
  for (const char* name : {"generation_config.json", "special_tokens_map.json", "chat_template.jinja"}) {
    std::error_code code;
    if (!fs::exists(checkpoint.path / name, code)) continue;
    auto text = ReadFile(checkpoint.path / name, kSmall);
    if (!text) return text.error();
    files[name] = std::move(*text);
  }
  return files;
}

Status WriteWeights(const Checkpoint& checkpoint, const QuantizedPlan& plan, const Method& method,
                    QuantizedWriter& writer, ThreadPool& pool, const ProgressFn& progress) {
  std::size_t done = 0;
  for (const PlannedWeight& weight : plan.weights) {
    if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted"};
    const Tensor* tensor =
        checkpoint.Find(weight.format == nullptr ? weight.name : weight.name + std::string(kWeightSuffix));
    const auto plain = weight.format == nullptr
                           ? EncodePlainAs(*tensor, *FindFormat(weight.dtype == DType::kBF16 ? "bf16" : "fp16"), pool)
                           : EncodePlain(*tensor, Precision::kSixteenBit, pool);
    if (!plain) return Error{plain.error().code, checkpoint.path.string() + ": " + plain.error().message};
    Status status;
    if (weight.format == nullptr) {
      status = writer.Write(weight.name, plain->codes);
    } else {
      std::vector<float> values(plain->rows * plain->cols);
      pool.Split(plain->rows, [&](std::size_t begin, std::size_t end, int) {
        for (std::size_t r = begin; r < end; ++r) {
          DecodeRow(plain->view(), r, std::span(values).subspan(r * plain->cols, plain->cols));
        }
      });
      const auto matrix = method.run(*weight.format, {values.data(), plain->rows, plain->cols}, nullptr, pool);
      if (!matrix) return Error{matrix.error().code, weight.name + ": " + matrix.error().message};
      status = writer.Write(weight.name, matrix->view());
    }
    if (!status) return status;
    if (progress) progress({"quantize", ++done, plan.weights.size(), "tensors", weight.name});
  }
  return writer.Commit();
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

Status CheckOptions(const Checkpoint& checkpoint, const QuantizeOptions& options) {
  if (options.format->info.group == 0) {
    return Error{ErrorCode::kUsage, fmt::format("{} is not a quantization; choose one with a group, such as fp4-g128",
                                                options.format->info.name)};
  }
  if (options.compat && options.format->info.family != "int4") {
    return Error{ErrorCode::kUsage, fmt::format("--compat writes a layout of INT4; {} has none that others read",
                                                options.format->info.name)};
  }
  if (checkpoint.config.contains("quantization_config")) {
    return Error{ErrorCode::kInput, fmt::format("{} is already quantized; quantize its 16-bit original instead",
                                                checkpoint.path.string())};
  }
  return {};
}

}  // namespace

Result<std::vector<std::string>> StemsToQuantize(const ModelConfig& config, const QuantizeOptions& options) {
  if (options.quantize_head && config.tied_head && !options.quantize_embeddings) {
    return Error{ErrorCode::kUsage, "this model's head is its embedding; quantize both with --quantize-embeddings"};
  }
  std::vector<std::string> stems;
  if (options.quantize_embeddings) stems.emplace_back(kEmbeddingStem);
  for (std::size_t layer = 0; layer < config.layers; ++layer) {
    for (std::size_t s = 0; s < kSlots; ++s) stems.push_back(LinearStem(layer, static_cast<Slot>(s)));
  }
  if (options.quantize_head && !config.tied_head) stems.emplace_back(kHeadStem);
  return stems;
}

Result<StoredSizes> MeasureQuantizedFolder(const fs::path& folder) {
  const auto checkpoint = OpenCheckpoint(folder);
  if (!checkpoint) return checkpoint.error();
  StoredSizes sizes;
  for (const Tensor& tensor : checkpoint->tensors) {
    sizes.model_bytes += tensor.bytes.size();
    if (!tensor.name.ends_with(kPackedSuffix)) continue;
    const auto weight = FindWeight(*checkpoint, tensor.name.substr(0, tensor.name.size() - kPackedSuffix.size()));
    if (!weight) return weight.error();
    sizes.quantized_parameters += weight->rows * weight->cols;
    sizes.quantized_bytes +=
        weight->encoded->codes.size() + weight->encoded->scales.size() + weight->encoded->zero_points.size();
  }
  return sizes;
}

Result<QuantizeSummary> QuantizeModel(const Checkpoint& checkpoint, const QuantizeOptions& options,
                                      const fs::path& folder, const ProgressFn& progress) {
  if (auto status = CheckOptions(checkpoint, options); !status) return status.error();
  const auto method = ParseMethod(options.method);
  if (!method) return method.error();
  const auto config = ParseModelConfig(checkpoint.config);
  if (!config) return Error{config.error().code, checkpoint.path.string() + ": " + config.error().message};
  const auto stems = StemsToQuantize(*config, options);
  if (!stems) return stems.error();
  ThreadPool pool(options.threads > 0 ? options.threads : AvailableThreads());

  QuantizeSummary summary;
  summary.fp16_bytes = 2 * CountParameters(*config);
  auto plan = PlanFolder(checkpoint, options, {stems->begin(), stems->end()}, pool, summary);
  if (!plan) return plan.error();
  auto files = CompanionFiles(checkpoint);
  if (!files) return files.error();
  plan->files = std::move(*files);
  Provenance& provenance = plan->provenance;
  provenance.method = options.method;
  provenance.source_name = checkpoint.name;
  provenance.source_container = checkpoint.container == Container::kGguf ? "gguf" : "safetensors";
  provenance.source_type = SourceType(checkpoint);
  provenance.source_sha256 = options.source_sha256;
  if (provenance.source_sha256.empty()) {
    auto hash = HashCheckpoint(checkpoint);
    if (!hash) return hash.error();
    provenance.source_sha256 = std::move(*hash);
  }
  provenance.program = options.program;
  provenance.command = options.command;

  auto writer = QuantizedWriter::Create(folder, options.overwrite, *plan);
  if (!writer) return writer.error();
  if (auto status = WriteWeights(checkpoint, *plan, **method, *writer, pool, progress); !status) return status.error();
  const auto verified = CheckRoundTrip(folder, *plan, progress);
  if (!verified) return verified.error();
  summary.verified = *verified;
  const auto sizes = MeasureQuantizedFolder(folder);
  if (!sizes) return sizes.error();
  summary.sizes = *sizes;
  return summary;
}

}  // namespace marlin
