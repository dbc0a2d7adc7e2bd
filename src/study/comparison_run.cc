// Runs a comparison stage by stage. Every stage writes its result to the row's record in the work folder before the
// next one starts. Only complete records move to the results folder.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <system_error>

#include "base/file.h"
#include "base/sha256.h"
#include "base/thread_pool.h"
#include "bench/kernel_throughput.h"
#include "bench/model_throughput.h"
#include "formats/formats.h"
#include "model/families/family.h"
#include "quantize/quantize_model.h"
#include "records/derive.h"
#include "records/record_json.h"
#include "records/store.h"
#include "study/baseline_format.h"
#include "study/comparison.h"
#include "study/divergence_record.h"
#include "study/machine.h"
#include "study/mixed_rows.h"
#include "study/row_state.h"
#include "study/utc.h"
#include "study/work_folder.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

constexpr std::size_t kPrefillTokens = 512;
// Share of the free memory at the start that the comparison may use.
constexpr double kMemoryShare = 0.8;

// A row on its way: its plan, its record so far.
struct Row {
  const ComparisonRow* plan = nullptr;
  Record record;
  bool saved = false;  // in the results folder
};

class ModelSweep {
 public:
  ModelSweep(const ComparisonModel& model, const ComparisonOptions& options, const ComparisonTools& tools,
             const MachineLimits& limits)
      : model_(model), options_(options), tools_(tools), limits_(limits) {}

  Status Run() {
    for (const ComparisonRow& row : model_.rows) {
      // The baseline is needed for deltas even when its own record is finished; its scores are in that record.
      rows_.push_back({&row, LoadState(row), row.finished});
    }
    using Stage = Status (ModelSweep::*)();
    for (const Stage stage : {&ModelSweep::EvaluateRows, &ModelSweep::MeasureMemories, &ModelSweep::TimeRows,
                              &ModelSweep::TimeRowKernels, &ModelSweep::Finish}) {
      if (auto status = (this->*stage)(); !status) return status;
    }
    return {};
  }

 private:
  fs::path StatePath(const ComparisonRow& row) const { return RowStatePath(options_.work, row); }

  fs::path ModelPath(const ComparisonRow& row) const {
    return row.is_made() ? RowModelPath(options_.work, row) : model_.path;
  }

  Record LoadState(const ComparisonRow& row) const {
    if (auto state = LoadRowState(options_.work, row)) return std::move(*state);
    Record record;
    record.id = row.key.substr(0, 16);
    record.key = row.key;
    record.created = UtcNow();
    record.command = options_.command;
    record.program = options_.program;
    record.machine = options_.machine;
    record.model = {model_.name,         model_.source_type, model_.container,   model_.sha256,
                    model_.source_bytes, model_.parameters,  model_.architecture};
    if (auto accepted = AcceptedIn(model_, row); !accepted.empty()) record.model.accepted_unknown = std::move(accepted);
    record::Config& config = record.config;
    config.id = row.config_id;
    config.method = row.method;
    if (row.is_baseline()) {
      config.kind = record::Kind::kBaseline;
      config.display_name = BaselineName(model_.source_type);
      config.label = "FP16";
      config.bits = 16;
    } else if (row.imported) {
      DescribeImported(*row.imported, record);
    } else if (row.mixed != nullptr) {
      DescribeMixed(*row.mixed, config);
      record.plan = PlanRecord(*row.mixed);
    } else {
      const FormatInfo& info = row.format->info;
      config.kind = record::Kind::kUniform;
      config.display_name = row.config_id;
      config.label = info.label;
      config.group = static_cast<std::uint64_t>(info.group);
      config.bits = static_cast<std::uint64_t>(info.code_bits);
      config.same_grid_as_source = SameGridAsSource(model_.source_type, info);
    }
    if (const auto& from = model_.calibration; row.calibrated) {
      config.calibration = record::Calibration{from->text_name, from->text_sha256, from->begins.size(), from->ctx};
    }
    record.size.fp16_bytes = 2 * model_.parameters;
    if (row.is_baseline()) record.size.model_bytes = record.size.fp16_bytes;
    return record;
  }

  static void DescribeImported(const ImportedModel& imported, Record& record) {
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
  void DescribeMixed(const PrecisionPlan& plan, record::Config& config) const {
    config.kind = record::Kind::kMixed;
    config.display_name = "mixed";
    config.label = "mixed";
    config.plan_sha256 = HashFormats(plan);
    if (plan.budget.kind != BudgetKind::kMostKl) config.budget_bytes = plan.budget.bytes - plan.kept_bytes();
    for (const auto& [stem, format] : plan.formats()) {
      config.same_grid_as_source |= SameGridAsSource(model_.source_type, format->info);
    }
  }

  Status SaveState(const Row& row) const {
    const auto text = ToJson(row.record);
    if (!text) return text.error();
    return WriteFileAtomic(StatePath(*row.plan), *text);
  }

  void Say(const std::string& text) const {
    if (tools_.say) tools_.say(text);
  }

  std::string Label(const Row& row) const { return fmt::format("{} {}", model_.name, row.plan->name()); }

  // The row's model on disk; quantized now if it is not there. An existing folder is complete: it appeared by rename.
  Status EnsureModel(Row& row) {
    if (!row.plan->is_made()) return {};
    const fs::path folder = ModelPath(*row.plan);
    std::error_code code;
    if (!fs::exists(folder, code)) {
      QuantizeOptions quantize;
      quantize.format = row.plan->format;
      const FormatMap formats = row.plan->mixed != nullptr ? row.plan->mixed->formats() : FormatMap();
      if (row.plan->mixed != nullptr) {
        quantize.formats = &formats;
        quantize.plan_sha256 = HashFormats(*row.plan->mixed);
      }
      quantize.method = row.plan->method;
      if (row.plan->calibrated) {
        quantize.calibration = &*model_.calibration;
        quantize.backend = &tools_.maker;
      }
      quantize.source_sha256 = model_.sha256;
      quantize.program = options_.program.version + " " + options_.program.commit;
      quantize.command = options_.command;
      const auto summary = QuantizeModel(model_.checkpoint, quantize, folder, tools_.progress);
      if (!summary) return summary.error();
      for (const ClippedTensor& clipped : summary->clipped) Say("warning: " + Describe(clipped));
    }
    const auto sizes = MeasureQuantizedFolder(folder);
    if (!sizes) return sizes.error();
    row.record.size.model_bytes = sizes->model_bytes;
    row.record.size.quantized_parameters = sizes->quantized_parameters;
    row.record.size.quantized_tensor_bytes = sizes->quantized_bytes;
    return {};
  }

  Result<Model> Load(Row& row) {
    if (auto status = EnsureModel(row); !status) return status.error();
    if (row.plan->is_baseline()) {
      return LoadModel(model_.checkpoint, tools_.backend, Precision::kSixteenBit, tools_.progress);
    }
    if (row.plan->imported) {
      return LoadModel(row.plan->imported->checkpoint, tools_.backend, Precision::kSource, tools_.progress);
    }
    const auto checkpoint = OpenCheckpoint(ModelPath(*row.plan));
    if (!checkpoint) return checkpoint.error();
    return LoadModel(*checkpoint, tools_.backend, Precision::kSixteenBit, tools_.progress);
  }

  fs::path StatesPath() const { return options_.work / (model_.rows[0].key + ".hidden"); }

  // What the baseline has yet to say of itself.
  bool WantsFloor() const {
    return !rows_[0].plan->finished && !rows_[0].record.noise_floor && tools_.make_other_backend != nullptr;
  }

  static bool IsCompared(const Row& row) {
    return row.plan->finished || (row.record.perplexity && row.record.divergence);
  }

  // The baseline runs first and leaves its hidden states; every row and the noise floor are compared with those. States
  // that are missing, cut off or of another run are made again.
  Status EvaluateBaseline() {
    Row& row = rows_[0];
    const bool wanted = WantsFloor() || !std::all_of(rows_.begin() + 1, rows_.end(), IsCompared);
    const bool scored = row.plan->finished || row.record.perplexity;
    if (scored && !wanted) return {};
    const HiddenStatesId id = StatesOf(model_, options_, tools_.text);
    if (scored) {
      if (auto states = HiddenStatesReader::Open(StatesPath(), id); states.ok()) {
        states_.emplace(std::move(*states));
        return {};
      }
    }
    const auto model = Load(row);
    if (!model) return model.error();
    auto writer = HiddenStatesWriter::Create(StatesPath(), id);
    if (!writer) return writer.error();
    const auto keep = [&](std::span<const float> hidden) { return writer->Add(hidden); };
    const auto result =
        EvaluatePerplexity(*model, model_.text, {options_.ctx, options_.samples}, OnWindow(Label(row)), keep);
    if (!result) return Error{result.error().code, Label(row) + ": " + result.error().message};
    if (auto status = writer->Commit(); !status) return status;
    auto states = HiddenStatesReader::Open(StatesPath(), id);
    if (!states) return states.error();
    states_.emplace(std::move(*states));
    if (scored) return {};
    row.record.perplexity = PerplexityRecord(*result, KernelNames(*model));
    if (auto status = SaveState(row); !status) return status;
    Say(fmt::format("{}: ppl {:.4f} over {} windows in {:.0f} s", Label(row), std::exp(result->mean_nll()),
                    result->window_nll.size(), result->seconds));
    return {};
  }

  WindowFn OnWindow(const std::string& label) const {
    return [this, label](const PerplexityResult& so_far, std::size_t windows) {
      if (!tools_.progress) return;
      tools_.progress({"perplexity of " + label, so_far.window_nll.size(), windows, "windows",
                       fmt::format("ppl {:.4f}", std::exp(so_far.mean_nll()))});
    };
  }

  // `model` against the kept baseline.
  Result<DivergenceResult> Diverge(const Model& model, std::size_t samples, const std::string& stage) {
    const auto description = DescribeModel(model_.checkpoint.config);
    if (!description) return description.error();
    if (head_ == nullptr) {
      const Matrix& matrix = description->matrices[description->head];
      auto head = LoadMatrix(model_.checkpoint, matrix, tools_.backend, Precision::kSixteenBit);
      if (!head) return head.error();
      head_ = std::move(*head);
    }
    const Baseline baseline{head_.get(), &tools_.backend,
                            [this](std::size_t window, std::span<const std::int32_t>, std::span<float> hidden) {
                              return states_->Read(window, hidden);
                            }};
    const auto on_window = [&](const DivergenceResult& so_far, std::size_t windows) {
      if (!tools_.progress) return;
      tools_.progress({stage, so_far.window_kl.size(), windows, "windows",
                       fmt::format("ppl {:.4f}, KL {:.4g}", std::exp(so_far.other.mean_nll()), so_far.mean_kl())});
    };
    return EvaluateDivergence(model, baseline, model_.text, {options_.ctx, samples}, on_window);
  }

  // Where nothing is timed, a row is complete as soon as it is evaluated.
  Status EvaluateRows() {
    if (auto status = EvaluateBaseline(); !status) return status;
    if (auto status = MeasureFloor(); !status) return status;
    for (Row& row : rows_) {
      if (auto status = EvaluateRow(row); !status) return status;
      if (options_.time_models) continue;
      if (auto status = MeasureMemory(row); !status) return status;
      if (auto status = Complete(row); !status) return status;
    }
    head_.reset();
    states_.reset();
    return {};
  }

  Status EvaluateRow(Row& row) {
    if (&row == &rows_[0] || IsCompared(row)) return {};
    const auto model = Load(row);
    if (!model) return model.error();
    const auto result = Diverge(*model, options_.samples, "divergence of " + Label(row));
    if (!result) return Error{result.error().code, Label(row) + ": " + result.error().message};
    const DivergenceSummary summary = Summarize(*result);
    row.record.perplexity = PerplexityRecord(result->other, KernelNames(*model));
    row.record.divergence = DivergenceRecord(*result, summary, BaselineId());
    if (auto status = SaveState(row); !status) return status;
    Say(fmt::format("{}: ppl {:.4f}, KL {:.4g} nats, same top-1 {:.2f} %, over {} windows in {:.0f} s", Label(row),
                    std::exp(result->other.mean_nll()), summary.kl.mean, 100 * summary.same_top.mean,
                    result->window_kl.size(), result->other.seconds));
    return {};
  }

  // The baseline by other kernels against its own states.
  Status MeasureFloor() {
    if (!WantsFloor()) return {};
    Row& row = rows_[0];
    const auto backend = tools_.make_other_backend();
    if (!backend) return backend.error();
    const auto model = LoadModel(model_.checkpoint, **backend, Precision::kSixteenBit, tools_.progress);
    if (!model) return model.error();
    const std::size_t windows = std::min(kFloorWindows, model_.windows);
    const auto result = Diverge(*model, windows, "noise floor of " + model_.name);
    if (!result) return Error{result.error().code, "noise floor: " + result.error().message};
    row.record.noise_floor = NoiseFloorRecord(*result, {options_.kernels, options_.other_kernels});
    if (auto status = SaveState(row); !status) return status;
    Say(fmt::format("{}: noise floor {:.2g} nats, {} against {}", model_.name, result->mean_kl(), options_.kernels,
                    options_.other_kernels));
    return {};
  }

  std::string BaselineId() const { return model_.rows[0].key.substr(0, 16); }

  std::vector<std::string> KernelNames(const Model& model) const {
    std::set<std::string> names{std::string(model.head().kernel())};
    for (const LoadedParts& block : model.weights.blocks) {
      for (const Linear& linear : block.matrices) names.insert(std::string(linear.weight->kernel()));
    }
    return {names.begin(), names.end()};
  }

  record::Perplexity PerplexityRecord(const PerplexityResult& result, std::vector<std::string> kernels) const {
    const std::string protocol = fmt::format("ppl-{}", result.ctx);
    record::Perplexity p;
    p.protocol = protocol;
    p.metric_version = kPerplexityMetricVersion;
    p.text = {tools_.text.name, tools_.text.sha256, tools_.text.is_standard};
    p.tokenizer_sha256 = model_.tokenizer_sha256;
    p.bos = model_.adds_bos ? "prepended and at every window start" : "none";
    p.ctx = result.ctx;
    p.windows = result.window_nll.size();
    p.windows_total = result.windows_total;
    p.tokens = p.windows * result.ctx;
    p.scored_tokens = p.windows * result.scored_per_window;
    p.scored_bytes = result.scored_bytes;
    p.scored_per_window = result.scored_per_window;
    p.window_nll = result.window_nll;
    p.half = record::HalfWindows{protocol + "-half", result.scored_per_window_half, result.window_nll_half};
    p.backend = tools_.backend.name();
    p.kernels = std::move(kernels);
    p.seconds = result.seconds;
    p.baseline_id = BaselineId();
    return p;
  }

  Status MeasureMemories() {
    for (Row& row : rows_) {
      if (auto status = MeasureMemory(row); !status) return status;
    }
    return {};
  }

  Status MeasureMemory(Row& row) {
    if (row.saved || row.plan->imported) return {};
    if (row.record.size.peak_rss_decode_bytes || !tools_.measure_memory) return {};
    if (auto status = EnsureModel(row); !status) return status;
    if (tools_.progress) {
      const auto index = static_cast<std::uint64_t>(&row - rows_.data());
      tools_.progress({"peak memory of " + Label(row), index + 1, rows_.size(), "rows", ""});
    }
    const auto bytes = tools_.measure_memory(ModelPath(*row.plan));
    if (!bytes) return bytes.error();
    row.record.size.peak_rss_decode_bytes = *bytes;
    return SaveState(row);
  }

  // Rows whose timing is missing. Timing is interleaved, so one missing row means that all unfinished rows are timed
  // again.
  std::vector<Row*> RowsToTime(bool (*has)(const Record&)) {
    std::vector<Row*> rows;
    bool missing = false;
    for (Row& row : rows_) {
      if (row.plan->finished || row.plan->imported) continue;
      rows.push_back(&row);
      missing |= !has(row.record);
    }
    if (!missing) rows.clear();
    return rows;
  }

  Status TimeRows() {
    if (!options_.time_models) return {};
    const auto rows = RowsToTime([](const Record& record) { return record.throughput.has_value(); });
    if (rows.empty()) return {};
    std::uint64_t bytes = 0;
    for (const Row* row : rows) bytes += row->plan->model_bytes;
    const bool together = static_cast<double>(bytes) < kMemoryShare * static_cast<double>(AvailableMemoryBytes());
    if (together) return TimeTogether(rows, true);
    for (Row* row : rows) {
      if (auto status = TimeTogether({row}, false); !status) return status;
    }
    return {};
  }

  Status TimeTogether(const std::vector<Row*>& rows, bool interleaved) {
    std::vector<Model> models;
    for (Row* row : rows) {
      auto model = Load(*row);
      if (!model) return model.error();
      models.push_back(std::move(*model));
    }
    std::vector<const Model*> pointers;
    for (const Model& model : models) pointers.push_back(&model);
    const MachineState before = ObserveMachine();
    const auto timings = TimeModels(pointers, options_.timing, kPrefillTokens, tools_.progress);
    if (!timings) return timings.error();
    const MachineState after = ObserveMachine();
    MeasureLimitsAgain();
    const std::string run = RunId(rows);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const ModelTiming& timing = (*timings)[i];
      record::Throughput throughput;
      throughput.protocol = Protocol(options_.timing.prefill);
      throughput.interleaved = interleaved && rows.size() > 1;
      throughput.run = run;
      throughput.backend = tools_.backend.name();
      throughput.kernels = KernelNames(models[i]);
      throughput.prefill = record::Prefill{timing.prefill_tokens, timing.prefill_ns};
      throughput.decode = record::Decode{timing.decode_prompt, timing.decode_ns, DecodeProtocol()};
      Record& record = rows[i]->record;
      record.throughput = std::move(throughput);
      record.limits = LimitsRecord();
      record.machine.load_before = before.load;
      record.machine.load_after = after.load;
      record.machine.clock_mhz_before = before.clock_mhz;
      record.machine.clock_mhz_after = after.clock_mhz;
    }
    for (const Row* row : rows) {
      if (auto status = SaveState(*row); !status) return status;
    }
    WarnWhenBusy(rows.front()->record.machine);
    Say(fmt::format("{}: prefill and decode of {} configurations timed ({}{})", model_.name, rows.size(),
                    PlanName(options_.timing), interleaved ? ", interleaved" : ""));
    return {};
  }

  // A neighbour on the same machine lowers what a single look finds; the best of several looks around the timing is
  // nearer to what the machine can do.
  void MeasureLimitsAgain() {
    if (!tools_.measure_limits) return;
    limits_ = LargerOf(limits_, tools_.measure_limits());
  }

  // What the rows of one timing share, and no other timing does.
  static std::string RunId(const std::vector<Row*>& rows) {
    std::string all = UtcNow();
    for (const Row* row : rows) all += " " + row->plan->key;
    return Sha256Hex(all).substr(0, 16);
  }

  void WarnWhenBusy(const record::Machine& machine) const {
    const std::optional<double> load = ForeignLoad(machine);
    if (!load) return;
    Say(fmt::format(
        "warning: other programs were running during the timing (load {:.1f} on {} threads); the speeds are "
        "too low, measure again on a quiet machine",
        *load, machine.threads));
  }

  record::Limits LimitsRecord() const {
    const auto measured = [](double rate) { return rate > 0 ? std::optional<double>(rate) : std::nullopt; };
    return {limits_.read_gbps,
            limits_.fma_gflops,
            limits_.fma_isa,
            measured(limits_.bf16_gflops),
            measured(limits_.int16_gops),
            measured(limits_.int8_gops)};
  }

  static record::TimingProtocol Protocol(const TimingProtocol& x) {
    return {std::string(x.id), x.warmup, x.iterations, kTrimSigma};
  }

  // Named only where it is not that of the prefill.
  std::optional<record::TimingProtocol> DecodeProtocol() const {
    if (options_.timing.decode == options_.timing.prefill) return std::nullopt;
    return Protocol(options_.timing.decode);
  }

  // The format in which a row's linear layers are multiplied.
  Result<const FormatRow*> KernelFormat(const Row& row) const {
    if (row.plan->format != nullptr) return row.plan->format;
    ThreadPool pool(tools_.backend.threads());
    return BaselineFormat(model_.checkpoint, pool);
  }

  Status TimeRowKernels() {
    if (!options_.time_models || !options_.time_kernels) return {};
    // A mixed row runs kernels of several formats, which the single configurations are timed in.
    auto rows = RowsToTime(
        [](const Record& record) { return record.kernels.has_value() || record.config.kind == record::Kind::kMixed; });
    std::erase_if(rows, [](const Row* row) { return row->plan->mixed != nullptr; });
    if (rows.empty()) return {};
    const auto description = DescribeModel(model_.checkpoint.config);
    if (!description) return description.error();
    std::vector<GemmShape> shapes = ModelShapes(*description);
    for (GemmShape& shape : PageShapes()) shapes.push_back(std::move(shape));
    std::vector<const FormatRow*> formats;
    for (const Row* row : rows) {
      const auto format = KernelFormat(*row);
      if (!format) return Error{format.error().code, Label(*row) + ": " + format.error().message};
      formats.push_back(*format);
    }
    const auto memory = static_cast<std::size_t>(0.5 * static_cast<double>(AvailableMemoryBytes()));
    for (Row* row : rows) row->record.kernels = record::Kernels{Protocol(options_.timing.prefill), {}};
    MeasureLimitsAgain();
    for (const GemmShape& shape : shapes) {
      const auto timings =
          TimeKernels(tools_.backend, {&shape, 1}, formats, options_.timing.prefill, memory, tools_.progress);
      if (!timings) return timings.error();
      for (std::size_t i = 0; i < rows.size(); ++i) {
        rows[i]->record.kernels->shapes.push_back(KernelRecord((*timings)[i]));
      }
    }
    MeasureLimitsAgain();
    for (Row* row : rows) {
      row->record.limits = LimitsRecord();
      if (auto status = SaveState(*row); !status) return status;
    }
    Say(fmt::format("{}: kernels of {} formats checked against fp64 and timed on {} shapes", model_.name,
                    formats.size(), shapes.size()));
    return {};
  }

  static record::Kernel KernelRecord(const KernelTiming& timing) {
    record::Kernel kernel;
    kernel.kernel = timing.kernel;
    kernel.format = timing.format->info.name;
    kernel.shape_set = timing.shape.set;
    kernel.m = timing.shape.m;
    kernel.n = timing.shape.n;
    kernel.k = timing.shape.k;
    kernel.samples_ns = timing.samples_ns;
    kernel.flops = timing.flops;
    kernel.bytes_moved = timing.bytes_moved;
    kernel.max_relative_error = timing.max_error;
    kernel.tolerance = timing.tolerance;
    kernel.checked_outputs = timing.checked_outputs;
    if (timing.activation != "fp32") kernel.activations = timing.activation;
    kernel.in_cache = timing.in_cache;
    return kernel;
  }

  // A complete record moves to the results folder.
  Status Complete(Row& row) {
    if (row.saved) return {};
    const auto path = SaveRecord(options_.results, row.record, BaselineRecord());
    if (!path) return path.error();
    row.saved = true;
    Say(fmt::format("{}: record {}", Label(row), path->string()));
    return {};
  }

  // Then what the records were made from may go.
  Status Finish() {
    for (Row& row : rows_) {
      if (auto status = Complete(row); !status) return status;
    }
    std::error_code ignored;
    fs::remove(StatesPath(), ignored);
    for (const Row& row : rows_) {
      fs::remove(StatePath(*row.plan), ignored);
      if (row.plan->is_made() && !options_.keep_models) fs::remove_all(ModelPath(*row.plan), ignored);
    }
    return {};
  }

  // For the delta that a record's file repeats; null when the baseline's scores are only in its finished record.
  const Record* BaselineRecord() const { return rows_[0].record.perplexity ? &rows_[0].record : nullptr; }

  const ComparisonModel& model_;
  const ComparisonOptions& options_;
  const ComparisonTools& tools_;
  MachineLimits limits_;
  std::vector<Row> rows_;
  std::optional<HiddenStatesReader> states_;  // of the baseline
  std::unique_ptr<Weight> head_;              // of the baseline
};

Status CheckDisk(const ComparisonPlan& plan, const fs::path& work) {
  std::error_code code;
  const fs::space_info space = fs::space(work, code);
  if (!code && space.available < plan.disk_bytes) {
    return Error{ErrorCode::kResource,
                 fmt::format("the quantized models need {} bytes in {}, {} are free; choose another "
                             "folder with --work",
                             plan.disk_bytes, work.string(), space.available)};
  }
  return {};
}

}  // namespace

Status RunComparison(const ComparisonPlan& plan, const ComparisonOptions& options, const ComparisonTools& tools,
                     const MachineLimits& limits) {
  MARLIN_CHECK(tools.text.absent_bytes == 0, "a text to measure on");
  if (plan.rows_finished == plan.rows_total) return {};
  const auto work = WorkFolder::Open(options.work);
  if (!work) return work.error();
  if (auto status = CheckDisk(plan, options.work); !status) return status;
  for (const ComparisonModel& model : plan.models) {
    const bool finished =
        std::all_of(model.rows.begin(), model.rows.end(), [](const ComparisonRow& row) { return row.finished; });
    if (finished) continue;
    ModelSweep sweep(model, options, tools, limits);
    if (auto status = sweep.Run(); !status) return status;
  }
  return {};
}

}  // namespace marlin
