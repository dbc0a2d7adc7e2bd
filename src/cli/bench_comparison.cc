// bench comparison: measures and records the baseline and every configuration of each model.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <nlohmann/json.hpp>
#include <set>

#include "base/sha256.h"
#include "base/thread_pool.h"
#include "bench/limits.h"
#include "bench/weight_traffic.h"
#include "cli/bench.h"
#include "cli/budget.h"
#include "cli/calibration.h"
#include "cli/child.h"
#include "cli/comparison_output.h"
#include "cli/comparison_page.h"
#include "cli/configs.h"
#include "cli/emit_jobs.h"
#include "cli/model_names.h"
#include "cli/model_options.h"
#include "cli/program_info.h"
#include "cli/text.h"
#include "files/sums_file.h"
#include "formats/formats.h"
#include "kernels/isa.h"
#include "quantize/calibrate.h"
#include "quantize/method.h"
#include "records/analysis.h"
#include "records/store.h"
#include "report/comparisons.h"
#include "report/summary.h"
#include "study/comparison.h"
#include "study/job_list.h"
#include "study/machine.h"
#include "study/run_jobs.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

struct BenchComparisonArguments {
  std::vector<std::string> models;
  std::vector<std::string> configs;
  TextOptions text;
  std::string results = "benchmarks/results";
  std::string work;
  std::size_t samples = 0;
  std::size_t ctx = 512;
  std::vector<std::string> imports;
  std::vector<std::string> names;
  std::vector<std::string> accept_unknown;
  bool quick_timing = false;
  bool no_timing = false;
  bool no_kernels = false;
  bool keep_models = false;
  bool dry_run = false;
  std::vector<std::string> methods = {kAutoMethod};
  std::vector<std::string> budgets;
  std::string plan;
  std::size_t plan_windows = kPlanWindows;
  bool list_jobs = false;
  std::string job;
  std::string shard;
  std::string emit;
  std::size_t claim_expiry = static_cast<std::size_t>(kClaimExpiry.count());
  std::vector<std::string> calibrations;
  CalibrationOptions calibration;  // of each of them; `data` stays empty
  BackendOptions backend;
  std::string timing_device;  // empty = that of the backend
  bool page = false;
  std::string output;

  bool only_looks() const { return dry_run || list_jobs || !emit.empty(); }
  // What measures quality, and what is timed.
  BackendOptions quality_backend() const {
    return timing_device.empty() ? backend : OnDevice(backend, backend.backend);
  }
  BackendOptions timer() const { return timing_device.empty() ? backend : OnDevice(backend, timing_device); }
};

// The six configurations of the page: every common 4-bit format of the list.
std::vector<std::string> DefaultConfigs() {
  std::vector<std::string> names;
  for (const FormatRow& row : Formats()) {
    if (row.info.code_bits == 4 && row.info.common) names.emplace_back(row.info.name);
  }
  return names;
}

// Every configuration of the page.
std::vector<std::string> PageConfigs() {
  std::vector<std::string> names = DefaultConfigs();
  names.insert(names.end(), {kUniformConfig, kMixedConfig});
  return names;
}

// With --page, what the page needs and the command line does not say: every configuration, both texts.
BenchComparisonArguments Completed(BenchComparisonArguments options) {
  if (!options.page) return options;
  if (options.configs.empty()) options.configs = PageConfigs();
  if (options.calibrations.empty()) options.calibrations = {kWikiText, kBartowski};
  return options;
}

// Checks that nothing speaks against --page.
Status CheckPageOptions(const BenchComparisonArguments& options) {
  if (!options.page) return {};
  if (!options.job.empty() || !options.emit.empty()) {
    return Error{
        ErrorCode::kUsage,
        fmt::format("--page and {} exclude each other: a single job makes no page. Name the configurations and "
                    "the texts instead (--config, --calibration); `metal-marlin report generate` makes the "
                    "page from the records",
                    options.job.empty() ? "--emit" : "--job")};
  }
  const bool looks = std::ranges::any_of(options.methods, [](const std::string& name) {
    const auto recipe = ParseRecipe(name);
    return name == kAutoMethod || !recipe || recipe->needs != MethodNeeds::kNothing;  // CheckMethods reports errors
  });
  if (looks) return {};
  return Error{ErrorCode::kUsage,
               fmt::format("--page compares calibration texts, and the method {} uses none: leave --method out, or add "
                           "one that uses a text, such as gptq-cd",
                           fmt::join(options.methods, ", "))};
}

Result<std::vector<const FormatRow*>> ParseConfigs(std::vector<std::string> names) {
  if (names.empty()) names = DefaultConfigs();
  std::vector<const FormatRow*> formats;
  for (const std::string& name : names) {
    // The baseline is always measured. The rows of a plan are known when the plan exists.
    if (name == "f16" || name == kMixedConfig || name == kUniformConfig) continue;
    const auto format = ParseConfig(name);
    if (!format) {
      return Error{format.error().code, fmt::format("{}; or f16 (the baseline), {} or {} (the rows of a plan)",
                                                    format.error().message, kMixedConfig, kUniformConfig)};
    }
    if (std::ranges::find(formats, *format) == formats.end()) formats.push_back(*format);
  }
  return formats;
}

// What an imported file is called: --name, or the file's name without its ending, or its name in the cache.
std::string ImportName(const BenchComparisonArguments& options, std::size_t i) {
  if (i < options.names.size()) return options.names[i];
  const auto model = FindModel(options.imports[i]);
  return model && model->cached ? options.imports[i] : fs::path(options.imports[i]).stem().string();
}

// The hash of the program's own file, for the keys of speeds.
Result<std::string> OwnHash() {
  const auto self = OwnFile();
  if (!self) return self.error();
  return Sha256OfFile(*self);
}

// The machine as a backend uses it.
record::Machine DescribeMachineOf(const BackendOptions& options, const Backend& backend) {
  record::Machine machine = DescribeMachine(backend.threads());
  for (const IsaLevel& level : IsaLevels()) {
    if ((level.bits & ~HostIsa()) == 0) machine.isa_available.emplace_back(level.name);
  }
  machine.isa = NameOfIsa(options);
  const std::string rounding = backend.hardware() ? std::string(backend.rounding()) : RoundingOf(options);
  if (rounding != kExactActivations) machine.activations = rounding;
  machine.device = backend.hardware();
  return machine;
}

Result<ComparisonOptions> MakeOptions(const BenchComparisonArguments& options, const Invocation& invocation,
                                      const Backend& backend, const Backend& maker, const Backend& timer) {
  auto configs = ParseConfigs(options.configs);
  if (!configs) return configs.error();
  ComparisonOptions out;
  for (const std::string& name : options.models) {
    const auto model = FindModel(name);
    if (!model) return model.error();
    if (!model->note.empty()) invocation.console.Warn(model->note);
    out.models.push_back(model->path);
  }
  out.configs = std::move(*configs);
  out.mixed = std::find(options.configs.begin(), options.configs.end(), kMixedConfig) != options.configs.end();
  out.uniform = std::find(options.configs.begin(), options.configs.end(), kUniformConfig) != options.configs.end();
  const bool calibrated = !options.calibrations.empty();
  out.methods.clear();
  for (std::string name : options.methods) {
    if (name == kAutoMethod) name = ChooseMethod(calibrated ? MethodNeeds::kGram : MethodNeeds::kNothing);
    if (const auto recipe = ParseRecipe(name)) name = recipe->name;  // CheckMethods reports errors
    if (std::find(out.methods.begin(), out.methods.end(), name) == out.methods.end()) out.methods.push_back(name);
  }
  out.accept_unknown = options.accept_unknown;
  out.ctx = options.ctx;
  out.samples = options.samples;
  out.timing = options.quick_timing ? kQuickPlan : kStandardPlan;
  out.time_models = !options.no_timing;
  out.time_kernels = !options.no_kernels && !options.no_timing;
  for (std::size_t i = 0; i < options.imports.size(); ++i) {
    const auto model = FindModel(options.imports[i]);
    if (!model) return model.error();
    out.imports.push_back({model->path, ImportName(options, i), options.accept_unknown});
  }
  out.keep_models = options.keep_models;
  out.results = options.results;
  out.work = options.work.empty() ? out.results / ".work" : fs::path(options.work);
  out.command = invocation.command;
  const ProgramInfo& program = GetProgramInfo();
  out.program = {program.version, program.commit, program.compiler, program.flags};
  if (auto status = OwnHash().MoveTo(out.program.binary_sha256); !status) return status.error();
  const BackendOptions quality = options.quality_backend();
  out.machine = DescribeMachineOf(quality, backend);
  out.timer_machine = DescribeMachineOf(options.timer(), timer);
  out.arithmetic = backend.arithmetic();
  out.timer_arithmetic = timer.arithmetic();
  out.maker_arithmetic = maker.arithmetic();
  out.other_arithmetic = BackendLabel(OtherKernels(quality));
  out.kernels = BackendLabel(quality);
  out.other_kernels = BackendLabel(OtherKernels(quality));
  return out;
}

// What the rows of the plan measured, by this run or an earlier one.
Result<nlohmann::json> ResultsJson(const ComparisonPlan& plan, const fs::path& results) {
  std::set<std::string> keys;
  for (const ComparisonModel& model : plan.models) {
    for (const ComparisonRow& row : model.rows) keys.insert({row.quality_key, row.speed_key});
  }
  std::error_code code;  // a share without jobs may end before anyone made the folder
  auto loaded = fs::exists(results, code) ? LoadRecords(results) : Result<LoadedRecords>(LoadedRecords());
  if (!loaded) return loaded.error();
  std::erase_if(loaded->records, [&](const StoredRecord& stored) { return !keys.contains(stored.record.key); });
  return nlohmann::json{{"results", results.string()},
                        {"summary", nlohmann::json(SummaryJson(Analyze(loaded->records)))}};
}

// Records among a model's files would count as damage to the model.
Status CheckResults(const std::string& folder) {
  std::error_code code;
  if (fs::exists(folder, code) && !fs::is_directory(folder, code)) {
    return Error{ErrorCode::kInput, folder + " is not a folder; records need a folder: choose another with --results"};
  }
  for (const std::string_view name : {kSumsFile, std::string_view("config.json")}) {
    if (!fs::exists(fs::path(folder) / name, code)) continue;
    return Error{ErrorCode::kInput, fmt::format("{} is the folder of a model (it contains {}); records need their own "
                                                "folder: choose another with --results",
                                                folder, name)};
  }
  return {};
}

// Checks that imported files belong to one model and have different names.
Status CheckImports(const BenchComparisonArguments& options) {
  if (options.names.size() > options.imports.size()) {
    return Error{ErrorCode::kUsage,
                 fmt::format("--name is given {} times, --import {} times; give each name after its file",
                             options.names.size(), options.imports.size())};
  }
  if (!options.imports.empty() && options.models.size() != 1) {
    return Error{ErrorCode::kUsage, "--import needs exactly one --model: the model that the files were made from"};
  }
  std::set<std::string> names;
  for (std::size_t i = 0; i < options.imports.size(); ++i) {
    const std::string name = ImportName(options, i);
    if (names.insert(name).second) continue;
    return Error{ErrorCode::kUsage, fmt::format("two imported files are called \"{}\"; name them with --name", name)};
  }
  return {};
}

// Checks that each method has its calibration data and that a given text is used.
Status CheckMethods(const std::vector<std::string>& names, bool calibrated, bool planned) {
  bool used = planned;
  for (const std::string& name : names) {
    const auto method = ParseRecipe(name);
    if (!method) return method.error();
    if (method->cannot_miss != MethodNeeds::kNothing && !calibrated) {
      return Error{ErrorCode::kUsage, fmt::format("the method {} needs --calibration TEXT", name)};
    }
    used = used || method->needs != MethodNeeds::kNothing;
  }
  return calibrated && !used ? CheckMethodUsesText(names[0]) : Status();
}

// The calibration texts of the methods; a text that is named twice is used once.
Result<std::vector<ComparisonCalibration>> FindMethodsTexts(const BenchComparisonArguments& options,
                                                            const ComparisonOptions& comparison,
                                                            const EvalText& evaluation, Console& console) {
  const bool planned = comparison.mixed || comparison.uniform;
  if (auto status = CheckMethods(comparison.methods, !options.calibrations.empty(), planned); !status) {
    return status.error();
  }
  CalibrationOptions calibration = options.calibration;
  calibration.offline = options.text.offline;
  if (options.calibrations.empty() &&
      (calibration.windows != kCalibrationWindows || calibration.ctx != kCalibrationCtx)) {
    return Error{ErrorCode::kUsage, "--calibration-windows and --calibration-ctx need a text: give --calibration TEXT"};
  }
  std::vector<ComparisonCalibration> texts;
  for (const std::string& name : options.calibrations) {
    calibration.data = name;
    auto input = FindCalibration(calibration, console);
    if (!input && options.page) {
      return Error{input.error().code,
                   input.error().message + fmt::format("; --page needs both {} and {} unless --calibration names the "
                                                       "texts to use",
                                                       kWikiText, kBartowski)};
    }
    if (!input) return input.error();
    if (auto overlap = CheckOverlap(input->text, evaluation, calibration.allow_overlap, console); !overlap) {
      return overlap.error();
    }
    const bool known = std::ranges::any_of(
        texts, [&](const ComparisonCalibration& other) { return other.text.sha256 == input->text.sha256; });
    if (known) {
      console.Warn(fmt::format("{} is a calibration text that was named before it: it is used once", name));
      continue;
    }
    texts.push_back({std::move(input->text), calibration.windows, calibration.ctx});
  }
  return texts;
}

// Checks that the rows that need plans have what plans need, and that plan options are given only for such rows.
Status CheckPlanning(const BenchComparisonArguments& options, const ComparisonOptions& comparison) {
  const bool named = !options.budgets.empty() || !options.plan.empty();
  if (!comparison.mixed && !comparison.uniform) {
    if (!named) return {};
    return Error{ErrorCode::kUsage, "--budget and --plan work only with --config mixed and --config uniform"};
  }
  if (!options.plan.empty()) {
    if (options.models.size() == 1 && options.budgets.empty()) return {};
    return Error{ErrorCode::kUsage,
                 "a plan belongs to one model and has its own budget: give one --model and no --budget"};
  }
  if (!options.calibrations.empty()) return {};
  return Error{ErrorCode::kUsage,
               "mixed and uniform need a plan, and a plan is measured on a text: give --calibration TEXT, or a "
               "finished plan with --plan FILE"};
}

// How the plans of the rows `mixed` and `uniform` are made.
Status AddPlans(const BenchComparisonArguments& options, const Invocation& invocation, ComparisonOptions& comparison) {
  if (auto status = CheckPlanning(options, comparison); !status) return status;
  if (!comparison.mixed && !comparison.uniform) return {};
  PlanRequest& request = comparison.plans;
  request.file = options.plan;
  if (!comparison.calibrations.empty()) request.text = &comparison.calibrations[0].text;
  request.ctx = options.calibration.ctx;
  request.windows = options.plan_windows;
  std::vector<std::string> budgets = options.budgets;
  if (budgets.empty()) budgets = {fmt::format("{}bpw", kDefaultBudgetBits)};
  for (const std::string& text : budgets) {
    const auto budget = ParseBudget(text);
    if (!budget) return budget.error();
    PlanOptions plan;
    plan.kind = budget->kind;
    plan.value = budget->value;
    plan.program = fmt::format("metal-marlin {} ({})", comparison.program.version, comparison.program.commit);
    plan.command = invocation.command;
    request.budgets.push_back(std::move(plan));
  }
  return {};
}

// "2/4": the second of four shares.
Result<JobChoice> ParseChoice(const BenchComparisonArguments& options) {
  JobChoice choice;
  choice.id = options.job;
  choice.claim_expiry = std::chrono::seconds(options.claim_expiry);
  if (options.shard.empty()) return choice;
  std::size_t share = 0;
  const char* const end = options.shard.data() + options.shard.size();
  const auto [slash, code] = std::from_chars(options.shard.data(), end, share);
  const bool whole = code == std::errc() && slash != end && *slash == '/';
  const auto [rest, code_of] =
      whole ? std::from_chars(slash + 1, end, choice.shares) : std::from_chars_result{end, code};
  constexpr std::size_t kMostShares = 100'000;
  if (!whole || code_of != std::errc() || rest != end || share < 1 || share > choice.shares ||
      choice.shares > kMostShares) {
    return Error{ErrorCode::kUsage, fmt::format("--shard {}: want i/n with i from 1 to n, such as 2/4", options.shard)};
  }
  choice.share = share - 1;
  return choice;
}

// A fresh process decodes with the model and reports its peak.
Result<PeakMemory> MeasureMemory(const fs::path& model, const BenchComparisonArguments& options, int threads) {
  const std::string tokens = std::to_string(record::kPeakPositions);
  std::vector<std::string> words = {"generate", model.string(), "--prompt", "The",       "-n",
                                    tokens,     "--json",       "-q",       "--threads", std::to_string(threads)};
  for (const std::string& word : AcceptWords(options.accept_unknown)) words.push_back(word);
  const auto choice = BackendWords(options.timer());
  words.insert(words.end(), choice.begin(), choice.end());
  const auto text = RunSelf(words);
  if (!text) return text.error();
  const auto document = nlohmann::json::parse(*text, nullptr, false);
  const auto bytes = [&](const char* name) -> std::optional<std::uint64_t> {
    if (!document.is_object() || !document.contains(name) || !document[name].is_number_unsigned()) return std::nullopt;
    return document[name].get<std::uint64_t>();
  };
  const auto host = bytes("peak_rss_bytes");
  if (!host) return Error{ErrorCode::kFailure, "a measuring process did not report its memory"};
  return PeakMemory{*host, bytes("peak_device_bytes")};
}

// Prints the list or the script that was asked for instead of a run.
Status Look(const BenchComparisonArguments& options, const ComparisonPlan& plan, const ComparisonOptions& comparison,
            const EvalText& text, const std::vector<Job>& jobs, const std::vector<ListedJob>& listed,
            Invocation& invocation) {
  Console& console = invocation.console;
  if (options.emit.empty()) {
    if (options.list_jobs) PrintJobs(listed, jobs, console);
    console.Data(PlanToJson(plan, listed, jobs, comparison, text));
    return {};
  }
  const auto self = OwnFile();
  if (!self) return self.error();
  std::error_code code;
  const fs::path folder = fs::current_path(code);
  if (code) return Error{ErrorCode::kInput, "cannot find the current folder: " + code.message()};
  const int threads = static_cast<int>(comparison.machine.threads);
  const BackendOptions& backend = options.backend;
  const bool on_cpu = backend.backend == "cpu" && options.timing_device.empty();
  const std::string isa = on_cpu ? comparison.machine.isa : backend.isa;
  const std::string activations = on_cpu ? RoundingOf(backend) : backend.activations;
  const std::string script =
      EmitJobs(options.emit, jobs,
               {JobCommand(invocation.words, self->string(), isa, activations, threads), folder.string(), threads});
  console.Raw(script);
  console.Data({{"engine", options.emit}, {"script", script}});
  return {};
}

// The last line of a run that went well.
std::string Ending(const ComparisonPlan& plan, const ComparisonOptions& options, const EvalText& text,
                   const JobChoice& choice) {
  if (!choice.id.empty()) return fmt::format("job {} is done", choice.id);
  const std::vector<Job> jobs = ListJobs(plan, options, text, {});
  const auto left = std::ranges::count_if(jobs, [&](const Job& job) { return !IsDone(job, plan, options, text); });
  if (left > 0) return fmt::format("this share is done; {} of {} jobs are left to other shares", left, jobs.size());
  return fmt::format("done; next: metal-marlin report generate {}", options.results.string());
}

Status SayResults(const ComparisonPlan& plan, const ComparisonOptions& options, const EvalText& text,
                  const JobChoice& choice, Console& console) {
  if (console.json()) {
    const auto measured = ResultsJson(plan, options.results);
    if (!measured) return measured.error();
    console.Data(*measured);
  }
  console.Say(Ending(plan, options, text, choice));
  return {};
}

// Learned positions are refused before; rotary ones go on.
void WarnOfContext(const ComparisonPlan& plan, const ComparisonOptions& options, Console& console) {
  for (const ComparisonModel& model : plan.models) {
    const std::size_t context = model.description.max_context;
    if (!options.time_models || context > ComparisonOptions::kPrefillTokens) continue;
    console.Warn(
        fmt::format("{}: timing takes {} positions, and the model was trained for {} (max_position_embeddings); its "
                    "speeds are measured beyond that. --no-timing leaves them out",
                    model.path.string(), ComparisonOptions::kPrefillTokens + 1, context));
  }
}

// The backend that makes weights: the same without rounding.
BackendOptions MakerOptions(BackendOptions options) {
  options.activations = kExactActivations;
  if (ActivationOf(options.kernel) != kExactActivations) options.kernel.clear();
  return options;
}

// What the options left out of the page, and which option did.
std::vector<std::string> LeftOut(const BenchComparisonArguments& options, const ComparisonPlan& plan,
                                 const ComparisonOptions& comparison) {
  std::vector<std::string> out;
  std::vector<std::string> absent;
  for (const std::string& config : PageConfigs()) {
    if (std::ranges::find(options.configs, config) == options.configs.end()) absent.push_back(config);
  }
  if (!absent.empty()) out.push_back(fmt::format("{} (left out by --config)", fmt::join(absent, ", ")));
  for (const char* name : {kWikiText, kBartowski}) {
    const bool used = std::ranges::any_of(comparison.calibrations, [&](const auto& x) { return x.text.name == name; });
    if (!used) out.push_back(fmt::format("calibration on {} (left out by --calibration)", name));
  }
  if (!comparison.time_models) out.emplace_back("speeds, peak memory and kernels (left out by --no-timing)");
  if (comparison.time_models && !comparison.time_kernels) out.emplace_back("kernels (left out by --no-kernels)");
  const bool some = std::ranges::any_of(plan.models, [&](const ComparisonModel& model) {
    return model.windows < model.text.tokens.size() / comparison.ctx;
  });
  if (some) out.push_back(fmt::format("windows of the text after the first {} (--samples)", comparison.samples));
  return out;
}

// Runs the jobs and keeps the page. A page that cannot be written at first stops everything, before hours of work;
// later it is a warning, as the records are there.
Status RunWithPage(const BenchComparisonArguments& options, ComparisonPlan& plan, const ComparisonOptions& comparison,
                   ComparisonTools tools, const MachineLimits& limits, const JobChoice& choice, Console& console) {
  const ReportArguments report{options.results, options.output};
  if (auto status = WriteComparisonPage(report); !status) return status;
  const std::string folder = report.output.empty() ? report.results : report.output;
  console.Say(fmt::format("page            {}, made again after each row", (fs::path(folder) / "index.html").string()));
  std::string warned;
  tools.recorded = [&] {
    const Status status = WriteComparisonPage(report);
    if (status.ok() || status.error().message == warned) return;
    warned = status.error().message;
    console.Warn(warned);
  };
  const Status outcome = RunJobs(plan, comparison, tools, limits, choice);
  if (!outcome.ok() && outcome.error().code == ErrorCode::kInterrupted) return outcome;
  const auto summary =
      FinishComparisonPage(report, plan, comparison, tools.text, LeftOut(options, plan, comparison), outcome);
  if (!summary) return outcome.ok() ? summary.error() : outcome;
  console.Result(summary->text);
  if (console.json()) {
    auto measured = ResultsJson(plan, options.results);
    if (!measured) return outcome.ok() ? measured.error() : outcome;
    (*measured)["page"] = summary->data;
    console.Data(*measured);
  }
  return outcome;
}

Status PlanAndRun(const BenchComparisonArguments& options, Invocation& invocation) {
  Console& console = invocation.console;
  if (auto status = CheckPageOptions(options); !status) return status;
  if (auto status = CheckResults(options.results); !status) return status;
  if (auto status = CheckImports(options); !status) return status;
  const auto choice = ParseChoice(options);
  if (!choice) return choice.error();
  const BackendOptions quality = options.quality_backend();
  auto backend = MakeBackend(quality, invocation.common.threads);
  if (!backend) return backend.error();
  auto maker = MakeBackend(MakerOptions(quality), invocation.common.threads);
  if (!maker) return maker.error();
  std::unique_ptr<Backend> other_device;
  if (!options.timing_device.empty()) {
    if (auto status = MakeBackend(options.timer(), invocation.common.threads).MoveTo(other_device); !status) {
      return Error{status.error().code,
                   fmt::format("--timing-device {}: {}", options.timing_device, status.error().message)};
    }
  }
  Backend& timer = other_device ? *other_device : **backend;
  auto comparison = MakeOptions(options, invocation, **backend, **maker, timer);
  if (!comparison) return comparison.error();
  // A script needs the text: the ids of its jobs depend on its windows.
  const bool absent_will_do = options.only_looks() && options.emit.empty();
  const auto text = absent_will_do ? FindTextWithoutNetwork(options.text, console) : FindText(options.text, console);
  if (!text) return text.error();
  const auto calibrations = FindMethodsTexts(options, *comparison, *text, console);
  if (!calibrations) return calibrations.error();
  comparison->calibrations = *calibrations;
  if (auto status = AddPlans(options, invocation, *comparison); !status) return status;
  const auto measure_limits = [&] {
    ThreadPool pool((*backend)->threads());
    return MeasureLimits(pool);
  };
  MachineLimits limits = ReadLimits(*comparison);
  if (choice->id.empty() && limits.fma_gflops == 0) limits = measure_limits();
  auto plan = PlanComparison(*comparison, *text);
  if (!plan) return plan.error();
  for (const fs::path& path : plan->repeated) {
    console.Warn(fmt::format("{} is a model that was named before it: it is measured once", path.string()));
  }
  for (const ComparisonModel& model : plan->models) WarnOfAccepted(model.checkpoint, {}, console);
  WarnOfContext(*plan, *comparison, console);
  if (choice->id.empty()) {
    const std::vector<Job> jobs = ListJobs(*plan, *comparison, *text, limits);
    std::vector<ListedJob> listed = ObserveJobs(jobs, *plan, *comparison, *text, *choice);
    const bool rows = !options.page || options.only_looks();
    if (options.emit.empty() && !options.list_jobs) {
      if (rows) PrintRows(*plan, *comparison, *text, console);
      PrintTotal(*plan, listed, *comparison, *text, limits, console);
    }
    if (options.list_jobs) KeepShare(jobs, *choice, listed);
    if (options.only_looks()) return Look(options, *plan, *comparison, *text, jobs, listed, invocation);
  }
  ComparisonTools tools{**backend,
                        **maker,
                        timer,
                        *text,
                        [&] { return MakeBackend(OtherKernels(quality), invocation.common.threads); },
                        [&](const fs::path& model) { return MeasureMemory(model, options, timer.threads()); },
                        measure_limits,
                        console.progress(),
                        [&](const std::string& line) { console.Say(line); },
                        {}};
  if (options.page) return RunWithPage(options, *plan, *comparison, tools, limits, *choice, console);
  if (auto status = RunJobs(*plan, *comparison, tools, limits, *choice); !status) return status;
  return SayResults(*plan, *comparison, *text, *choice, console);
}

Status RunComparisonVerb(const BenchComparisonArguments& options, Invocation& invocation) {
  const Status status = PlanAndRun(Completed(options), invocation);
  if (status.ok() || status.error().code != ErrorCode::kInterrupted) return status;
  return Error{ErrorCode::kInterrupted, "interrupted; the same command continues where this one stopped"};
}

}  // namespace

void RegisterBenchComparison(Verb bench) {
  auto options = std::make_shared<BenchComparisonArguments>();
  Verb verb = bench.AddVerb(
      "comparison", "Measure the baseline and every configuration of each model; writes records of quality and speed",
      "metal-marlin bench comparison --model ./SmolLM2-135M --samples 100");
  verb.Add("-m,--model", options->models, std::string(kModelWords) + "; may be repeated").Required();
  verb.Add("-c,--config", options->configs,
           fmt::format("Configurations, separated by commas or repeated. Default: {}. mixed: a format per layer, "
                       "chosen under a --budget; uniform: the best single configuration within the budget",
                       fmt::join(DefaultConfigs(), ", ")))
      .SeparatedByCommas()
      .Names();
  const Option page = verb.AddFlag(
      "--page", options->page,
      fmt::format("Fill the whole page: the configurations above with {} and {}, each calibrated on {} and "
                  "{} unless options name others; RESULTS.md and index.html are made again after each row, "
                  "and a short summary ends the run",
                  kUniformConfig, kMixedConfig, kWikiText, kBartowski));
  verb.Add("-o,--output", options->output, "Folder of the page; default: the folder of the records").Needs(page);
  verb.Add("--budget", options->budgets,
           fmt::format("Budget of mixed and uniform: bits per weight (4.5bpw) or size of the model (900MB); separated "
                       "by commas or repeated; default {}bpw",
                       kDefaultBudgetBits))
      .SeparatedByCommas();
  verb.Add("--plan", options->plan, "Plan file for mixed and uniform, from `metal-marlin plan`; replaces --budget");
  verb.Add("--plan-windows", options->plan_windows,
           fmt::format("Windows of calibration text used to measure a plan; {} times as many confirm it",
                       kHeldOutPerWindow))
      .Between(kLeastCalibrationWindows, std::size_t{1} << 20);
  verb.Add("--method", options->methods,
           fmt::format(
               "Quantization methods, separated by commas or repeated: {} (gptq-cd with --calibration, else rtn), {}",
               kAutoMethod, RecipeNames()))
      .SeparatedByCommas()
      .Names();
  verb.Add("--import", options->imports,
           "GGUF file, or ORG/MODEL:FILE in the cache, that another program made from the same model; evaluated on the "
           "same windows, not timed, its "
           "size counts the bytes in the file; may be repeated");
  verb.Add("--name", options->names,
           "Name of an imported file in the report, in the order of --import; default: the file's name");
  AddCalibrationsOptions(verb, "--calibration", options->calibrations, options->calibration);
  AddTextOptions(verb, options->text);
  verb.Add("-s,--samples", options->samples, "Number of windows to evaluate, from the start of the text; 0 = all")
      .Between(0, 1 << 30);
  verb.Add("--ctx", options->ctx, "Tokens per window").Between(4, 131072);
  verb.Add("-r,--results", options->results, "Folder for the records");
  verb.Add("--work", options->work,
           "Folder for half-finished rows and quantized models; default: .work in the results");
  verb.AddFlag("--quick-timing", options->quick_timing,
               "Short timing: 2 warm-up and 8 measured iterations (decode: 10 and 60) instead of 15 and 100; every "
               "table names it");
  const Option no_timing = verb.AddFlag("--no-timing", options->no_timing, "Measure quality and size only");
  verb.AddFlag("--no-kernels", options->no_kernels, "Do not time single kernels");
  verb.AddFlag("--keep-models", options->keep_models, "Keep the quantized models in the work folder");
  const Option dry_run = verb.AddFlag("--dry-run", options->dry_run,
                                      "Print the planned work with estimates of time, disk and memory; do nothing");
  const Option list = verb.AddFlag("--list-jobs", options->list_jobs,
                                   "Print the jobs of this comparison, or of a --shard, their state and what they "
                                   "need; do nothing");
  const Option job = verb.Add("--job", options->job, "Run one job, by its id in --list-jobs; its needs must be done")
                         .Excludes(dry_run)
                         .Excludes(list);
  const Option shard =
      verb.Add(
              "--shard", options->shard,
              "Run one of n shares of the jobs, such as 2/4, balanced by the estimates; other processes run the others")
          .Excludes(job);
  verb.Add("--emit", options->emit,
           "Print a script that runs the jobs instead: slurm (submits arrays with sbatch) or make (GNU make)")
      .OneOf(EmitterNames())
      .Excludes(job)
      .Excludes(shard);
  verb.Add("--claim-expiry", options->claim_expiry,
           "Seconds without a sign of life after which another machine may take over what this process holds")
      .Between(5, 1 << 20);
  AddAcceptUnknown(verb, options->accept_unknown);
  AddBackendOptions(verb, options->backend);
  AddDeviceOption(verb, "--timing-device", options->timing_device,
                  "Device whose speeds are measured, where it is not the one that measures quality: --device cuda "
                  "--timing-device cpu measures quality in minutes and speeds where the model will run")
      .Excludes(no_timing);
  verb.Runs([options](Invocation& invocation) { return RunComparisonVerb(*options, invocation); });
}

}  // namespace marlin
