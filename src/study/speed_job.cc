#include "study/speed_job.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <system_error>
#include <utility>

#include "base/file.h"
#include "base/sha256.h"
#include "base/thread_pool.h"
#include "base/utc.h"
#include "bench/kernel_throughput.h"
#include "bench/limits.h"
#include "bench/model_throughput.h"
#include "records/derive.h"
#include "records/record_json.h"
#include "records/store.h"
#include "study/baseline_format.h"
#include "study/job_list.h"
#include "study/machine.h"
#include "study/row_model.h"
#include "study/row_record.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

// Share of the free memory that models timed together may use.
constexpr double kMemoryShare = 0.8;

// A row on its way. Its record has no throughput and no kernels until they are measured.
struct TimedState {
  const ComparisonRow* row = nullptr;
  Record record;
};

class SpeedJob {
 public:
  SpeedJob(const ComparisonModel& model, const ComparisonOptions& options, const ComparisonTools& tools)
      : model_(model), options_(options), tools_(tools) {}

  Status Run() {
    for (const ComparisonRow& row : model_.rows) {
      if (row.imported || !row.is_known()) continue;
      if (!IsRecorded(options_.results, SpeedRecord(model_, options_, row))) states_.push_back(StateOf(row));
    }
    using Stage = Status (SpeedJob::*)();
    for (const Stage stage :
         {&SpeedJob::MeasureMemories, &SpeedJob::TimeRows, &SpeedJob::TimeRowKernels, &SpeedJob::Finish}) {
      if (auto status = (this->*stage)(); !status) return status;
    }
    return {};
  }

 private:
  fs::path StatePath(const Record& record) const { return options_.work / fmt::format("speed-{}.json", record.id); }

  // What an interrupted run measured, or nothing yet. A file that is not whole or of another key is not used.
  TimedState StateOf(const ComparisonRow& row) const {
    Record record = SpeedRecord(model_, options_, row);
    const fs::path path = StatePath(record);
    if (const auto text = ReadFile(path)) {
      auto kept = FromJson(*text, path.string());
      if (kept && kept->record.key == record.key) return {&row, std::move(kept->record)};
    }
    record.throughput.reset();
    return {&row, std::move(record)};
  }

  Status Keep(const TimedState& state) const {
    const auto text = ToJson(state.record);
    if (!text) return text.error();
    return WriteFileAtomic(StatePath(state.record), *text);
  }

  std::string Label(const TimedState& state) const { return RowLabel(model_, *state.row); }

  Status MeasureMemories() {
    for (std::size_t i = 0; i < states_.size(); ++i) {
      TimedState& state = states_[i];
      if (auto status = EnsureModel(model_, options_, tools_, *state.row, state.record.size); !status) return status;
      if (state.record.size.peak_rss_decode_bytes || !tools_.measure_memory) continue;
      if (tools_.progress) tools_.progress({"peak memory of " + Label(state), i + 1, states_.size(), "rows", ""});
      const auto bytes = tools_.measure_memory(ModelPath(model_, options_, *state.row));
      if (!bytes) return bytes.error();
      state.record.size.peak_rss_decode_bytes = bytes->host;
      state.record.size.peak_device_decode_bytes = bytes->device;
      if (auto status = Keep(state); !status) return status;
    }
    return {};
  }

  // The rows whose timing is missing. Timing is interleaved, so one missing row means that all are timed again.
  std::vector<TimedState*> RowsToTime(bool (*has)(const Record&)) {
    std::vector<TimedState*> rows;
    bool missing = false;
    for (TimedState& state : states_) {
      rows.push_back(&state);
      missing |= !has(state.record);
    }
    if (!missing) rows.clear();
    return rows;
  }

  Status TimeRows() {
    const auto rows = RowsToTime([](const Record& record) { return record.throughput.has_value(); });
    if (rows.empty()) return {};
    std::uint64_t bytes = 0;
    for (const TimedState* state : rows) bytes += state->row->model_bytes;
    const bool together = static_cast<double>(bytes) < kMemoryShare * static_cast<double>(AvailableMemoryBytes());
    if (together) return TimeTogether(rows, true);
    for (TimedState* state : rows) {
      if (auto status = TimeTogether({state}, false); !status) return status;
    }
    return {};
  }

  Status TimeTogether(const std::vector<TimedState*>& rows, bool interleaved) {
    std::vector<Model> models;
    for (TimedState* state : rows) {
      auto model = LoadRow(model_, options_, tools_, *state->row, tools_.timer, state->record.size);
      if (!model) return model.error();
      models.push_back(std::move(*model));
    }
    std::vector<const Model*> pointers;
    for (const Model& model : models) pointers.push_back(&model);
    MeasureLimitsAgain();
    const MachineState before = ObserveMachine();
    const auto timings = TimeModels(pointers, options_.timing, ComparisonOptions::kPrefillTokens, tools_.progress);
    if (!timings) return timings.error();
    const MachineState after = ObserveMachine();
    MeasureLimitsAgain();
    const std::string run = RunId(rows);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const ModelTiming& timing = (*timings)[i];
      record::Throughput throughput = std::move(*SpeedRecord(model_, options_, *rows[i]->row).throughput);
      throughput.interleaved = interleaved && rows.size() > 1;
      throughput.run = run;
      throughput.backend = tools_.timer.name();
      throughput.kernels = KernelNames(models[i]);
      if (!timing.step_kernel.empty()) throughput.kernels.push_back(timing.step_kernel);
      throughput.prefill = record::Prefill{timing.prefill_tokens, timing.prefill_ns};
      throughput.decode = record::Decode{timing.decode_prompt, timing.decode_ns, throughput.decode->protocol};
      Record& record = rows[i]->record;
      record.throughput = std::move(throughput);
      record.limits = LimitsRecord();
      record.machine.load_before = before.load;
      record.machine.load_after = after.load;
      record.machine.clock_mhz_before = before.clock_mhz;
      record.machine.clock_mhz_after = after.clock_mhz;
    }
    for (const TimedState* state : rows) {
      if (auto status = Keep(*state); !status) return status;
    }
    WarnWhenBusy(rows.front()->record.machine);
    tools_.Say(fmt::format("{}: prefill and decode of {} configurations timed ({}{})", model_.name, rows.size(),
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
  static std::string RunId(const std::vector<TimedState*>& rows) {
    std::string all = UtcNow();
    for (const TimedState* state : rows) all += " " + state->record.key;
    return Sha256Hex(all).substr(0, 16);
  }

  void WarnWhenBusy(const record::Machine& machine) const {
    const std::optional<double> load = ForeignLoad(machine);
    if (!load) return;
    tools_.Say(fmt::format(
        "warning: other programs were running during the timing (load {:.1f} on {} threads); the speeds are "
        "too low, measure again on a quiet machine",
        *load, machine.threads));
  }

  // Those of the host say nothing of another device.
  std::optional<record::Limits> LimitsRecord() const {
    if (tools_.timer.hardware()) return std::nullopt;
    const auto measured = [](double rate) { return rate > 0 ? std::optional<double>(rate) : std::nullopt; };
    return record::Limits{limits_.read_gbps,
                          limits_.fma_gflops,
                          limits_.fma_isa,
                          measured(limits_.bf16_gflops),
                          measured(limits_.int16_gops),
                          measured(limits_.int8_gops)};
  }

  // The format in which a row's linear layers are multiplied.
  Result<const FormatRow*> KernelFormat(const ComparisonRow& row) const {
    if (row.format != nullptr) return row.format;
    ThreadPool pool(tools_.timer.threads());
    return BaselineFormat(model_.checkpoint, pool);
  }

  Status TimeRowKernels() {
    if (!options_.time_kernels) return {};
    // A mixed row runs kernels of several formats, which the single configurations are timed in.
    auto rows = RowsToTime(
        [](const Record& record) { return record.kernels.has_value() || record.config.kind == record::Kind::kMixed; });
    std::erase_if(rows, [](const TimedState* state) { return state->row->mixed != nullptr; });
    if (rows.empty()) return {};
    std::vector<GemmShape> shapes = ModelShapes(model_.description);
    for (GemmShape& shape : PageShapes()) shapes.push_back(std::move(shape));
    std::vector<const FormatRow*> formats;
    for (const TimedState* state : rows) {
      const auto format = KernelFormat(*state->row);
      if (!format) return Error{format.error().code, Label(*state) + ": " + format.error().message};
      formats.push_back(*format);
    }
    const auto memory = static_cast<std::size_t>(0.5 * static_cast<double>(AvailableMemoryBytes()));
    for (TimedState* state : rows) state->record.kernels = record::Kernels{state->record.throughput->protocol, {}};
    MeasureLimitsAgain();
    for (const GemmShape& shape : shapes) {
      const auto timings =
          TimeKernels(tools_.timer, {&shape, 1}, formats, options_.timing.prefill, memory, tools_.progress);
      if (!timings) return timings.error();
      for (std::size_t i = 0; i < rows.size(); ++i) {
        rows[i]->record.kernels->shapes.push_back(KernelRecord((*timings)[i]));
      }
    }
    MeasureLimitsAgain();
    for (TimedState* state : rows) {
      state->record.limits = LimitsRecord();
      if (auto status = Keep(*state); !status) return status;
    }
    tools_.Say(fmt::format("{}: kernels of {} formats checked against fp64 and timed on {} shapes", model_.name,
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

  // Complete records move to the results folder; then what they were made from may go.
  Status Finish() {
    for (const TimedState& state : states_) {
      const auto path = SaveRecord(options_.results, state.record);
      if (!path) return path.error();
      tools_.Say(fmt::format("{}: speeds\n  record {}", Label(state), path->string()));
    }
    std::error_code ignored;
    for (const TimedState& state : states_) fs::remove(StatePath(state.record), ignored);
    for (const ComparisonRow& row : model_.rows) DropModel(options_, row);
    return {};
  }

  const ComparisonModel& model_;
  const ComparisonOptions& options_;
  const ComparisonTools& tools_;
  MachineLimits limits_;
  std::vector<TimedState> states_;
};

}  // namespace

Status RunSpeedJob(const ComparisonModel& model, const ComparisonOptions& options, const ComparisonTools& tools) {
  return SpeedJob(model, options, tools).Run();
}

}  // namespace marlin
