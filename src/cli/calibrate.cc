// calibrate: writes statistics of the inputs of every linear layer on a calibration text. An interrupted run continues
// where it stopped. Files of the same model can be merged.

#include "quantize/calibrate.h"

#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/open_file.h"
#include "cli/calibration.h"
#include "cli/model_names.h"
#include "cli/model_options.h"
#include "cli/verb.h"
#include "files/checkpoint.h"
#include "study/machine.h"
#include "text/tokenizer.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

struct CalibrateArguments {
  std::string model;
  std::string output;
  std::vector<std::string> merge;
  std::vector<std::string> accept_unknown;
  bool gram = false;
  bool overwrite = false;
  CalibrationOptions calibration;
  BackendOptions backend;
};

// A text, cut for a model.
struct CalibrateJob {
  Checkpoint checkpoint;
  Description description;
  TokenStream stream;
  StatisticsSource source;
};

Result<CalibrateJob> Prepare(const CalibrateArguments& options, const EvalText& text, Console& console) {
  auto opened = OpenModelOf(options.model, options.accept_unknown, console);
  if (!opened) return opened.error();
  const auto tokenizer = Tokenizer::FromCheckpoint(opened->checkpoint);
  if (!tokenizer) return tokenizer.error();
  auto windows = CutCalibration(*tokenizer, text, options.calibration.ctx, options.calibration.windows);
  if (!windows) return windows.error();
  auto hash = HashCheckpoint(opened->checkpoint);
  if (!hash) return hash.error();
  const StatisticsSource source = {
      *hash, tokenizer->sha256(), text.name, text.sha256, options.calibration.ctx, windows->begins.size(), 0};
  return CalibrateJob{std::move(opened->checkpoint), std::move(opened->description), std::move(windows->stream),
                      source};
}

Status CheckMemory(const CalibrateJob& job, bool gram, Console& console) {
  const std::uint64_t statistics = StatisticsBytes(job.description, gram);
  const std::uint64_t weights = 2 * CountParameters(job.description);
  const std::uint64_t need = statistics + weights + SessionBytes(job.description, job.source.ctx, job.source.ctx);
  const std::uint64_t have = AvailableMemoryBytes();
  console.Say(fmt::format("memory: about {} ({} of weights, {} of statistics); {} are available",
                          FormatBytes(static_cast<double>(need)), FormatBytes(static_cast<double>(weights)),
                          FormatBytes(static_cast<double>(statistics)), FormatBytes(static_cast<double>(have))));
  if (need <= have) return {};
  return Error{
      ErrorCode::kResource,
      fmt::format("calibrating needs about {} of memory, {} are available{}", FormatBytes(static_cast<double>(need)),
                  FormatBytes(static_cast<double>(have)), gram ? "; leave out --full-gram to need less" : "")};
}

bool SameRun(const ModelStatistics& found, const StatisticsSource& wanted, bool gram) {
  const StatisticsSource& source = found.source;
  return source.model_sha256 == wanted.model_sha256 && source.tokenizer_sha256 == wanted.tokenizer_sha256 &&
         source.text_sha256 == wanted.text_sha256 && source.ctx == wanted.ctx && source.windows == wanted.windows &&
         (source.seen == 0 || found.has_gram() == gram);
}

// The state of an interrupted run of the same work, or an empty state. Errors: kInput (another arithmetic gathered it).
Result<ModelStatistics> StartFrom(const fs::path& partial, const CalibrateJob& job, const std::string& arithmetic,
                                  bool gram, Console& console) {
  if (std::error_code code; fs::exists(partial, code)) {
    auto found = ReadStatistics(partial);
    if (found && SameRun(*found, job.source, gram)) {
      if (found->source.arithmetic != arithmetic) {
        return Error{ErrorCode::kInput,
                     fmt::format("{} was gathered with the arithmetic \"{}\", this run has \"{}\"; continue on such a "
                                 "machine or with its --isa, or delete the file",
                                 partial.string(), found->source.arithmetic, arithmetic)};
      }
      console.Say(fmt::format("continuing after window {} of {}", found->source.seen, found->source.windows));
      return std::move(*found);
    }
  }
  StatisticsSource source = job.source;
  source.arithmetic = arithmetic;
  return EmptyStatistics(job.description, std::move(source));
}

Result<ModelStatistics> Collect(const CalibrateArguments& options, const CalibrateJob& job, Invocation& invocation) {
  constexpr std::chrono::seconds kSaveEvery{30};
  auto backend = MakeBackend(options.backend, invocation.common.threads);
  if (!backend) return backend.error();
  const auto model = LoadModel(job.checkpoint, **backend, Precision::kSixteenBit, invocation.console.progress());
  if (!model) return model.error();
  const fs::path partial = options.output + ".part";
  auto start = StartFrom(partial, job, (*backend)->arithmetic(), options.gram, invocation.console);
  if (!start) return start.error();
  const ProgressFn progress = invocation.console.progress();
  auto saved = std::chrono::steady_clock::now();
  const auto after_window = [&](ModelGatherer& so_far) -> Status {
    const StatisticsSource& source = so_far.source();
    if (progress) progress({"calibrate on " + source.text_name, source.seen, source.windows, "windows", ""});
    const auto now = std::chrono::steady_clock::now();
    if (now - saved < kSaveEvery && !Interrupted()) return {};
    saved = now;
    return so_far.Write(partial);
  };
  auto statistics = CollectStatistics(*model, job.stream, options.gram, std::move(*start), after_window);
  if (!statistics && statistics.error().code == ErrorCode::kInterrupted) {
    return Error{ErrorCode::kInterrupted,
                 fmt::format("interrupted; the same command continues where it stopped, from {}", partial.string())};
  }
  if (!statistics) return Error{statistics.error().code, options.model + ": " + statistics.error().message};
  return statistics;
}

nlohmann::json Describe(const CalibrateArguments& options, const ModelStatistics& statistics,
                        const std::vector<std::string>& silent) {
  const StatisticsSource& source = statistics.source;
  return {{"file", options.output},
          {"model_sha256", source.model_sha256},
          {"tokenizer_sha256", source.tokenizer_sha256},
          {"text", {{"name", source.text_name}, {"sha256", source.text_sha256}}},
          {"ctx", source.ctx},
          {"windows", source.seen},
          {"tokens", statistics.blocks.empty() ? 0 : statistics.blocks[0][0].tokens},
          {"layers", statistics.blocks.size()},
          {"gram", statistics.has_gram()},
          {"silent_channels", silent}};
}

Status Save(const CalibrateArguments& options, const ModelStatistics& statistics, nlohmann::json extra,
            Console& console) {
  if (auto status = WriteStatistics(statistics, options.output); !status) return status;
  std::error_code ignored;
  fs::remove(options.output + ".part", ignored);
  const auto silent = DescribeSilentChannels(statistics);
  nlohmann::json document = Describe(options, statistics, silent);
  document.update(extra);
  console.Result(fmt::format("{}: {} layers, {} of {} tokens of {}{}", options.output, statistics.blocks.size(),
                             CountText(statistics.source.seen, "window"), statistics.source.ctx,
                             statistics.source.text_name, statistics.has_gram() ? ", with X^T X" : ""));
  for (const std::string& line : silent) console.Warn("never active on this text: " + line);
  console.Data(document);
  return {};
}

Status RunMerge(const CalibrateArguments& options, Console& console) {
  if (!options.model.empty() || options.merge.size() < 2) {
    return Error{ErrorCode::kUsage, "--merge takes two or more files of statistics and no model"};
  }
  auto merged = ReadStatistics(options.merge[0]);
  if (!merged) return merged.error();
  for (std::size_t i = 1; i < options.merge.size(); ++i) {
    const auto next = ReadStatistics(options.merge[i]);
    if (!next) return next.error();
    if (auto status = Merge(*merged, *next); !status) {
      return Error{status.error().code, options.merge[i] + ": " + status.error().message};
    }
  }
  return Save(options, *merged, nlohmann::json::object(), console);
}

Status RunCalibrate(const CalibrateArguments& options, Invocation& invocation) {
  Console& console = invocation.console;
  if (auto status = CheckOutputFile(options.output); !status) return status;
  if (IsListed(options.output) && !options.overwrite) {
    return Error{ErrorCode::kInput, fmt::format("{} already exists; --overwrite replaces it", options.output)};
  }
  if (!options.merge.empty()) return RunMerge(options, console);
  if (options.model.empty() || options.calibration.data.empty()) {
    return Error{ErrorCode::kUsage,
                 "name a model and its calibration text: metal-marlin calibrate MODEL --data TEXT -o FILE"};
  }
  const auto input = FindCalibration(options.calibration, console);
  if (!input) return input.error();
  const auto job = Prepare(options, input->text, console);
  if (!job) return job.error();
  WarnOfFewWindows(options.calibration, input->text.name, job->source.windows, console);
  if (auto status = CheckMemory(*job, options.gram, console); !status) return status;
  const auto statistics = Collect(options, *job, invocation);
  if (!statistics) return statistics.error();
  return Save(options, *statistics, {{"overlap", {{"share", input->overlap}, {"with", input->overlap_with}}}}, console);
}

}  // namespace

void RegisterCalibrate(Verb parent) {
  auto options = std::make_shared<CalibrateArguments>();
  Verb verb =
      parent.AddVerb("calibrate", "Collect statistics of the inputs of every linear layer on a calibration text",
                     "metal-marlin calibrate ./SmolLM2-135M --data wikitext2 -o SmolLM2-135M.stats");
  verb.Add("model", options->model, kModelWords);
  AddCalibrationOptions(verb, "--data", options->calibration);
  verb.AddFlag("--offline", options->calibration.offline, "Never touch the network");
  verb.Add("-o,--output", options->output, "File to write").Required().NamesFile();
  verb.Add("--merge", options->merge, "Files of statistics of one model to merge, instead of running the model");
  verb.AddFlag("--full-gram", options->gram, "Also collect X^T X of every input, which gptq uses");
  verb.AddFlag("--overwrite", options->overwrite, "Replace an existing file");
  AddAcceptUnknown(verb, options->accept_unknown);
  AddExactBackendOptions(verb, options->backend);
  verb.Runs([options](Invocation& invocation) { return RunCalibrate(*options, invocation); });
}

}  // namespace marlin
