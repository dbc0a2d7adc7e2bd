// recommend: which configuration of a model to use under limits of memory, loss and speed, from records or, without
// them, from an estimate.

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>

#include "base/did_you_mean.h"
#include "base/open_file.h"
#include "cli/budget.h"
#include "cli/command_text.h"
#include "cli/model_names.h"
#include "cli/model_options.h"
#include "cli/report.h"
#include "cli/verb.h"
#include "files/checkpoint.h"
#include "formats/formats.h"
#include "formats/runtimes.h"
#include "hub/hub_name.h"
#include "model/model.h"
#include "records/store.h"
#include "report/recommend_text.h"
#include "report/row_programs.h"
#include "report/table.h"
#include "study/estimate_rows.h"
#include "study/machine.h"
#include "study/make_command.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

struct RecommendArguments {
  std::string source = kDefaultResults;
  std::string results = kDefaultResults;
  bool source_given = false;
  bool results_given = false;
  std::string model;  // of a folder of records
  std::string memory;
  std::size_t context = 0;  // 0 = not given
  std::optional<double> max_kl;
  std::string max_delta;
  std::optional<double> min_tok_s;
  std::vector<std::string> accept_unknown;
};

// "1%", "1", "0.5 %". Errors: kUsage.
Result<double> ParsePercent(const std::string& given) {
  std::string text = given;
  std::erase(text, ' ');
  if (text.ends_with('%')) text.pop_back();
  double percent = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), percent);
  if (code == std::errc() && end == text.data() + text.size() && std::isfinite(percent) && percent >= 0) return percent;
  return Error{ErrorCode::kUsage,
               fmt::format("--max-ppl-delta: \"{}\" is not a percentage of at least 0; want 1% or 1", given)};
}

Result<RecommendLimits> LimitsOf(const RecommendArguments& options) {
  RecommendLimits limits;
  if (!options.memory.empty()) {
    const auto bytes = ParseBytes(options.memory, "--memory");
    if (!bytes) return bytes.error();
    limits.memory_bytes = *bytes;
  }
  if (!options.max_delta.empty()) {
    const auto percent = ParsePercent(options.max_delta);
    if (!percent) return percent.error();
    limits.max_delta_percent = *percent;
  }
  if (options.context != 0) limits.context = options.context;
  limits.max_kl = options.max_kl;
  limits.min_decode_tok_s = options.min_tok_s;
  return limits;
}

// A folder without config.json holds records; every other word names a model.
bool IsRecordsFolder(const std::string& word) {
  std::error_code code;
  return fs::is_directory(word, code) && !fs::exists(fs::path(word) / "config.json", code);
}

// The options of this command that a command line repeats.
std::string LimitWords(const RecommendArguments& options) {
  std::string text;
  if (!options.memory.empty()) text += " --memory " + QuoteForShell(options.memory);
  if (options.context != 0) text += fmt::format(" --context {}", options.context);
  if (options.max_kl) text += fmt::format(" --max-kl {}", *options.max_kl);
  if (!options.max_delta.empty()) text += " --max-ppl-delta " + QuoteForShell(options.max_delta);
  if (options.min_tok_s) text += fmt::format(" --min-tps {}", *options.min_tok_s);
  return text;
}

// Whether bf16, the type of most models, does not hold every scale of the format and zero point x scale. f16 does.
bool NeedsHalfScales(const BytesOfFormat& part) {
  constexpr float kElevenBits = 1 + 0x1p-10F;
  const FormatRow& format = *FindFormat(part.format);
  return format.info.scale_type == ScaleType::kFp16 &&
         (format.info.zero_point_bits > 0 || format.round_scale(kElevenBits, {}) == kElevenBits);
}

// The commands that write the folder of a row as files of these runtimes, which know all formats.
std::vector<std::string> ExportCommands(const Runtimes& runtimes, const std::vector<BytesOfFormat>& parts,
                                        const std::string& folder, const std::vector<std::string>& accept_unknown) {
  const bool half = std::ranges::any_of(parts, NeedsHalfScales);
  std::vector<std::string> commands;
  const std::string name = folder.starts_with("./") ? folder.substr(2) : folder;
  for (const auto& [runtime, bits] : runtimes) {
    std::vector<std::string> words = {"export", folder, "--to", std::string(runtime->container)};
    if (runtime->typed_scales && half) words.insert(words.end(), {"--type", "f16"});
    for (const std::string& word : AcceptWords(accept_unknown)) words.push_back(word);
    words.insert(words.end(), {"-o", name + std::string(runtime->ending)});
    commands.push_back(CommandText(words));
  }
  return commands;
}

RowFiles FilesOf(const Recommendation& answer, std::optional<std::size_t> place, const std::string& model) {
  if (!place) return {};
  const ResultRow& row = *answer.rows[*place].row;
  RowFiles files{RuntimesOf(*answer.group, row), {}};
  const std::string folder = CommandsThatMake(row.record(), model).folder;
  if (!files.runtimes || folder.empty()) return files;
  files.exports = ExportCommands(*files.runtimes, QuantizedParts(row.record()), folder,
                                 row.record().model.accepted_unknown.value_or(std::vector<std::string>()));
  return files;
}

// For rows that were measured.
void AddCommands(const std::string& model, Advice& advice) {
  const Recommendation& answer = advice.answer;
  advice.recommended = FilesOf(answer, answer.recommended, model);
  advice.runner_up = FilesOf(answer, answer.runner_up, model);
  if (!answer.recommended) return;
  const MakeCommands made = CommandsThatMake(answer.rows[*answer.recommended].row->record(), model);
  for (const auto& line : made.lines) advice.commands.push_back(CommandText(line));
  advice.notes = made.notes;
}

void Print(const std::vector<Advice>& all, const RecommendLimits& limits, Console& console) {
  nlohmann::json models = nlohmann::json::array();
  std::string text;
  for (const Advice& advice : all) {
    text += (text.empty() ? "" : "\n") + RecommendText(advice, limits);
    models.push_back(nlohmann::json(RecommendJson(advice, limits)));
  }
  if (text.ends_with('\n')) text.pop_back();
  console.Result(text);
  console.Data({{"models", std::move(models)}});
}

// The first model without a recommendation decides.
Status VerdictOf(const std::vector<Advice>& all) {
  for (const Advice& advice : all) {
    if (auto status = VerdictOf(advice); !status) return status;
  }
  return {};
}

Result<LoadedRecords> Load(const std::string& folder, Console& console) {
  auto loaded = LoadRecords(folder);
  if (!loaded) return loaded;
  for (const std::string& warning : loaded->warnings) console.Warn(OneLine(warning));
  return loaded;
}

// Errors: kUsage (a name that no model has).
Result<std::vector<const ModelResults*>> ChooseModels(const Analysis& analysis, const std::string& wanted) {
  std::vector<const ModelResults*> chosen;
  std::vector<std::string> names;
  for (const ModelResults& model : analysis.models) {
    if (wanted.empty() || model.name == wanted || model.model().name == wanted) chosen.push_back(&model);
    names.push_back(OneLine(model.name));
  }
  if (!chosen.empty()) return chosen;
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
  return Error{ErrorCode::kUsage, fmt::format("--model: no records are of {}{} The records are of: {}", OneLine(wanted),
                                              DidYouMean(wanted, names), list)};
}

Status RecommendFromRecords(const RecommendArguments& options, const RecommendLimits& limits, Console& console) {
  const auto loaded = Load(options.source, console);
  if (!loaded) return loaded.error();
  if (loaded->records.empty()) {
    return Error{ErrorCode::kInput, fmt::format("{} holds no records, and no config.json of a model; name a model, or "
                                                "a folder that `metal-marlin bench comparison` wrote to",
                                                options.source)};
  }
  const Analysis analysis = Analyze(loaded->records);
  const auto models = ChooseModels(analysis, options.model);
  if (!models) return models.error();
  std::vector<Advice> all;
  for (const ModelResults* model : *models) {
    auto answer = Recommend(*model, limits, std::nullopt);
    if (!answer) {
      return Error{answer.error().code, answer.error().message + (models->size() > 1 ? ", or choose a --model" : "")};
    }
    Advice advice{std::move(*answer), {}, {}, {}, {}};
    // Names in the cache can be typed as they are; of a file the records know no path.
    const std::string& name = model->model().name;
    const bool typed = ParseHubName(name).ok();
    AddCommands(typed ? name : "MODEL", advice);
    if (!typed && !advice.commands.empty()) {
      advice.notes.insert(advice.notes.begin(), "MODEL is the file or folder of " + name);
    }
    advice.next =
        fmt::format("metal-marlin recommend {} --results {}{}", typed ? QuoteForShell(OneLine(name)) : "MODEL",
                    QuoteForShell(options.source), LimitWords(options));
    all.push_back(std::move(advice));
  }
  Print(all, limits, console);
  return VerdictOf(all);
}

// Records of the model with this hash, whatever name they give it: under one name.
std::vector<StoredRecord> RecordsOf(std::vector<StoredRecord> records, const std::string& sha256,
                                    const std::string& name) {
  std::erase_if(records, [&](const StoredRecord& stored) { return stored.record.model.sha256 != sha256; });
  for (StoredRecord& stored : records) stored.record.model.name = name;
  return records;
}

// What this machine keeps where activations are rounded as they are by default.
record::Session SessionOfModel(const Description& description) {
  BackendOptions usual;
  usual.activations = kUsedActivations;
  const PositionBytes bytes = BytesOfPosition(description, RoundingOf(usual) != kExactActivations);
  return {description.max_context, bytes.cache, bytes.work};
}

Status CheckMemoryToEstimate(const Description& description, const std::string& measure) {
  const std::uint64_t need = EstimateBytes(description);
  const std::uint64_t have = AvailableMemoryBytes();
  if (have == 0 || need <= have) return {};
  return Error{ErrorCode::kResource,
               fmt::format("there are no records of this model, and an estimate needs about {} of memory, {} are "
                           "available; measure it on a larger machine: {}",
                           FormatBytes(static_cast<double>(need)), FormatBytes(static_cast<double>(have)), measure)};
}

// Of a row that has this format in all blocks.
RowFiles FilesOfEstimate(const Description& description, const JudgedRow& row, const RecommendArguments& options) {
  const FormatRow* const format = FindFormat(row.config);
  if (row.baseline || format == nullptr) return {};
  Runtimes runtimes;
  for (const Runtime& runtime : kRuntimes) {
    const HeldFormat* const held = FindHeld(runtime, format->info);
    const bool runs = held != nullptr && std::ranges::all_of(description.blocks, [&](const Block& block) {
                        return std::ranges::all_of(block.matrices, [&](const Matrix& matrix) {
                          return RunsRows(runtime, FormatForRows(*format, matrix.cols).info, matrix.cols);
                        });
                      });
    if (runs) runtimes.push_back({&runtime, held->bits});
  }
  std::vector<std::string> exports =
      ExportCommands(runtimes, {{row.config, 0}}, "./" + row.config, options.accept_unknown);
  return {std::move(runtimes), std::move(exports)};
}

Status RecommendByEstimate(const RecommendArguments& options, const RecommendLimits& limits, const OpenedModel& opened,
                           Invocation& invocation) {
  Console& console = invocation.console;
  std::string measure = "metal-marlin bench comparison --model " + QuoteForShell(options.source);
  for (const std::string& word : AcceptWords(options.accept_unknown)) measure += " " + QuoteForShell(word);
  measure += " -r " + QuoteForShell(options.results);
  if (limits.max_delta_percent || limits.min_decode_tok_s) {
    return Error{ErrorCode::kInput,
                 fmt::format("{} holds no records of {}, and an estimate knows neither {}; measure it first: {}",
                             options.results, options.source,
                             limits.min_decode_tok_s ? "a speed (--min-tps) nor a perplexity"
                                                     : "a perplexity (--max-ppl-delta) nor a speed",
                             measure)};
  }
  if (auto status = CheckMemoryToEstimate(opened.description, measure); !status) return status;
  BackendOptions exact;
  auto backend = MakeBackend(exact, invocation.common.threads);
  if (!backend) return backend.error();
  console.Say(fmt::format("{} holds no records of this model; estimating ...", options.results));
  const auto estimates = EstimateRows(opened, BuiltInSample(), **backend, console.progress());
  console.EndProgress();
  if (!estimates) return estimates.error();
  auto answer = RecommendEstimated(opened.checkpoint.name, estimates->rows, limits, SessionOfModel(opened.description));
  if (!answer) return answer.error();
  Advice advice{std::move(*answer), {}, {}, {}, measure};
  advice.basis = fmt::format(
      "No records of this model in {}: KL is the sum of what each of {} units loses alone, rounded to "
      "nearest, on {} of {} tokens of the {}. Sizes are exact.",
      options.results, estimates->units, CountText(estimates->windows, "window"), estimates->ctx, estimates->text_name);
  if (const auto place = advice.answer.runner_up) {
    advice.runner_up = FilesOfEstimate(opened.description, advice.answer.rows[*place], options);
  }
  if (const auto place = advice.answer.recommended) {
    const JudgedRow& row = advice.answer.rows[*place];
    advice.recommended = FilesOfEstimate(opened.description, row, options);
    if (row.baseline) {
      advice.notes.emplace_back("nothing to make: it is the model itself, run in 16 bits");
    } else {
      std::vector<std::string> words = {"quantize", options.source, "--config", row.config};
      for (const std::string& word : AcceptWords(options.accept_unknown)) words.push_back(word);
      words.insert(words.end(), {"-o", "./" + row.config});
      advice.commands.push_back(CommandText(words));
      advice.notes.emplace_back("with --calibration TEXT it loses less than estimated here");
    }
  }
  const std::vector<Advice> all = {std::move(advice)};
  Print(all, limits, console);
  return VerdictOf(all);
}

// A missing default folder holds no records; one that was named must be there.
Result<LoadedRecords> LoadForModel(const RecommendArguments& options, Console& console) {
  std::error_code code;
  if (!options.results_given && !fs::exists(options.results, code)) return LoadedRecords{};
  return Load(options.results, console);
}

Status RecommendModel(const RecommendArguments& options, const RecommendLimits& limits, Invocation& invocation) {
  Console& console = invocation.console;
  if (!options.model.empty()) {
    return Error{ErrorCode::kUsage,
                 "--model chooses among the models of a folder of records; a model was named already"};
  }
  const auto opened = OpenModelOf(options.source, options.accept_unknown, console);
  if (!opened) return opened.error();
  if (opened->checkpoint.config.contains("quantization_config")) {
    return Error{ErrorCode::kInput, fmt::format("{} is already quantized; name its 16-bit original", options.source)};
  }
  const std::uint64_t most = opened->description.max_context;
  if (limits.context && *limits.context > most) {
    return Error{ErrorCode::kUsage,
                 fmt::format("--context {}: {} was trained for {} tokens", *limits.context, options.source, most)};
  }
  const auto loaded = LoadForModel(options, console);
  if (!loaded) return loaded.error();
  const auto sha256 = HashCheckpoint(opened->checkpoint);
  if (!sha256) return sha256.error();
  const std::string& name = opened->checkpoint.name;
  const auto records = RecordsOf(loaded->records, *sha256, name);
  if (records.empty()) {
    const auto same_name = [&](const StoredRecord& stored) { return stored.record.model.name == name; };
    if (std::ranges::any_of(loaded->records, same_name)) {
      console.Warn(
          fmt::format("the records of {} in {} are of another file (their hash differs)", name, options.results));
    }
    return RecommendByEstimate(options, limits, *opened, invocation);
  }
  const Analysis analysis = Analyze(records);
  auto answer = Recommend(analysis.models.front(), limits, SessionOfModel(opened->description));
  if (!answer) return answer.error();
  std::vector<Advice> all = {Advice{std::move(*answer), {}, {}, {}, {}}};
  AddCommands(options.source, all[0]);
  Print(all, limits, console);
  return VerdictOf(all);
}

Status RunRecommend(const RecommendArguments& options, Invocation& invocation) {
  const auto limits = LimitsOf(options);
  if (!limits) return limits.error();
  if (options.source_given && !IsRecordsFolder(options.source)) return RecommendModel(options, *limits, invocation);
  if (options.results_given) {
    return Error{ErrorCode::kUsage,
                 fmt::format("--results is for a model, and {} is a folder of records itself", options.source)};
  }
  return RecommendFromRecords(options, *limits, invocation.console);
}

}  // namespace

void RegisterRecommend(Verb parent) {
  auto options = std::make_shared<RecommendArguments>();
  Verb verb = parent.AddVerb("recommend", "Say which configuration fits, what it costs, and how to make it",
                             "metal-marlin recommend ./SmolLM2-135M --memory 12GB --context 2048 --max-ppl-delta 1%");
  const Option source =
      verb.Add("model", options->source, fmt::format("Model ({}), or a folder of records", kModelWords));
  const Option results = verb.Add("-r,--results", options->results, "Folder of the records of a model");
  verb.Add("--model", options->model, "Of a folder with records of several models, the one to answer for");
  verb.Add("--memory", options->memory,
           "Largest memory: tensors, keys and values of the context, work space; such as 900MB, 12GB or 1.5GiB");
  verb.Add(
          "--context", options->context,
          fmt::format("Tokens of the sequence that the memory is for; default {}, or what was measured where only that "
                      "is known",
                      kUsualContext))
      .Between(1, 1e9);
  verb.Add("--max-kl", options->max_kl, "Largest mean KL from the 16-bit model, in nats per token").NotNegative();
  verb.Add("--max-ppl-delta", options->max_delta, "Largest increase of the perplexity, such as 1%");
  verb.Add("--min-tps", options->min_tok_s, "Least speed of decoding, in tokens per second").NotNegative();
  AddAcceptUnknown(verb, options->accept_unknown);
  verb.AddFooter(
      "\nThe row with the least loss that satisfies all limits; of rows that cannot be told apart the smallest, then "
      "the "
      "fastest.\nWithout --memory and --min-tps only rows at least 3 times smaller count, as on the page.\nWithout "
      "records of the model: an estimate, which says so.\nExit code 6: no row satisfies the limits. Exit code 3: too "
      "little was measured to know.");
  verb.Runs([options, source, results](Invocation& invocation) {
    options->source_given = source.IsGiven();
    options->results_given = results.IsGiven();
    return RunRecommend(*options, invocation);
  });
}

}  // namespace marlin
