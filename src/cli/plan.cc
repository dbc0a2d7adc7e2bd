// plan: chooses a format for each layer of a model under a budget, from measured sensitivities. The file it writes may
// be edited.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>

#include "base/file.h"
#include "base/open_file.h"
#include "base/statistics.h"
#include "cli/budget.h"
#include "cli/calibration.h"
#include "cli/model_names.h"
#include "cli/model_options.h"
#include "cli/program_info.h"
#include "cli/verb.h"
#include "formats/runtimes.h"
#include "quantize/calibrate.h"
#include "quantize/method.h"
#include "study/machine.h"
#include "study/make_plan.h"
#include "study/sensitivity.h"
#include "text/tokenizer.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

struct PlanArguments {
  std::string model;
  std::string output;
  std::string budget;
  std::string size;
  std::string runtime;  // empty: this program
  std::optional<double> max_kl;
  std::size_t held_out = kHeldOutWindows;
  std::string method = kDefaultPlanMethod;
  bool method_given = false;
  std::string sensitivity = "estimated";
  bool overwrite = false;
  CalibrationOptions calibration;
  std::vector<std::string> accept_unknown;
  BackendOptions backend;
};

Result<Budget> ChooseBudget(const PlanArguments& options) {
  const int named = (options.budget.empty() ? 0 : 1) + (options.size.empty() ? 0 : 1) + (options.max_kl ? 1 : 0);
  if (named > 1) return Error{ErrorCode::kUsage, "--budget, --size and --max-kl exclude each other"};
  if (options.max_kl) return Budget{BudgetKind::kMostKl, *options.max_kl};
  if (named == 0 && options.runtime.empty()) return Budget{BudgetKind::kBitsPerWeight, kDefaultBudgetBits};
  if (named == 0) {
    const auto runtime = ParseRuntime(options.runtime);
    if (!runtime) return runtime.error();
    return Budget{BudgetKind::kBitsPerWeight, (*runtime)->budget_bits};
  }
  auto budget = ParseBudget(options.budget.empty() ? options.size : options.budget);
  if (budget && !options.size.empty() && budget->kind != BudgetKind::kModelBytes) {
    return Error{ErrorCode::kUsage, fmt::format("--size is the size of a model, such as 900MB, not {}", options.size)};
  }
  return budget;
}

Status CheckMemory(const PlanArguments& options, const Description& description, const PlanWindows& windows,
                   const Method& method, Console& console) {
  // While the plan is confirmed, the model is in memory twice: in 16 bits and quantized.
  const std::uint64_t need =
      2 * CountParameters(description) + CountParameters(description) * 5 / 8 +
      SensitivityBytes(description, windows.measured.begins.size() + windows.held_out.begins.size(),
                       options.calibration.ctx, method.needs == MethodNeeds::kGram, options.sensitivity == "measured");
  const std::uint64_t have = AvailableMemoryBytes();
  console.Say(fmt::format("memory: about {}; {} are available", FormatBytes(static_cast<double>(need)),
                          FormatBytes(static_cast<double>(have))));
  if (need <= have) return {};
  return Error{
      ErrorCode::kResource,
      fmt::format("planning needs about {} of memory, {} are available; use fewer --calibration-windows and --held-out",
                  FormatBytes(static_cast<double>(need)), FormatBytes(static_cast<double>(have)))};
}

std::string WithInterval(const MeanEstimate& estimate) {
  std::string text = fmt::format("{:.6f}", estimate.mean);
  if (estimate.mean_95) text += fmt::format(" [{:.6f}, {:.6f}]", estimate.mean_95->low, estimate.mean_95->high);
  return text;
}

void PrintUnits(const PrecisionPlan& plan, Console& console) {
  console.Result("  layer  q k v                 o                     gate up               down");
  std::string line;
  for (const PlanUnit& unit : plan.units) {
    if (unit.input == 0) line = fmt::format("  {:>5}", unit.layer);
    line += fmt::format("  {:<9} {:<10}", unit.choice().name(), fmt::format("{:.2e}", unit.choice().kl().value_or(0)));
    const bool last = &unit == &plan.units.back() || (&unit)[1].layer != unit.layer;
    if (last) console.Result(line.substr(0, line.find_last_not_of(' ') + 1));
  }
  console.Result("         format, and KL with only this unit quantized");
}

void PrintConfirmed(const PrecisionPlan& plan, Console& console) {
  const std::vector<double> counts(plan.held_out_windows, static_cast<double>(plan.ctx - 1));
  const HeldOutKl* uniform = BestUniform(plan);
  const HeldOutKl& mixed = plan.confirmed.at(0);
  console.Result(
      fmt::format("  held-out KL      mixed   {} nats, {}{}", WithInterval(EstimateMean(mixed.window_kl, counts)),
                  CountText(plan.held_out_windows, "window"), plan.held_out_windows < kFewWindows ? " (few)" : ""));
  if (uniform == nullptr) {
    console.Result("                   no single configuration is within the budget");
    return;
  }
  std::vector<double> difference;
  for (std::size_t w = 0; w < counts.size(); ++w) difference.push_back(uniform->window_kl[w] - mixed.window_kl[w]);
  const MeanEstimate estimate = EstimateMean(difference, counts);
  console.Result(fmt::format("                   uniform {} nats: {}",
                             WithInterval(EstimateMean(uniform->window_kl, counts)), uniform->config));
  const char* verdict = !estimate.distinguished() ? "no measurable difference"
                        : estimate.mean > 0       ? "mixed is better"
                                                  : "mixed is worse";
  console.Result(fmt::format("                   {}: uniform loses {} more", verdict, WithInterval(estimate)));
}

// A method that the user chose is kept; else quantize takes its best.
std::string NextCommand(const PlanArguments& options) {
  std::string command =
      fmt::format("metal-marlin quantize {} --plan {}", QuoteForShell(options.model), QuoteForShell(options.output));
  const auto method = ParseMethod(options.method);
  if (options.method_given) command += " --method " + options.method;
  const CalibrationOptions& text = options.calibration;
  if (!options.method_given || (method && (*method)->needs != MethodNeeds::kNothing)) {
    command += " --calibration " + QuoteForShell(text.data);
    if (text.ctx != kCalibrationCtx) command += fmt::format(" --calibration-ctx {}", text.ctx);
    if (text.allow_overlap) command += " --allow-overlap";
  }
  const auto runtime = ParseRuntime(options.runtime);
  return command +
         (runtime ? fmt::format(" --to {} -o MODEL{}", (*runtime)->container, (*runtime)->ending) : " -o FOLDER");
}

void Print(const PlanArguments& options, const PrecisionPlan& plan, double seconds, Console& console) {
  console.Result(
      fmt::format("{}: {} for a budget of {}", options.output, plan.model_name, DescribeBudget(plan.budget)));
  PrintUnits(plan, console);
  console.Result(fmt::format("  linear layers    {}, {:.4f} bits per weight; whole model {}",
                             FormatBytes(static_cast<double>(plan.bytes())), plan.bits_per_weight(),
                             FormatBytes(static_cast<double>(plan.bytes() + plan.other_bytes))));
  const SensitivityCheck check = CheckEstimates(plan);
  console.Result(
      fmt::format("  predicted KL     {:.6f} nats per token (sum over the units)", plan.predicted_kl().value()));
  if (check.pairs > 0) {
    console.Result(fmt::format("  estimates        measured / estimated {:.3f} (median of {}), {:.3f} to {:.3f}",
                               check.median_ratio, check.pairs, check.least_ratio, check.most_ratio));
  }
  PrintConfirmed(plan, console);
  console.Result(fmt::format("  took {}; next: {}", FormatDuration(seconds), NextCommand(options)));
  if (!options.method_given) {
    console.Result(
        fmt::format("  that quantizes with {}; the plan was measured with {}, which is faster and loses more",
                    ChooseMethod(MethodNeeds::kGram), options.method));
  }
}

// Errors: kUsage.
Result<const Method*> ParsePlanMethod(const std::string& name) {
  auto method = ParseMethod(name);
  if (method || !ParseRecipe(name)) return method;
  return Error{ErrorCode::kUsage, fmt::format("a plan is measured with a method alone, one of {}; give {} to quantize",
                                              MethodNames(), name)};
}

// The formats of the runtime that the plan is for.
Status ChooseFormats(const std::string& name, PlanOptions& plan) {
  if (name.empty()) return {};
  const auto runtime = ParseRuntime(name);
  if (!runtime) return runtime.error();
  plan.formats = {FormatsOf((*runtime)->planned), (*runtime)->row_multiple};
  plan.probe = plan.formats.formats.front()->info.name;
  return {};
}

struct PlanJob {
  Checkpoint checkpoint;
  PlanWindows windows;
  PlanOptions plan;
};

Result<PlanJob> Prepare(const PlanArguments& options, const Budget& budget, Invocation& invocation) {
  const auto method = ParsePlanMethod(options.method);
  if (!method) return method.error();
  const auto input = FindCalibration(options.calibration, invocation.console);
  if (!input) return input.error();
  auto opened = OpenModelOf(options.model, options.accept_unknown, invocation.console);
  if (!opened) return opened.error();
  WarnOfQuantizedSource(opened->checkpoint, options.model, invocation.console);
  const auto tokenizer = Tokenizer::FromCheckpoint(opened->checkpoint);
  if (!tokenizer) return tokenizer.error();
  auto stream = MakeTokenStream(*tokenizer, input->text.text);
  if (!stream) return Error{stream.error().code, input->text.name + ": " + stream.error().message};
  auto windows = CutPlanWindows(std::move(*stream), options.calibration.ctx, options.calibration.windows,
                                options.held_out, input->text.name, input->text.sha256);
  if (!windows) return windows.error();
  if (auto status = CheckMemory(options, opened->description, *windows, **method, invocation.console); !status) {
    return status.error();
  }
  auto hash = HashCheckpoint(opened->checkpoint);
  if (!hash) return hash.error();
  PlanOptions plan;
  if (auto status = ChooseFormats(options.runtime, plan); !status) return status.error();
  plan.kind = budget.kind;
  plan.value = budget.value;
  plan.method = options.method;
  plan.measure_all = options.sensitivity == "measured";
  plan.kept = options.output + ".part";
  plan.model_sha256 = std::move(*hash);
  plan.tokenizer_sha256 = tokenizer->sha256();
  plan.program = fmt::format("metal-marlin {} ({})", GetProgramInfo().version, GetProgramInfo().commit);
  plan.command = invocation.command;
  return PlanJob{std::move(opened->checkpoint), std::move(*windows), std::move(plan)};
}

Status RunPlan(const PlanArguments& options, Invocation& invocation) {
  Console& console = invocation.console;
  if (auto status = CheckOutputFile(options.output); !status) return status;
  if (IsListed(options.output) && !options.overwrite) {
    return Error{ErrorCode::kInput, fmt::format("{} already exists; --overwrite replaces it", options.output)};
  }
  const auto budget = ChooseBudget(options);
  if (!budget) return budget.error();
  if (options.calibration.data.empty()) {
    return Error{ErrorCode::kUsage, "a plan is measured on a text: give --calibration TEXT"};
  }
  const auto start = std::chrono::steady_clock::now();
  const auto job = Prepare(options, *budget, invocation);
  if (!job) return job.error();
  auto backend = MakeBackend(options.backend, invocation.common.threads);
  if (!backend) return backend.error();
  const auto plan = MakePlan(job->checkpoint, job->windows, job->plan, **backend, console.progress());
  if (!plan && plan.error().code == ErrorCode::kInterrupted) {
    return Error{ErrorCode::kInterrupted, fmt::format("interrupted; the same command continues after the last finished "
                                                      "layer, kept in {}",
                                                      job->plan.kept.string())};
  }
  if (!plan) return plan.error();
  if (auto status = WritePlan(*plan, options.output); !status) return status;
  std::error_code ignored;
  fs::remove(job->plan.kept, ignored);
  Print(options, *plan, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), console);
  console.Data(nlohmann::json::parse(PlanToJson(*plan)));
  return {};
}

std::vector<std::string> RuntimeList() {
  std::vector<std::string> names;
  for (const Runtime& runtime : kRuntimes) names.emplace_back(runtime.name);
  return names;
}

// "gguf (llama.cpp: q4_0 iq4_nl ...), mlx (...)".
std::string RuntimeNames() {
  std::string names;
  for (const Runtime& runtime : kRuntimes) {
    names += fmt::format("{}{} ({}: {})", names.empty() ? "" : "; ", runtime.name, runtime.programs, runtime.planned);
  }
  return names;
}

// What is said of the name of a container or of a program.
std::string RuntimeBehind(const std::string& word) {
  for (const Runtime& runtime : kRuntimes) {
    if (word != runtime.name && (word == runtime.container || word == runtime.programs)) {
      return fmt::format("{}: want --for {}", word, runtime.name);
    }
  }
  return "";
}

}  // namespace

void RegisterPlan(Verb parent) {
  auto options = std::make_shared<PlanArguments>();
  Verb verb = parent.AddVerb("plan", "Choose a format for each layer under a budget, by measured sensitivities",
                             "metal-marlin plan ./SmolLM2-135M --budget 4.25bpw --calibration wikitext2 -o plan.json");
  verb.Add("model", options->model, kModelWords).Required();
  verb.Add("--budget", options->budget,
           fmt::format("Bits per weight of the linear layers, such as 4.5bpw; default {}bpw", kDefaultBudgetBits));
  verb.Add("--size", options->size, "Replaces --budget: bytes of all tensors of the model, such as 900MB");
  verb.Add("--max-kl", options->max_kl,
           "Replaces --budget: make the smallest model whose expected loss is at most this, in nats per token")
      .Between(0.0, 1000.0);
  verb.Add("--for", options->runtime,
           fmt::format("Choose among the formats that another program runs fast: {}", RuntimeNames()))
      .Explains(RuntimeBehind)
      .OneOf(RuntimeList());
  AddCalibrationOptions(verb, "--calibration", options->calibration);
  options->calibration.windows = kPlanWindows;
  verb.Add("--held-out", options->held_out, "Further windows of the text that confirm the plan")
      .Between(kLeastCalibrationWindows, std::size_t{1} << 20);
  const Option method =
      verb.Add("--method", options->method, "Method that makes the weights while measuring: " + MethodNames()).Names();
  verb.Add("--sensitivity", options->sensitivity,
           "estimated: each unit is measured in one format, and the error of its weights gives the others; measured: "
           "in every format, which takes seven times as long")
      .OneOf({"estimated", "measured"});
  verb.AddFlag("--offline", options->calibration.offline, "Never touch the network");
  verb.Add("-o,--output", options->output, "File to write").Required().NamesFile();
  verb.AddFlag("--overwrite", options->overwrite, "Replace an existing file");
  AddAcceptUnknown(verb, options->accept_unknown);
  AddExactBackendOptions(verb, options->backend);
  verb.Runs([options, method](Invocation& invocation) {
    options->method_given = method.IsGiven();
    return RunPlan(*options, invocation);
  });
}

}  // namespace marlin
