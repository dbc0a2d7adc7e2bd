// The comparison: for each model, the 16-bit baseline and every configuration are quantized, evaluated on the same
// windows, timed interleaved, and written as records.
//
// A comparison is a list of jobs (study/job_list.h). Any number of processes on any machines may share it. A finished
// job is recognized by its record, whose key is a hash of what decides its numbers (records/keys.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/progress.h"
#include "base/result.h"
#include "bench/limits.h"
#include "bench/timing.h"
#include "eval/divergence.h"
#include "eval/hidden_states.h"
#include "eval/perplexity.h"
#include "files/checkpoint.h"
#include "formats/format.h"
#include "kernels/backend.h"
#include "quantize/layer_walk.h"
#include "quantize/precision_plan.h"
#include "records/record.h"
#include "study/imported_model.h"
#include "study/make_plan.h"
#include "text/eval_text.h"

namespace marlin {

// How plans of mixed precision are made.
struct PlanRequest {
  std::vector<PlanOptions> budgets;  // kind, value, method, program, command; the rest is filled in
  std::filesystem::path file;        // a plan to follow instead; empty = none
  const EvalText* text = nullptr;    // for the sensitivities; may be null with a file
  std::size_t ctx = 0;
  std::size_t windows = kPlanWindows;  // that are measured on; kHeldOutPerWindow times as many confirm

  std::size_t size() const { return file.empty() ? budgets.size() : 1; }
};

// Text that a method is calibrated on (quantize/calibrate.h); it is not the evaluation's.
struct ComparisonCalibration {
  EvalText text;
  std::size_t windows = 0;
  std::size_t ctx = 0;
};

struct ComparisonOptions {
  std::vector<std::filesystem::path> models;
  std::vector<std::string> accept_unknown;     // keys and tensors that models may hold although nothing knows them
  std::vector<const FormatRow*> configs;       // the baseline is always part of it
  std::vector<std::string> methods = {"rtn"};  // each configuration is quantized by each of them
  // Plans of mixed precision. They decide the rows `mixed`, one per plan, and `uniform`, the single configuration that
  // does best within a plan's budget.
  PlanRequest plans;
  bool mixed = false;
  bool uniform = false;
  std::vector<ImportRequest> imports;  // files that another program made from the only model
  // For the methods that use a text: each configuration is calibrated on each of them. Empty = none does.
  std::span<const ComparisonCalibration> calibrations;
  std::size_t ctx = 512;
  std::size_t samples = 0;  // windows; 0 = all
  TimingPlan timing = kStandardPlan;
  // Tokens of a timed prefill; a token after them is timed too.
  static constexpr std::size_t kPrefillTokens = 512;
  bool time_models = true;  // prefill and decode; without it no kernels either
  bool time_kernels = true;
  bool keep_models = false;       // quantized folders stay in the work folder
  std::filesystem::path results;  // records go here
  std::filesystem::path work;     // half-finished rows and quantized models
  std::string command;            // for the records
  record::Program program;
  record::Machine machine;        // instruction sets filled in
  record::Machine timer_machine;  // the same of the device whose speeds are measured
  std::string arithmetic;         // of the backend that measures quality (Device::arithmetic),
  std::string timer_arithmetic;   // of the one that is timed,
  std::string maker_arithmetic;   // of the one that makes weights and plans,
  std::string other_arithmetic;   // and of the one that the noise floor compares with
  std::string kernels;            // the backend's name in the noise floor, "cpu/avx2"
  std::string other_kernels;      // and that of the other one
};

// Windows on which a baseline is compared with itself on other kernels. Its KL is some 1e9 times below any row's: its
// order of magnitude matters, and the slow kernels need ten times as long.
inline constexpr std::size_t kFloorWindows = 1;

// Peak bytes of a process.
struct PeakMemory {
  std::uint64_t host = 0;               // resident
  std::optional<std::uint64_t> device;  // of the timer's memory, where it has its own
};

// Inputs of the comparison.
struct ComparisonTools {
  Backend& backend;
  Backend& maker;  // what models are quantized with
  Backend& timer;  // what is timed
  const EvalText& text;
  // Makes the backend of the noise floor; may be empty: then no floor is measured.
  std::function<Result<std::unique_ptr<Backend>>()> make_other_backend;
  // Of a fresh process that decodes with this model.
  std::function<Result<PeakMemory>(const std::filesystem::path& model)> measure_memory;
  std::function<MachineLimits()> measure_limits;  // around every timing; may be empty
  ProgressFn progress;
  std::function<void(const std::string&)> say;  // lines about a finished step; may be empty
  std::function<void()> recorded;               // after each job that left records; may be empty

  void Say(const std::string& line) const {
    if (say) say(line);
  }
};

// One row of the comparison.
struct ComparisonRow {
  std::string asked;                     // "f16", "fp4-g128", "mixed", "uniform"
  std::string config_id;                 // the same, but of "uniform" what its plan decided
  const FormatRow* format = nullptr;     // of every linear layer; null = baseline, or
  const PrecisionPlan* mixed = nullptr;  // a format for each; owned by the model
  // A file of another program; evaluated with its own bytes, never timed: this program's kernels do not support its
  // formats.
  std::shared_ptr<const ImportedModel> imported;
  std::optional<std::size_t> plan;         // of the model, that decides the row
  std::string method;                      // "none" for the baseline, "imported" for such a file
  std::optional<std::size_t> calibration;  // of the model, that the method looks at
  std::string text;                        // its name where there are several; else empty
  std::string unnecessary;                 // why the row is not measured: its plan decided that; else empty
  std::string quality_key;                 // 64 hexadecimal digits; empty until its plan is made
  std::string speed_key;                   // the same; also empty where nothing is timed
  std::uint64_t model_bytes = 0;           // that will be written to the work folder

  bool is_baseline() const { return !imported && !plan && format == nullptr; }
  bool is_made() const { return !imported && !is_baseline(); }  // quantized here
  bool is_known() const { return !quality_key.empty(); }
  std::string name()
      const;  // "fp4-g128", "fp4-g128 gptq", "mixed 4.25 bits gptq", "mixed (plan 1)", "fp4-g128 gptq, c4"
};

// The method of a row that another program quantized.
inline constexpr const char* kImportedMethod = "imported";
// Configurations that follow from a plan.
inline constexpr const char* kMixedConfig = "mixed";
inline constexpr const char* kUniformConfig = "uniform";

struct ComparisonModel {
  std::filesystem::path path;
  std::string name;
  std::string source_type;  // SourceType
  std::string sha256;
  std::string tokenizer_sha256;
  std::uint64_t parameters = 0;
  std::uint64_t source_bytes = 0;  // of all its tensors in the source
  std::string architecture;
  std::size_t hidden_size = 0;
  std::string container;
  Checkpoint checkpoint;  // opened once, for every row
  Description description;
  TokenStream text;  // the evaluation text, tokenized once
  bool adds_bos = false;
  std::size_t windows = 0;  // to evaluate
  std::vector<CalibrationWindows> calibrations;
  bool windows_estimated = false;  // the text is absent
  std::vector<std::optional<PrecisionPlan>> plans;
  std::vector<ComparisonRow> rows;  // the baseline first
};

struct ComparisonPlan {
  std::vector<ComparisonModel> models;
  std::vector<std::filesystem::path> repeated;  // models that are the same as an earlier one; they are left out
};

// Opens the models and lists the rows; computes nothing and writes nothing. Rows whose plan was not made yet have no
// keys. Of an absent text the windows are estimated from its size, by the tokenizer's bytes per token on the built-in
// sample; such a plan can only be looked at. Errors: those of opening a model, kInput (text too short).
Result<ComparisonPlan> PlanComparison(const ComparisonOptions& options, const EvalText& text);

// Reads the plans of a model that were made by now and fills in the rows that follow from them. Errors: those of
// ReadPlan on a file that the user named.
Status ResolveRows(const ComparisonOptions& options, const EvalText& text, ComparisonModel& model);

// Keys and tensors that the numbers of a row leave out (--accept-unknown).
std::vector<std::string> AcceptedIn(const ComparisonModel& model, const ComparisonRow& row);

// The key of the hidden states of a model's baseline.
HiddenStatesId StatesOf(const ComparisonModel& model, const ComparisonOptions& options, const EvalText& text);

// "f16 (dequantized from Q4_1)": a baseline is named after its source.
std::string BaselineName(const std::string& source_type);

// True when the source's weights already lie on a grid like the format's, which flatters it.
bool SameGridAsSource(const std::string& weight_type, const FormatInfo& format);

}  // namespace marlin
