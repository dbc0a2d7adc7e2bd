// Plans a comparison: what it will do, how long it takes and what it needs, before anything is computed.

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/sha256.h"
#include "formats/formats.h"
#include "model/description.h"
#include "model/open_model.h"
#include "model/sizes.h"
#include "quantize/calibrate.h"
#include "quantize/method.h"
#include "quantize/quantize_model.h"
#include "records/store.h"
#include "study/comparison.h"
#include "study/mixed_rows.h"
#include "study/row_state.h"
#include "text/sample_text.h"
#include "text/tokenizer.h"

namespace marlin {
namespace {

// The share of the measured FMA peak that evaluation reaches, attention and softmax included; only for estimates.
constexpr double kExpectedEfficiency = 0.6;
// Decode and small products are bound by memory, which prefill's flops do not show: seconds added per row and round.
constexpr double kSecondsPerKernelRound = 0.25;

// Decode adds to the key only where its protocol is its own.
nlohmann::json TimingInputs(const ComparisonOptions& options) {
  if (!options.time_models) return "none";
  const TimingPlan& plan = options.timing;
  auto inputs = nlohmann::json::array({plan.prefill.id, plan.prefill.warmup, plan.prefill.iterations});
  if (plan.decode == plan.prefill) return inputs;
  for (const nlohmann::json& x :
       {nlohmann::json(plan.decode.id), nlohmann::json(plan.decode.warmup), nlohmann::json(plan.decode.iterations)}) {
    inputs.push_back(x);
  }
  return inputs;
}

// How much longer the scalar kernels of the noise floor take; only for estimates.
constexpr double kScalarSlowness = 10;
// Passes over the calibration text: each layer is looked at, and run again when it is quantized; statistics cost
// another.
constexpr double kWalkPasses = 3;

// Everything that decides a row's numbers, hashed. A new field changes every key, and so measures everything again;
// "calibration" appears only if there is one.
std::string RowKey(const ComparisonModel& model, const ComparisonOptions& options, const EvalText& text,
                   const ComparisonRow& row) {
  nlohmann::json inputs = {
      {"schema", kRecordVersion},
      {"metric", kPerplexityMetricVersion},
      {"divergence", kDivergenceMetricVersion},
      {"commit", options.program.commit},
      {"version", options.program.version},
      {"compiler", options.program.compiler + " " + options.program.flags},
      {"machine", {options.machine.cpu, options.machine.threads, options.machine.isa, options.machine.affinity}},
      {"backend", options.backend_choice},
      {"model", model.sha256},
      {"model_name", model.name},
      {"tokenizer", model.tokenizer_sha256},
      {"config", row.config_id},
      {"method", row.method},
      {"text", {text.name, text.sha256}},
      {"ctx", options.ctx},
      {"samples", model.windows},
      {"timing", TimingInputs(options)},
      {"kernels", options.time_kernels}};
  if (const auto accepted = AcceptedIn(model, row); !accepted.empty()) inputs["accepted_unknown"] = accepted;
  if (row.imported) inputs["imported"] = {row.imported->name, row.imported->sha256};
  if (row.mixed != nullptr) inputs["plan"] = {HashFormats(*row.mixed), row.mixed->budget.bytes};
  if (row.calibrated) {
    const CalibrationWindows& calibration = *model.calibration;
    inputs["calibration"] = {calibration.text_name, calibration.text_sha256, calibration.begins.size(),
                             calibration.ctx};
  }
  return Sha256Hex(inputs.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

// Keys of the records that are there. A folder that does not exist yet has none.
std::set<std::string> FinishedKeys(const std::filesystem::path& folder) {
  std::set<std::string> keys;
  const auto loaded = LoadRecords(folder);
  if (!loaded) return keys;
  for (const StoredRecord& stored : loaded->records) keys.insert(stored.record.key);
  return keys;
}

struct Opened {
  ComparisonModel model;
  Description description;
  std::vector<std::shared_ptr<const ImportedModel>> imports;
};

Result<Opened> OpenModel(const std::filesystem::path& path, const ComparisonOptions& options, const EvalText& text) {
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
  std::optional<CalibrationWindows> calibration;
  if (const ComparisonCalibration* from = options.calibration) {
    if (auto status = CutCalibration(*tokenizer, from->text, from->ctx, from->windows).MoveTo(calibration); !status)
      return status.error();
  }
  std::vector<std::shared_ptr<const ImportedModel>> imports;
  for (const ImportRequest& request : options.imports) {
    auto imported =
        OpenImport(request, *checkpoint, *description, *tokenizer, absent ? SampleText() : std::string_view(text.text));
    if (!imported) return imported.error();
    imports.push_back(std::make_shared<const ImportedModel>(std::move(*imported)));
  }
  ComparisonModel model;
  model.calibration = std::move(calibration);
  model.path = path;
  model.name = checkpoint->name;
  model.source_type = SourceType(*checkpoint);
  model.sha256 = *sha256;
  model.tokenizer_sha256 = tokenizer->sha256();
  model.parameters = CountParameters(*description);
  for (const Tensor& tensor : checkpoint->tensors) model.source_bytes += tensor.bytes.size();
  model.architecture = description->architecture;
  model.hidden_size = description->hidden_size;
  model.container = checkpoint->container == Container::kGguf ? "gguf" : "safetensors";
  model.windows = options.samples == 0 ? windows : std::min(options.samples, windows);
  model.windows_estimated = absent && model.windows == windows;
  model.checkpoint = std::move(*checkpoint);
  if (!absent) model.text = std::move(*stream);
  model.adds_bos = tokenizer->adds_bos();
  return Opened{std::move(model), std::move(opened->description), std::move(imports)};
}

// Tensor bytes of the whole model in a row's configuration.
std::uint64_t RowBytes(const Description& description, const ComparisonRow& row) {
  if (row.imported) return row.imported->model_bytes;
  return row.mixed != nullptr ? row.mixed->bytes() + row.mixed->other_bytes : ModelBytes(description, row.format);
}

// Bytes that calibrating the method of a row takes; 0 where it needs none, or is done.
std::uint64_t CalibrationBytes(const Opened& opened, const ComparisonRow& row) {
  const bool quantized = std::ranges::find(row.done, kQuantizedStage) != row.done.end();
  if (!row.calibrated || quantized) return 0;
  const CalibrationWindows& windows = *opened.model.calibration;
  return QuantizingBytes(opened.description, windows.begins.size(), windows.ctx, ParseRecipe(row.method)->needs);
}

// Bytes needed at once for the unfinished rows of a model.
std::uint64_t MemoryBytes(const Opened& opened, const ComparisonOptions& options,
                          const std::vector<ComparisonRow>& rows) {
  std::uint64_t largest = 0;  // of one model, or what makes it
  std::uint64_t timed = 0;
  for (const ComparisonRow& row : rows) {
    if (row.finished) continue;
    largest = std::max({largest, row.model_bytes, CalibrationBytes(opened, row)});
    if (options.time_models && !row.imported) timed += row.model_bytes;
  }
  return std::max(largest, timed);
}

// Seconds that one unfinished row takes: evaluation with the baseline's head beside the row's own, the noise floor,
// prefill rounds, decode rounds, kernels.
double RowSeconds(const Opened& opened, const ComparisonOptions& options, const ComparisonRow& row,
                  const MachineLimits& limits) {
  const auto rounds = [](const TimingProtocol& x) { return static_cast<double>(x.warmup + x.iterations); };
  const double prefill_rounds = rounds(options.timing.prefill);
  const double decode_rounds = rounds(options.timing.decode);
  const double flops_per_token =
      2.0 * static_cast<double>(LinearWeights(opened.description) +
                                opened.description.vocab_size * opened.description.hidden_size);
  const double tokens = static_cast<double>(opened.model.windows * options.ctx);
  const double rate = limits.fma_gflops * 1e9 * kExpectedEfficiency;
  double seconds = tokens * flops_per_token / rate;
  if (row.is_baseline()) {
    seconds += static_cast<double>(kFloorWindows * options.ctx) * flops_per_token / rate * kScalarSlowness;
  } else {
    seconds +=
        tokens * 2.0 * static_cast<double>(opened.description.vocab_size * opened.description.hidden_size) / rate;
    if (row.calibrated) {
      const auto& calibration = opened.model.calibration;
      const auto calibrated = static_cast<double>(calibration->begins.size() * calibration->ctx);
      seconds += kWalkPasses * calibrated * flops_per_token / rate;
    }
  }
  if (!options.time_models || row.imported) return seconds;
  const double block_flops = 2.0 * static_cast<double>(LinearWeights(opened.description));
  seconds += prefill_rounds * 512.0 * block_flops / rate;
  seconds += decode_rounds * 2.0 * static_cast<double>(RowBytes(opened.description, row)) / (limits.read_gbps * 1e9);
  if (options.time_kernels && row.mixed == nullptr) seconds += prefill_rounds * kSecondsPerKernelRound + 8;
  return seconds;
}

// One row for each method.
void AddRows(const ComparisonOptions& options, const FormatRow* format, const PrecisionPlan* mixed,
             std::vector<ComparisonRow>& rows) {
  for (const std::string& method : options.methods) {
    ComparisonRow row;
    row.config_id = mixed != nullptr ? "mixed" : std::string(format->info.name);
    row.format = format;
    row.mixed = mixed;
    row.method = method;
    row.calibrated = options.calibration != nullptr && ParseRecipe(method)->needs != MethodNeeds::kNothing;
    rows.push_back(std::move(row));
  }
}

std::vector<ComparisonRow> ImportedRows(const std::vector<std::shared_ptr<const ImportedModel>>& imports) {
  std::vector<ComparisonRow> rows;
  for (const auto& imported : imports) {
    ComparisonRow row;
    row.config_id = imported->name;
    row.imported = imported;
    row.method = kImportedMethod;
    rows.push_back(std::move(row));
  }
  return rows;
}

// The baseline, then every configuration by every method. The configuration of `uniform` may be one of them already.
std::vector<ComparisonRow> RowsOf(const ComparisonOptions& options, std::size_t model) {
  std::vector<ComparisonRow> rows(1);
  rows[0].config_id = "f16";
  rows[0].method = "none";
  for (const FormatRow* format : options.configs) AddRows(options, format, nullptr, rows);
  if (model >= options.plans.size()) return rows;
  for (const PrecisionPlan& plan : options.plans[model]) {
    const FormatRow* uniform = options.uniform ? UniformOf(plan) : nullptr;
    const bool there = std::any_of(rows.begin(), rows.end(), [&](const auto& row) { return row.format == uniform; });
    if (uniform != nullptr && !there) AddRows(options, uniform, nullptr, rows);
    if (options.mixed) AddRows(options, nullptr, &plan, rows);
  }
  return rows;
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
  const record::Program& program = options.program;
  return {model.sha256,
          model.tokenizer_sha256,
          text.sha256,
          fmt::format("{} {} {} {} {} {}", program.version, program.commit, program.compiler, program.flags,
                      options.machine.isa, options.backend_choice),
          options.ctx,
          model.windows,
          model.hidden_size};
}

std::string ComparisonRow::name() const {
  const std::string what = mixed == nullptr ? config_id : fmt::format("mixed {:.4g} bits", mixed->bits_per_weight());
  return is_baseline() || imported || method == "rtn" ? what : what + " " + method;
}

std::string BaselineName(const std::string& source_type) {
  if (source_type == "F16") return "f16";
  if (source_type == "BF16") return "f16 (BF16 weights)";
  if (source_type == "F32") return "f16 (rounded from F32)";
  return fmt::format("f16 (dequantized from {})", source_type);
}

bool SameGridAsSource(const std::string& source_type, const FormatInfo& format) {
  if (const FormatRow* const own = FindFormat(source_type)) return own->info.family == format.family;
  // Integer grids with a scale per small group: codes of the one fall near codes of the other.
  return (format.family == "int4" && source_type.starts_with("Q4_")) ||
         (format.family == "int8" && source_type.starts_with("Q8_")) ||
         (format.family == "fp4" && source_type == "MXFP4");
}

Result<ComparisonPlan> PlanComparison(const ComparisonOptions& options, const EvalText& text,
                                      const MachineLimits& limits) {
  const auto finished = FinishedKeys(options.results);
  ComparisonPlan plan;
  for (std::size_t m = 0; m < options.models.size(); ++m) {
    const std::filesystem::path& path = options.models[m];
    auto opened = OpenModel(path, options, text);
    if (!opened) return opened.error();
    std::uint64_t disk = 0;
    std::vector<ComparisonRow> rows = RowsOf(options, m);
    for (ComparisonRow& row : ImportedRows(opened->imports)) rows.push_back(std::move(row));
    for (ComparisonRow& row : rows) {
      row.key = RowKey(opened->model, options, text, row);
      row.finished = finished.contains(row.key);
      row.model_bytes = RowBytes(opened->description, row);
    }
    FindWorkDone(options.work, rows);
    plan.memory_bytes = std::max(plan.memory_bytes, MemoryBytes(*opened, options, rows));
    for (ComparisonRow& row : rows) {
      if (!row.finished) {
        plan.seconds += RowSeconds(*opened, options, row, limits);
        if (row.is_made()) disk += row.model_bytes;
      }
      plan.rows_total += 1;
      plan.rows_finished += row.finished ? 1 : 0;
      opened->model.rows.push_back(std::move(row));
    }
    const bool unfinished = std::any_of(opened->model.rows.begin(), opened->model.rows.end(),
                                        [](const ComparisonRow& row) { return !row.finished; });
    if (unfinished) disk += HiddenStatesBytes(StatesOf(opened->model, options, text));
    plan.disk_bytes = std::max(plan.disk_bytes, disk);
    plan.models.push_back(std::move(opened->model));
  }
  return plan;
}

}  // namespace marlin
