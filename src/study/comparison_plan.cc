// Opens the models of a comparison and lists its rows.

#include <fmt/format.h>

#include <algorithm>

#include "formats/formats.h"
#include "model/description.h"
#include "model/open_model.h"
#include "model/sizes.h"
#include "quantize/calibrate.h"
#include "quantize/method.h"
#include "study/comparison.h"
#include "study/mixed_rows.h"
#include "study/row_record.h"
#include "text/sample_text.h"
#include "text/tokenizer.h"

namespace marlin {
namespace {

// One row for each method. Methods that look at no text have their rows with the first one.
void AddRows(const ComparisonOptions& options, std::size_t text, const std::string& config_id, const FormatRow* format,
             std::optional<std::size_t> plan, std::vector<ComparisonRow>& rows) {
  for (const std::string& method : options.methods) {
    const bool looks = ParseRecipe(method)->needs != MethodNeeds::kNothing;
    if (text > 0 && !looks) continue;
    ComparisonRow row;
    row.asked = row.config_id = config_id;
    row.format = format;
    row.plan = plan;
    row.method = method;
    if (looks && text < options.calibrations.size()) row.calibration = text;
    if (row.calibration && options.calibrations.size() > 1) row.text = options.calibrations[text].text.name;
    rows.push_back(std::move(row));
  }
}

// The baseline, then for every calibration text every configuration by every method, then files of other programs.
std::vector<ComparisonRow> RowsOf(const ComparisonOptions& options,
                                  const std::vector<std::shared_ptr<const ImportedModel>>& imports) {
  std::vector<ComparisonRow> rows(1);
  rows[0].asked = rows[0].config_id = "f16";
  rows[0].method = "none";
  for (std::size_t text = 0; text == 0 || text < options.calibrations.size(); ++text) {
    for (const FormatRow* format : options.configs) {
      AddRows(options, text, std::string(format->info.name), format, {}, rows);
    }
    for (std::size_t plan = 0; plan < options.plans.size(); ++plan) {
      if (options.uniform) AddRows(options, text, kUniformConfig, nullptr, plan, rows);
      if (options.mixed) AddRows(options, text, kMixedConfig, nullptr, plan, rows);
    }
  }
  for (const auto& imported : imports) {
    ComparisonRow& row = rows.emplace_back();
    row.asked = row.config_id = imported->name;
    row.imported = imported;
    row.method = kImportedMethod;
  }
  return rows;
}

Result<ComparisonModel> OpenModel(const std::filesystem::path& path, const ComparisonOptions& options,
                                  const EvalText& text) {
  auto opened = OpenModel(path, AcceptedNames(options.accept_unknown));
  if (!opened) return opened.error();
  Checkpoint* const checkpoint = &opened->checkpoint;
  const Description* const description = &opened->description;
  if (checkpoint->config.contains("quantization_config")) {
    return Error{ErrorCode::kInput, fmt::format("{} is already quantized; compare its 16-bit original", path.string())};
  }
  if (auto status = CheckContext(*description, options.ctx); !status) {
    return Error{status.error().code, path.string() + ": " + status.error().message};
  }
  // Rotary positions can go on beyond the context; learned ones are rows of a table.
  if (options.time_models && description->positions && description->max_context <= ComparisonOptions::kPrefillTokens) {
    return Error{ErrorCode::kUsage,
                 fmt::format("{}: timing takes {} positions, and the model has {} learned ones; add --no-timing",
                             path.string(), ComparisonOptions::kPrefillTokens + 1, description->max_context)};
  }
  const auto tokenizer = Tokenizer::FromCheckpoint(*checkpoint);
  if (!tokenizer) return tokenizer.error();
  const auto sha256 = HashCheckpoint(*checkpoint);
  if (!sha256) return sha256.error();
  const bool absent = text.absent_bytes != 0;
  auto stream = MakeTokenStream(*tokenizer, absent ? SampleText() : text.text);
  if (!stream) return Error{stream.error().code, text.name + ": " + stream.error().message};
  std::size_t tokens = stream->tokens.size();
  if (absent) tokens = static_cast<std::size_t>(tokens * text.absent_bytes / SampleText().size());
  const std::size_t windows = tokens / options.ctx;
  if (windows == 0) {
    return Error{ErrorCode::kInput, fmt::format("{} has {} tokens for {}, less than one window of {}", text.name,
                                                tokens, checkpoint->name, options.ctx)};
  }
  std::vector<CalibrationWindows> calibrations;
  for (const ComparisonCalibration& from : options.calibrations) {
    auto cut = CutCalibration(*tokenizer, from.text, from.ctx, from.windows);
    if (!cut) return cut.error();
    calibrations.push_back(std::move(*cut));
  }
  std::vector<std::shared_ptr<const ImportedModel>> imports;
  for (const ImportRequest& request : options.imports) {
    auto imported =
        OpenImport(request, *checkpoint, *description, *tokenizer, absent ? SampleText() : std::string_view(text.text));
    if (!imported) return imported.error();
    imports.push_back(std::make_shared<const ImportedModel>(std::move(*imported)));
  }
  ComparisonModel model;
  model.calibrations = std::move(calibrations);
  model.path = path;
  model.name = checkpoint->name;
  model.source_type = SourceType(*checkpoint);
  model.sha256 = *sha256;
  model.tokenizer_sha256 = tokenizer->sha256();
  model.parameters = CountParameters(*description);
  for (const Tensor& tensor : checkpoint->tensors) model.source_bytes += tensor.byte_size();
  model.architecture = description->architecture;
  model.hidden_size = description->hidden_size;
  model.container = checkpoint->container == Container::kGguf ? "gguf" : "safetensors";
  model.windows = options.samples == 0 ? windows : std::min(options.samples, windows);
  model.windows_estimated = absent && model.windows == windows;
  model.rows = RowsOf(options, imports);
  model.plans.resize(options.plans.size());
  model.description = std::move(opened->description);
  model.checkpoint = std::move(*checkpoint);
  if (!absent) model.text = std::move(*stream);
  model.adds_bos = tokenizer->adds_bos();
  return model;
}

// Fills in a row that follows from a plan, now that the plan is there.
void Resolve(const ComparisonModel& model, ComparisonRow& row) {
  const PrecisionPlan& plan = *model.plans[*row.plan];
  if (row.asked == kMixedConfig) {
    row.mixed = &plan;
    return;
  }
  row.format = UniformOf(plan);
  if (row.format == nullptr) {
    row.unnecessary = "no single configuration fits the budget";
    return;
  }
  row.config_id = row.format->info.name;
  const auto same = [&](const ComparisonRow& other) {
    return other.format == row.format && other.method == row.method && other.calibration == row.calibration &&
           other.unnecessary.empty();
  };
  if (std::any_of(model.rows.data(), static_cast<const ComparisonRow*>(&row), same)) {
    row.unnecessary = row.config_id + " is a row already";
  }
}

// Tensor bytes of the whole model in a row's configuration.
std::uint64_t RowBytes(const ComparisonModel& model, const ComparisonRow& row) {
  if (row.imported) return row.imported->model_bytes;
  if (row.mixed != nullptr) return row.mixed->bytes() + row.mixed->other_bytes;
  return ModelBytes(model.description, row.format);
}

}  // namespace

std::vector<std::string> AcceptedIn(const ComparisonModel& model, const ComparisonRow& row) {
  std::vector<std::string> names = model.checkpoint.accepted.found();
  if (!row.imported) return names;
  for (std::string& name : row.imported->checkpoint.accepted.found()) {
    if (std::ranges::find(names, name) == names.end()) names.push_back(std::move(name));
  }
  return names;
}

HiddenStatesId StatesOf(const ComparisonModel& model, const ComparisonOptions& options, const EvalText& text) {
  return {model.sha256, model.tokenizer_sha256, text.sha256,      options.arithmetic,
          options.ctx,  model.windows,          model.hidden_size};
}

std::string ComparisonRow::name() const {
  std::string what = config_id;
  if (mixed != nullptr) what = fmt::format("mixed {:.4g} bits", mixed->bits_per_weight());
  if (plan && format == nullptr && mixed == nullptr) what += fmt::format(" (plan {})", *plan + 1);
  if (!is_baseline() && !imported && method != "rtn") what += " " + method;
  return text.empty() ? what : what + ", " + text;
}

std::string BaselineName(const std::string& source_type) {
  if (source_type == "F16") return "f16";
  if (source_type == "BF16") return "f16 (BF16 weights)";
  if (source_type == "F32") return "f16 (rounded from F32)";
  return fmt::format("f16 (dequantized from {})", source_type);
}

bool SameGridAsSource(const std::string& weight_type, const FormatInfo& format) {
  if (const FormatRow* const own = FindFormat(weight_type)) return own->info.family == format.family;
  // Grids with a scale per small group: codes of the one fall near codes of the other.
  struct SameGrid {
    std::string_view family, source;
  };
  static constexpr SameGrid kSameGrids[] = {{"int4", "Q4_"},    {"affine4", "Q4_"}, {"k4", "Q4_"}, {"int5", "Q5_"},
                                            {"affine5", "Q5_"}, {"k5", "Q5_"},      {"k6", "Q6_"}, {"int8", "Q8_"},
                                            {"iq4", "IQ4_"},    {"fp4", "MXFP4"}};
  return std::ranges::any_of(kSameGrids, [&](const SameGrid& grid) {
    return format.family == grid.family && weight_type.starts_with(grid.source);
  });
}

Status ResolveRows(const ComparisonOptions& options, const EvalText& text, ComparisonModel& model) {
  for (std::size_t i = 0; i < model.plans.size(); ++i) {
    if (model.plans[i]) continue;
    if (auto status = FindPlan(model, options, i).MoveTo(model.plans[i]); !status) return status;
  }
  for (ComparisonRow& row : model.rows) {
    if (row.is_known() || !row.unnecessary.empty() || (row.plan && !model.plans[*row.plan])) continue;
    if (row.plan) Resolve(model, row);
    if (!row.unnecessary.empty()) continue;
    row.model_bytes = RowBytes(model, row);
    row.quality_key = QualityRecord(model, options, text, row).key;
    if (options.time_models && !row.imported) row.speed_key = SpeedRecord(model, options, row).key;
  }
  return {};
}

Result<ComparisonPlan> PlanComparison(const ComparisonOptions& options, const EvalText& text) {
  ComparisonPlan plan;
  for (const std::filesystem::path& path : options.models) {
    auto model = OpenModel(path, options, text);
    if (!model) return model.error();
    if (std::ranges::find(plan.models, model->sha256, &ComparisonModel::sha256) != plan.models.end()) {
      plan.repeated.push_back(path);
      continue;
    }
    plan.models.push_back(std::move(*model));
    if (auto status = ResolveRows(options, text, plan.models.back()); !status) return status.error();
  }
  return plan;
}

}  // namespace marlin
