#include "study/row_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/file.h"
#include "base/utc.h"
#include "model/model.h"
#include "quantize/method.h"
#include "records/keys.h"
#include "records/record_json.h"
#include "records/store.h"
#include "study/mixed_rows.h"

namespace marlin {
namespace {

void DescribeImportedRow(const ImportedModel& imported, Record& record) {
  record::Config& config = record.config;
  config.kind = record::Kind::kImported;
  config.display_name = imported.name;
  config.label = "GGUF " + imported.source_type;
  config.quantized_embeddings = imported.quantized_embeddings;
  config.quantized_head = imported.quantized_head;
  config.import_sha256 = imported.sha256;
  record.size.model_bytes = imported.model_bytes;
  record.size.quantized_parameters = imported.quantized_parameters;
  record.size.quantized_tensor_bytes = imported.quantized_bytes;
}

// Tensors that a plan keeps in 16 bits are not quantized tensors: they leave those less of the budget.
void DescribeMixedRow(const ComparisonModel& model, const PrecisionPlan& plan, record::Config& config) {
  config.kind = record::Kind::kMixed;
  config.display_name = "mixed";
  config.label = "mixed";
  config.plan_sha256 = HashFormats(plan);
  if (plan.budget.kind != BudgetKind::kMostKl) config.budget_bytes = plan.budget.bytes - plan.kept_bytes();
  for (const auto& [stem, format] : plan.formats()) {
    config.same_grid_as_source |= SameGridAsSource(WeightType(model.checkpoint), format->info);
  }
}

void DescribeUniformRow(const ComparisonModel& model, const ComparisonRow& row, record::Config& config) {
  const FormatInfo& info = row.format->info;
  config.kind = record::Kind::kUniform;
  config.display_name = row.config_id;
  config.label = info.label;
  config.group = static_cast<std::uint64_t>(info.group);
  config.bits = static_cast<std::uint64_t>(info.code_bits);
  config.same_grid_as_source = SameGridAsSource(WeightType(model.checkpoint), info);
}

void DescribeBaselineRow(const ComparisonModel& model, Record& record) {
  record::Config& config = record.config;
  config.kind = record::Kind::kBaseline;
  config.display_name = BaselineName(model.source_type);
  config.label = "FP16";
  config.bits = 16;
  record.size.model_bytes = record.size.fp16_bytes;
}

// Keys and values are kept in fp16 where activations are rounded.
record::Session DescribeSession(const Description& description, const record::Machine& machine) {
  const PositionBytes bytes = BytesOfPosition(description, machine.activations.has_value());
  return {description.max_context, bytes.cache, bytes.work};
}

// What every record of the row says. `machine`: what measures it.
Record RowRecord(const ComparisonModel& model, const ComparisonOptions& options, const ComparisonRow& row,
                 const record::Machine& machine) {
  Record record;
  record.created = UtcNow();
  record.command = options.command;
  record.program = options.program;
  record.machine = machine;
  record.model = {model.name,         model.source_type, model.container,   model.sha256,
                  model.source_bytes, model.parameters,  model.architecture};
  if (auto accepted = AcceptedIn(model, row); !accepted.empty()) record.model.accepted_unknown = std::move(accepted);
  record.size.fp16_bytes = 2 * model.parameters;
  record.session = DescribeSession(model.description, machine);
  record::Config& config = record.config;
  config.id = row.config_id;
  config.method = row.method;
  if (row.is_made()) config.method_versions = ParseRecipe(row.method)->versions;
  if (row.is_baseline()) {
    DescribeBaselineRow(model, record);
  } else if (row.imported) {
    DescribeImportedRow(*row.imported, record);
  } else if (row.mixed != nullptr) {
    DescribeMixedRow(model, *row.mixed, config);
    record.plan = PlanRecord(*row.mixed);
  } else {
    DescribeUniformRow(model, row, config);
  }
  if (row.calibration) {
    const CalibrationWindows& from = model.calibrations[*row.calibration];
    config.calibration = record::Calibration{from.text_name, from.text_sha256, from.begins.size(), from.ctx};
  }
  return record;
}

void SetKey(std::string key, Record& record) {
  record.id = IdOfKey(key);
  record.key = std::move(key);
}

record::TimingProtocol ToRecord(const TimingProtocol& x) {
  return {std::string(x.id), x.warmup, x.iterations, kTrimSigma};
}

}  // namespace

Record QualityRecord(const ComparisonModel& model, const ComparisonOptions& options, const EvalText& text,
                     const ComparisonRow& row) {
  Record record = RowRecord(model, options, row, options.machine);
  record::Perplexity& p = record.perplexity.emplace();
  p.protocol = fmt::format("ppl-{}", options.ctx);
  p.metric_version = kPerplexityMetricVersion;
  p.text = {text.name, text.sha256, text.is_standard};
  p.tokenizer_sha256 = model.tokenizer_sha256;
  p.bos = model.adds_bos ? "prepended and at every window start" : "none";
  p.ctx = options.ctx;
  p.windows = model.windows;
  p.arithmetic = options.arithmetic;
  if (!row.is_baseline()) {
    record::Divergence& d = record.divergence.emplace();
    d.protocol = fmt::format("kl-{}", options.ctx);
    d.metric_version = kDivergenceMetricVersion;
  }
  SetKey(QualityKey(record), record);
  return record;
}

Record FloorRecord(const ComparisonModel& model, const ComparisonOptions& options, const EvalText& text) {
  Record record = QualityRecord(model, options, text, model.rows[0]);
  record::NoiseFloor& floor = record.noise_floor.emplace();
  floor.baseline_id = record.id;
  floor.windows = std::min(kFloorWindows, model.windows);
  SetKey(NoiseFloorKey(record, options.other_arithmetic, floor.windows), record);
  record.perplexity.reset();
  return record;
}

Record SpeedRecord(const ComparisonModel& model, const ComparisonOptions& options, const ComparisonRow& row) {
  Record record = RowRecord(model, options, row, options.timer_machine);
  record::Throughput& timed = record.throughput.emplace();
  timed.arithmetic = options.timer_arithmetic;
  timed.protocol = ToRecord(options.timing.prefill);
  timed.decode.emplace();
  // Named only where it is not that of the prefill.
  if (options.timing.decode != options.timing.prefill) timed.decode->protocol = ToRecord(options.timing.decode);
  SetKey(SpeedKey(record, options.time_kernels), record);
  return record;
}

bool IsRecorded(const std::filesystem::path& results, const Record& record) {
  const std::filesystem::path path = results / RecordFileName(record);
  const auto text = ReadFile(path);
  if (!text) return false;
  const auto found = FromJson(*text, path.string());
  return found.ok() && found->record.key == record.key;
}

}  // namespace marlin
