// quantize: quantizes a model into a folder and prints its sizes.

#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <system_error>

#include "base/file.h"
#include "base/open_file.h"
#include "cli/budget.h"
#include "cli/calibration.h"
#include "cli/compare_export.h"
#include "cli/configs.h"
#include "cli/export_model.h"
#include "cli/model_names.h"
#include "cli/model_options.h"
#include "cli/program_info.h"
#include "cli/verb.h"
#include "files/checkpoint.h"
#include "files/quantized_layout.h"
#include "formats/formats.h"
#include "quantize/calibrate.h"
#include "quantize/quantize_model.h"
#include "study/machine.h"
#include "text/tokenizer.h"

namespace marlin {
namespace {

constexpr const char* kDefaultConfig = "fp4-g128";

struct QuantizeArguments {
  std::string model;
  std::string config;
  std::string plan;
  std::string output;
  std::string stats;
  bool rotate = false;
  bool seed_given = false;
  bool compat = false;
  std::string to;  // empty: a folder of this program
  std::vector<std::string> accept_unknown;
  CalibrationOptions calibration;
  BackendOptions backend;
  QuantizeOptions quantize;

  // The folder that quantize makes; with --to it is removed in the end.
  std::string folder() const { return to.empty() ? output : output + ".quantized"; }
};

// Inputs of a calibrated method; the options of quantize point into it.
struct Calibration {
  std::optional<ModelStatistics> statistics;
  std::optional<CalibrationWindows> windows;
  std::unique_ptr<Backend> backend;
};

Status CheckMemory(const Description& description, const CalibrationWindows& windows, const Recipe& recipe,
                   Console& console) {
  const std::uint64_t need = QuantizingBytes(description, windows.begins.size(), windows.ctx, recipe.needs);
  const std::uint64_t have = AvailableMemoryBytes();
  console.Say(fmt::format("memory: about {} beside the files; {} are available", FormatBytes(static_cast<double>(need)),
                          FormatBytes(static_cast<double>(have))));
  if (need <= have) return {};
  return Error{ErrorCode::kResource,
               fmt::format("calibrating needs about {} of memory, {} are available; use fewer --calibration-windows",
                           FormatBytes(static_cast<double>(need)), FormatBytes(static_cast<double>(have)))};
}

Status PrepareWalk(const QuantizeArguments& options, const Description& description, const Tokenizer& tokenizer,
                   const Recipe& recipe, Invocation& invocation, Calibration& out) {
  const auto input = FindCalibration(options.calibration, invocation.console);
  if (!input) return input.error();
  auto windows = CutCalibration(tokenizer, input->text, options.calibration.ctx, options.calibration.windows);
  if (!windows) return windows.error();
  WarnOfFewWindows(options.calibration, input->text.name, windows->begins.size(), invocation.console);
  out.windows = std::move(*windows);
  return CheckMemory(description, *out.windows, recipe, invocation.console);
}

// The hash of the model, computed once.
Result<std::string> SourceHash(const Checkpoint& checkpoint, QuantizeOptions& quantize) {
  if (quantize.source_sha256.empty()) {
    if (auto status = HashCheckpoint(checkpoint).MoveTo(quantize.source_sha256); !status) return status.error();
  }
  return quantize.source_sha256;
}

Status CheckStatistics(const QuantizeArguments& options, const OpenedModel& opened, const Tokenizer& tokenizer,
                       const ModelStatistics& statistics, QuantizeOptions& quantize) {
  const auto hash = SourceHash(opened.checkpoint, quantize);
  if (!hash) return hash.error();
  const auto status = CheckBelongs(statistics, opened.description, *hash, tokenizer.sha256());
  return status.ok() ? status : Error{status.error().code, options.stats + ": " + status.error().message};
}

// The statistics of activations that the method will have.
Result<MethodNeeds> FindKnown(const QuantizeArguments& options, Calibration& out) {
  const bool walk = !options.calibration.data.empty();
  if (options.stats.empty()) return walk ? MethodNeeds::kGram : MethodNeeds::kNothing;
  if (walk) {
    return Error{ErrorCode::kUsage,
                 "--calibration and --stats exclude each other: both give the statistics of the activations"};
  }
  auto statistics = ReadStatistics(options.stats);
  if (!statistics) return statistics.error();
  out.statistics = std::move(*statistics);
  return out.statistics->has_gram() ? MethodNeeds::kGram : MethodNeeds::kImportance;
}

Status Prepare(const QuantizeArguments& options, const OpenedModel& opened, Invocation& invocation,
               QuantizeOptions& quantize, Calibration& out) {
  const auto known = FindKnown(options, out);
  if (!known) return known.error();
  if (quantize.method == kAutoMethod) quantize.method = ChooseMethod(*known);
  const std::string rotated = fmt::format("{}+", kRotate);
  if (options.rotate && !quantize.method.starts_with(rotated)) quantize.method = rotated + quantize.method;
  const auto recipe = ParseRecipe(quantize.method);
  if (!recipe) return recipe.error();
  quantize.method = recipe->name;
  if (options.seed_given && !recipe->rotate) {
    return Error{ErrorCode::kUsage, fmt::format("--rotation-seed is for a rotation, and {} has none; add --rotate, or "
                                                "leave the seed out",
                                                recipe->name)};
  }
  if (auto status = MakeBackend(options.backend, invocation.common.threads).MoveTo(out.backend); !status) return status;
  quantize.backend = out.backend.get();
  if (*known == MethodNeeds::kNothing) return {};
  if (auto status = CheckMethodUsesText(quantize.method); !status) return status;
  const auto tokenizer = Tokenizer::FromCheckpoint(opened.checkpoint);
  if (!tokenizer) return tokenizer.error();
  const auto status = out.statistics ? CheckStatistics(options, opened, *tokenizer, *out.statistics, quantize)
                                     : PrepareWalk(options, opened.description, *tokenizer, *recipe, invocation, out);
  if (!status) return status;
  quantize.statistics = out.statistics ? &*out.statistics : nullptr;
  quantize.calibration = out.windows ? &*out.windows : nullptr;
  return {};
}

void Print(const QuantizeArguments& options, const std::string& method, const QuantizeSummary& summary,
           Console& console) {
  const StoredSizes& sizes = summary.sizes;
  const auto model_bytes = static_cast<double>(sizes.model_bytes);
  console.Result(
      fmt::format("{}: {} of tensors ({}, {})", options.output, FormatBytes(model_bytes), options.config, method));
  console.Result(fmt::format("  compression      {:.3f} (16-bit original {} / the tensors as quantized)",
                             static_cast<double>(summary.fp16_bytes) / model_bytes,
                             FormatBytes(static_cast<double>(summary.fp16_bytes))));
  console.Result(fmt::format("  quantized part   {} of {} weights, {:.4f} bits per weight",
                             FormatBytes(static_cast<double>(sizes.quantized_bytes)), sizes.quantized_parameters,
                             sizes.bits_per_weight()));
  console.Result(fmt::format("  written, read back, every hash checked: {} files, {}", summary.verified.files,
                             FormatBytes(static_cast<double>(summary.verified.bytes))));
  if (options.quantize.method == kAutoMethod && method == ChooseMethod(MethodNeeds::kNothing)) {
    console.Result(
        fmt::format("  method           {}, as no text was given; `--calibration wikitext2` chooses {}, which "
                    "is slower and loses less",
                    method, ChooseMethod(MethodNeeds::kGram)));
  }
  if (!summary.rotated.empty()) console.Result(fmt::format("  rotated          {}", summary.rotated));
  for (const auto& [names, count] : summary.fallbacks) {
    console.Result(
        fmt::format("  fallback         {} tensors are {}: their rows are no multiple of {} weights, a block of {}",
                    count, names.second, FindFormat(names.first)->info.block, names.first));
  }
  if (!summary.kept.empty()) {
    console.Result(fmt::format("  kept in 16 bits  {} tensors with rows that {} does not divide ({})",
                               summary.kept.size(), options.to.empty() ? "the group" : "the block or group",
                               options.to.empty() ? "--compat" : "--to " + options.to));
  }
}

nlohmann::json ToJson(const std::vector<ClippedTensor>& tensors) {
  nlohmann::json list = nlohmann::json::array();
  for (const ClippedTensor& tensor : tensors) {
    list.push_back({{"tensor", tensor.name}, {"format", tensor.format}, {"clipped", tensor.count}});
  }
  return list;
}

nlohmann::json ToJson(const FallbackCounts& fallbacks) {
  nlohmann::json list = nlohmann::json::array();
  for (const auto& [names, count] : fallbacks) {
    list.push_back({{"wanted", names.first}, {"format", names.second}, {"tensors", count}});
  }
  return list;
}

nlohmann::json ToJson(const QuantizeSummary& summary) {
  return {{"model_bytes", summary.sizes.model_bytes},
          {"fp16_bytes", summary.fp16_bytes},
          {"quantized_bytes", summary.sizes.quantized_bytes},
          {"quantized_parameters", summary.sizes.quantized_parameters},
          {"bits_per_weight", summary.sizes.bits_per_weight()},
          {"fallbacks", ToJson(summary.fallbacks)},
          {"kept_16_bit", summary.kept},
          {"rotated", summary.rotated},
          {"clipped", ToJson(summary.clipped)}};
}

// What --compat and --to ask for: matrices that others cannot read stay in 16 bits.
Status ChooseWhatFits(const QuantizeArguments& options, const FormatRow* format, const FormatMap& formats,
                      Console& console, QuantizeOptions& quantize) {
  std::set<const FormatRow*> used;
  if (format != nullptr) used.insert(format);
  for (const auto& [stem, own] : formats) used.insert(own);
  for (const FormatRow* own : used) {
    if (!options.to.empty()) {
      if (auto status = CheckExportedFormat(options.to, own->info); !status) return status;
      if (const std::string text = LargerInExport(options.to, own->info); !text.empty()) console.Warn(text);
    } else if (options.compat && own->info.family != "int4") {
      return Error{
          ErrorCode::kUsage,
          fmt::format("--compat is for INT4; for {} name the format of the other program with --to", own->info.name)};
    }
  }
  if (options.compat) quantize.fits = FitsPackQuantized;
  if (!options.to.empty()) {
    quantize.fits = [to = options.to](const FormatInfo& own, std::size_t cols) { return FitsExport(to, own, cols); };
  }
  return {};
}

ExportRequest RequestOf(const QuantizeArguments& options) {
  ExportRequest request;
  request.output = options.output;
  request.to = options.to;
  request.overwrite = options.quantize.overwrite;
  return request;
}

// What can be refused before the work: the output, and a model that the container cannot hold.
Status CheckTarget(const QuantizeArguments& options, const OpenedModel& opened) {
  if (options.to.empty()) return {};
  if (auto status = CheckExport(RequestOf(options)); !status) return status;
  if (IsListed(options.folder())) {
    return Error{
        ErrorCode::kInput,
        fmt::format("{} is left from a run that did not end; write it with `metal-marlin export {} -o {} --to "
                    "{}`, or remove it",
                    options.folder(), QuoteForShell(options.folder()), QuoteForShell(options.output), options.to)};
  }
  return CheckExportedModel(RequestOf(options), opened);
}

struct ExportedAndCompared {
  Exported exported;
  ComparedExport compared;
};

// Writes the quantized folder for the other program, and reads that back.
Result<ExportedAndCompared> ExportAndCompare(const QuantizeArguments& options, Console& console) {
  const auto opened = OpenModelOf(options.folder(), options.accept_unknown, console);
  if (!opened) return opened.error();
  auto exported = ExportModel(RequestOf(options), *opened, console);
  if (!exported) return exported.error();
  const std::string& name = exported->files.front();
  const auto written = OpenModel(name);
  if (!written) return written.error();
  const auto compared = CompareExport(*opened, *written, name, console.progress());
  console.EndProgress();
  if (!compared) return compared.error();
  return ExportedAndCompared{*std::move(exported), *compared};
}

// The folder is removed when all of it was found in what was written.
Result<ExportedAndCompared> ExportAndRemove(const QuantizeArguments& options, Console& console) {
  auto exported = ExportAndCompare(options, console);
  if (!exported) {
    return Error{exported.error().code,
                 fmt::format("{}; the quantized folder stays: `metal-marlin export {} -o {} --to {}` writes it again",
                             exported.error().message, QuoteForShell(options.folder()), QuoteForShell(options.output),
                             options.to)};
  }
  std::error_code ignored;
  std::filesystem::remove_all(options.folder(), ignored);
  for (const std::string& note : exported->exported.notes) console.Warn(note);
  return exported;
}

// The formats of a plan file.
Result<FormatMap> FormatsOfPlan(const QuantizeArguments& options, const OpenedModel& opened, QuantizeOptions& quantize,
                                Console& console) {
  if (!options.config.empty()) {
    return Error{ErrorCode::kUsage, "--plan and --config exclude each other: a plan names the format of each layer"};
  }
  if (options.quantize.quantize_embeddings || options.quantize.quantize_head) {
    return Error{ErrorCode::kUsage, "a plan covers the linear layers only; embedding and head stay in 16 bits"};
  }
  const auto tokenizer = Tokenizer::FromCheckpoint(opened.checkpoint);
  if (!tokenizer) return tokenizer.error();
  const auto hash = SourceHash(opened.checkpoint, quantize);
  if (!hash) return hash.error();
  const auto plan = ReadPlan(options.plan, opened.description, *hash, tokenizer->sha256());
  if (!plan) return plan.error();
  if (plan->method != "rtn" && options.quantize.method == kAutoMethod && options.calibration.data.empty() &&
      options.stats.empty()) {
    console.Warn(
        fmt::format("{} was measured with the method {}; without --calibration TEXT this folder is made by "
                    "rtn and will be worse than the plan says",
                    options.plan, plan->method));
  }
  quantize.plan_sha256 = HashFormats(*plan);
  quantize.plan_budget = DescribeBudget(plan->budget);
  return plan->formats();
}

Status RunQuantize(const QuantizeArguments& given, Invocation& invocation) {
  QuantizeArguments options = given;
  if (options.config.empty() && options.plan.empty()) {
    options.config = options.to.empty() ? kDefaultConfig : DefaultConfigOf(options.to);
  }
  if (options.to.empty() && options.output.ends_with(".gguf")) {
    return Error{ErrorCode::kUsage,
                 fmt::format("-o {}: without --to, quantize makes a folder; add --to gguf for a file "
                             "of llama.cpp, or choose another name",
                             options.output)};
  }
  const auto format = options.plan.empty() ? ParseConfig(options.config) : Result<const FormatRow*>(nullptr);
  if (!format) return format.error();
  const auto opened = OpenModelOf(options.model, options.accept_unknown, invocation.console);
  if (!opened) return opened.error();
  const Checkpoint& checkpoint = opened->checkpoint;
  WarnOfQuantizedSource(checkpoint, options.model, invocation.console);
  QuantizeOptions quantize = options.quantize;
  quantize.format = *format;
  FormatMap formats;
  if (!options.plan.empty()) {
    if (auto status = FormatsOfPlan(options, *opened, quantize, invocation.console).MoveTo(formats); !status)
      return status;
    quantize.formats = &formats;
    options.config = "plan " + options.plan;
  }
  quantize.threads = invocation.common.threads;
  quantize.program = fmt::format("metal-marlin {} ({})", GetProgramInfo().version, GetProgramInfo().commit);
  quantize.command = invocation.command;
  Calibration calibration;
  if (auto status = ChooseWhatFits(options, *format, formats, invocation.console, quantize); !status) return status;
  if (auto status = CheckTarget(options, *opened); !status) return status;
  if (auto status = Prepare(options, *opened, invocation, quantize, calibration); !status) return status;
  const auto summary = QuantizeModel(checkpoint, quantize, options.folder(), invocation.console.progress());
  if (!summary && summary.error().code == ErrorCode::kInterrupted && calibration.windows) {
    return Error{ErrorCode::kInterrupted,
                 fmt::format("interrupted; the same command continues after the last finished layer, kept in {}",
                             KeptLayersOf(options.folder()).string())};
  }
  if (!summary) return summary.error();
  Print(options, quantize.method, *summary, invocation.console);
  nlohmann::json files;
  if (!options.to.empty()) {
    const auto written = ExportAndRemove(options, invocation.console);
    if (!written) return written.error();
    const Exported& exported = written->exported;
    invocation.console.Result(fmt::format("{}: {} tensors, {}, for {}", exported.files.front(), exported.tensors,
                                          FormatBytes(static_cast<double>(exported.bytes)), options.to));
    invocation.console.Result(fmt::format("  read back        tensors {}", written->compared.DescribeTensors()));
    files = exported.files;
  }
  for (const ClippedTensor& clipped : summary->clipped) {
    invocation.console.Warn(Describe(clipped));
  }
  nlohmann::json data = ToJson(*summary);
  data.update({{"folder", options.to.empty() ? nlohmann::json(options.output) : nlohmann::json(nullptr)},
               {"exported", files},
               {"config", quantize.formats == nullptr ? options.config : "mixed"},
               {"plan_sha256", quantize.plan_sha256},
               {"method", quantize.method},
               {"accepted_unknown", checkpoint.accepted.found()}});
  invocation.console.Data(data);
  return {};
}

}  // namespace

void RegisterQuantize(Verb parent) {
  auto options = std::make_shared<QuantizeArguments>();
  options->quantize.method = kAutoMethod;
  Verb verb = parent.AddVerb("quantize", "Quantize a model into a folder",
                             "metal-marlin quantize ./SmolLM2-135M --config fp4-g128 -o ./SmolLM2-135M-fp4-g128");
  verb.Add("model", options->model, kModelWords).Required();
  verb.Add("-c,--config", options->config,
           fmt::format("Configuration: one of {}; default {}; with --to {}, {} or {}", ConfigNames(), kDefaultConfig,
                       DefaultConfigOf("gguf"), DefaultConfigOf("compressed-tensors"), DefaultConfigOf("mlx")))
      .Names();
  verb.Add("--plan", options->plan, "Plan file from `metal-marlin plan`, with a format per layer; replaces --config");
  verb.Add("-o,--output", options->output, "Folder, or with --to gguf the file, to create").Required().NamesNewFolder();
  verb.Add(
          "--to", options->to,
          fmt::format("Write for another program instead, without loss: {}. Rows that its blocks do not divide stay in "
                      "16 bits, or take the type that it falls back to",
                      DescribeExports()))
      .Explains(ContainerBehind)
      .OneOf(ExportNames());
  verb.Add("--method", options->quantize.method,
           fmt::format("Quantization method: {} (gptq-cd with --calibration; with --stats mse, or gptq-cd if they "
                       "contain X^T X; else rtn), {}",
                       kAutoMethod, RecipeNames()))
      .Names();
  verb.AddFlag("--rotate", options->rotate,
               "Rotate the model first; the same as --method rotate+METHOD. The model's outputs do not change, but "
               "outliers in weights and activations are spread, which helps some methods");
  const Option seed =
      verb.Add("--rotation-seed", options->quantize.rotation_seed, "Seed of the rotation's random signs");
  AddCalibrationOptions(verb, "--calibration", options->calibration);
  verb.Add("--stats", options->stats,
           "Statistics of this model from `metal-marlin calibrate`, instead of --calibration");
  verb.AddFlag("--offline", options->calibration.offline, "Never touch the network");
  verb.AddFlag("--quantize-embeddings", options->quantize.quantize_embeddings, "Also quantize the embedding");
  verb.AddFlag("--quantize-head", options->quantize.quantize_head, "Also quantize the output head");
  verb.AddFlag("--compat", options->compat,
               "Keep tensors in 16 bits that other programs cannot read when quantized (INT4: rows that are not a "
               "multiple of the group)");
  AddExactBackendOptions(verb, options->backend);
  AddAcceptUnknown(verb, options->accept_unknown);
  verb.AddFlag("--overwrite", options->quantize.overwrite, "Replace an existing folder that quantize made");
  verb.Runs([options, seed](Invocation& invocation) {
    options->seed_given = seed.IsGiven();
    return RunQuantize(*options, invocation);
  });
}

}  // namespace marlin
