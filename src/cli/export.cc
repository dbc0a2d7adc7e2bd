// export: writes a model as a file of another program's format. check-export: compares such a file with its source.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "cli/budget.h"
#include "cli/model_names.h"
#include "cli/model_options.h"
#include "cli/program_info.h"
#include "cli/verb.h"
#include "eval/perplexity.h"
#include "files/checkpoint.h"
#include "model/export_gguf.h"
#include "model/same_description.h"
#include "text/sample_text.h"

namespace marlin {
namespace {

// The formats of other programs. A row of this table is all that the command knows of one.
struct ExportFormat {
  const char* name;
  const char* ending;  // of the file
};
constexpr std::array kExportFormats = {ExportFormat{"gguf", ".gguf"}};

struct ExportType {
  std::string_view name;
  DType type;
};
constexpr std::array kExportTypes = {ExportType{"f16", DType::kF16}, ExportType{"bf16", DType::kBF16},
                                     ExportType{"f32", DType::kF32}};

struct ExportArguments {
  std::string model;
  std::string output;
  std::string to;
  std::string type;
  std::string split_size;
  std::vector<std::string> accept_unknown;
  bool overwrite = false;
};

std::vector<std::string> ExportTypeNames() {
  std::vector<std::string> names;
  for (const ExportType& row : kExportTypes) names.emplace_back(row.name);
  return names;
}

Result<GgufExportOptions> OptionsOf(const ExportArguments& given) {
  GgufExportOptions options;
  const auto type = std::ranges::find(kExportTypes, given.type, &ExportType::name);
  if (type != kExportTypes.end()) options.type = type->type;
  if (!given.split_size.empty()) {
    if (auto status = ParseBytes(given.split_size, "--split-size").MoveTo(options.max_part_bytes); !status)
      return status.error();
    if (options.max_part_bytes == 0) return Error{ErrorCode::kUsage, "--split-size is 0, want a size such as 2GB"};
  }
  options.overwrite = given.overwrite;
  options.program = fmt::format("metal-marlin {} ({})", GetProgramInfo().version, GetProgramInfo().commit);
  return options;
}

Status CheckName(const ExportArguments& given) {
  const auto format = std::ranges::find(kExportFormats, given.to, &ExportFormat::name);
  if (format == kExportFormats.end() || given.output.ends_with(format->ending)) return {};
  return Error{ErrorCode::kUsage, fmt::format("-o {}: other programs know a file of this format by the ending {}; want "
                                              "{}{}",
                                              given.output, format->ending, given.output, format->ending)};
}

// Null where the model has no tokenizer.
Result<std::optional<Tokenizer>> TokenizerOf(const Checkpoint& checkpoint) {
  if (!Tokenizer::IsThere(checkpoint)) return std::optional<Tokenizer>();
  auto tokenizer = Tokenizer::FromCheckpoint(checkpoint);
  if (!tokenizer) return tokenizer.error();
  return std::optional<Tokenizer>(*std::move(tokenizer));
}

const Tokenizer* PointerTo(const std::optional<Tokenizer>& tokenizer) { return tokenizer ? &*tokenizer : nullptr; }

std::vector<std::string> NamesOf(const std::vector<std::filesystem::path>& files) {
  std::vector<std::string> names;
  for (const auto& file : files) names.push_back(file.string());
  return names;
}

Status RunExport(const ExportArguments& given, Invocation& invocation) {
  Console& console = invocation.console;
  if (auto status = CheckName(given); !status) return status;
  auto options = OptionsOf(given);
  if (!options) return options.error();
  if (auto status = CheckOutputFile(given.output); !status) return status;
  const auto opened = OpenModelOf(given.model, given.accept_unknown, console);
  if (!opened) return opened.error();
  const auto tokenizer = TokenizerOf(opened->checkpoint);
  if (!tokenizer) return tokenizer.error();
  // A refusal first: the hash of a large model takes a while.
  if (const auto plan = PlanGguf(*opened, PointerTo(*tokenizer), *options); !plan) return plan.error();
  if (auto status = HashCheckpoint(opened->checkpoint).MoveTo(options->source_sha256); !status) return status;
  const auto plan = PlanGguf(*opened, PointerTo(*tokenizer), *options);
  if (!plan) return plan.error();
  const auto written = WriteGguf(*opened, *plan, given.output, *options, console.progress());
  console.EndProgress();
  if (!written) return written.error();
  for (const std::string& note : plan->notes) console.Warn(note);
  console.Result(fmt::format("{}: {} tensors, {}{}", written->files.front().string(), plan->model.tensors.size(),
                             FormatBytes(static_cast<double>(written->bytes)),
                             written->files.size() > 1 ? fmt::format(" in {} files", written->files.size()) : ""));
  console.Say(fmt::format("  compare it with its source: metal-marlin check-export {} {}",
                          QuoteForShell(written->files.front().string()), QuoteForShell(given.model)));
  console.Data({{"files", NamesOf(written->files)},
                {"tensors", plan->model.tensors.size()},
                {"bytes", written->bytes},
                {"notes", plan->notes},
                {"source_sha256", options->source_sha256},
                {"accepted_unknown", opened->checkpoint.accepted.found()}});
  return {};
}

struct CheckArguments {
  std::string output;
  std::string source;
  std::vector<std::string> accept_unknown;
  BackendOptions backend;
};

Error ExportDiffers(const std::string& file, const std::string& what) {
  return {ErrorCode::kCorrupt, fmt::format("{}: {}", file, what)};
}

Status CompareSettings(const CheckArguments& given, const OpenedModel& source, const OpenedModel& written) {
  const auto difference = FirstDifference(source.description, written.description);
  if (!difference) return {};
  return ExportDiffers(given.output,
                       fmt::format("{} is {}, want {}", difference->setting, difference->second, difference->first));
}

constexpr std::size_t kCheckedTokens = 128;

// Tokens of the built-in text, or, without a tokenizer, numbers spread over the vocabulary.
Result<TokenStream> CheckedTokens(const std::optional<Tokenizer>& tokenizer, std::size_t vocab) {
  constexpr std::size_t kText_bytes = 4000;
  const std::string_view text = SampleText().substr(0, kText_bytes);
  if (tokenizer) return MakeTokenStream(*tokenizer, text.substr(0, text.rfind('\n')));
  TokenStream stream;
  for (std::size_t i = 0; i < kCheckedTokens; ++i) stream.tokens.push_back(static_cast<std::int32_t>(i * 7919 % vocab));
  stream.token_bytes.assign(kCheckedTokens, 1);
  return stream;
}

struct LogitsComparison {
  std::size_t tokens = 0;
  double largest = 0, difference = 0;  // of the logits' sizes
};

Result<std::vector<float>> LogitsOf(const OpenedModel& opened, const TokenStream& stream, std::size_t ctx,
                                    Backend& backend, Console& console) {
  const auto model = LoadModel(opened.checkpoint, backend, Precision::kSource, console.progress());
  console.EndProgress();
  if (!model) return model.error();
  return WindowLogits(*model, stream, ctx, 0);
}

// Norms that are kept + 1 and divisors of frequencies are rounded once more; beyond that the numbers are the same.
constexpr double kLogitsLimit = 1e-4;

Result<LogitsComparison> CompareLogits(const CheckArguments& given, const OpenedModel& source,
                                       const OpenedModel& written, const std::optional<Tokenizer>& tokenizer,
                                       bool rounded, Invocation& invocation) {
  auto backend = MakeBackend(given.backend, invocation.common.threads);
  if (!backend) return backend.error();
  const auto stream = CheckedTokens(tokenizer, source.description.vocab_size);
  if (!stream) return stream.error();
  LogitsComparison out;
  out.tokens = std::min({kCheckedTokens, source.description.max_context, stream->tokens.size()});
  const auto wanted = LogitsOf(source, *stream, out.tokens, **backend, invocation.console);
  if (!wanted) return wanted.error();
  const auto got = LogitsOf(written, *stream, out.tokens, **backend, invocation.console);
  if (!got) return got.error();
  const std::size_t vocab = source.description.vocab_size;
  std::size_t worst = 0;
  for (std::size_t i = 0; i < wanted->size(); ++i) {
    const double off = std::abs(static_cast<double>((*wanted)[i]) - static_cast<double>((*got)[i]));
    out.largest = std::max(out.largest, std::abs(static_cast<double>((*wanted)[i])));
    if (off <= out.difference) continue;
    out.difference = off;
    worst = i;
  }
  if (rounded || out.difference <= kLogitsLimit * out.largest) return out;
  return ExportDiffers(given.output, fmt::format("logit of token {} at position {}: got {}, want {}", worst % vocab,
                                                 worst / vocab, (*got)[worst], (*wanted)[worst]));
}

Status RunCheckExport(const CheckArguments& given, Invocation& invocation) {
  Console& console = invocation.console;
  const auto source = OpenModelOf(given.source, given.accept_unknown, console);
  if (!source) return source.error();
  const auto file = FindModel(given.output);
  if (!file) return file.error();
  const auto written = OpenModel(file->path);
  if (!written) return written.error();
  if (written->checkpoint.container != Container::kGguf) {
    return Error{ErrorCode::kUsage, fmt::format("{} is no GGUF file; name the file that export wrote first, then its "
                                                "source",
                                                given.output)};
  }
  if (auto status = CompareSettings(given, *source, *written); !status) return status;
  const auto tensors = CompareTensors(*source, written->checkpoint.path, console.progress());
  console.EndProgress();
  if (!tensors) return tensors.error();
  const auto own = TokenizerOf(source->checkpoint);
  if (!own) return own.error();
  const auto other = TokenizerOf(written->checkpoint);
  if (!other) return other.error();
  if (own->has_value() != other->has_value()) {
    return ExportDiffers(given.output, "only one of the file and its source has a tokenizer");
  }
  if (*own) {
    if (auto status = CompareTokenizers(**own, **other, given.output, ErrorCode::kCorrupt); !status) return status;
  }
  const auto logits = CompareLogits(given, *source, *written, *own, tensors->rounded > 0, invocation);
  if (!logits) return logits.error();
  const double relative = logits->largest > 0 ? logits->difference / logits->largest : 0;
  console.Result(fmt::format("{} is the same model as {}", given.output, given.source));
  console.Result(fmt::format("  settings   the same"));
  console.Result(
      fmt::format("  tensors    {}, {} weights, each bit for bit{}", tensors->tensors, tensors->weights,
                  tensors->rounded == 0 ? "" : fmt::format("; {} are rounded to the file's type", tensors->rounded)));
  console.Result(fmt::format("  tokenizer  {}", *own ? "the same tokens of the built-in text" : "none in both"));
  console.Result(fmt::format("  logits     {} tokens, largest difference {:.3g}, {:.2g} of the largest logit",
                             logits->tokens, logits->difference, relative));
  console.Data({{"file", given.output},
                {"source", given.source},
                {"same", true},
                {"tensors", tensors->tensors},
                {"weights", tensors->weights},
                {"rounded", tensors->rounded},
                {"tokenizer", own->has_value()},
                {"logits", {{"tokens", logits->tokens}, {"difference", logits->difference}, {"relative", relative}}}});
  return {};
}

}  // namespace

void RegisterExport(Verb parent) {
  auto options = std::make_shared<ExportArguments>();
  options->to = kExportFormats[0].name;
  Verb verb = parent.AddVerb("export", "Write a model as a file for other programs",
                             "metal-marlin export ./SmolLM2-135M -o SmolLM2-135M.gguf --to gguf");
  verb.Add("model", options->model, kModelWords).Required();
  verb.Add("-o,--output", options->output, "File to write").Required().NamesFile();
  std::vector<std::string> formats;
  for (const ExportFormat& row : kExportFormats) formats.emplace_back(row.name);
  verb.Add("--to", options->to, "Format of the file: gguf, for llama.cpp and programs that are built on it")
      .OneOf(formats);
  verb.Add("--type", options->type,
           "Type of the matrices: f16, bf16 or f32; without it what the model has. Vectors and norms are always f32")
      .OneOf(ExportTypeNames());
  verb.Add("--split-size", options->split_size,
           "Write several files with at most so many bytes of tensors each, as 2GB: NAME-00001-of-00003.gguf, ...");
  AddAcceptUnknown(verb, options->accept_unknown);
  verb.AddFlag("--overwrite", options->overwrite, "Replace an existing file");
  verb.Runs([options](Invocation& invocation) { return RunExport(*options, invocation); });
}

void RegisterCheckExport(Verb parent) {
  auto options = std::make_shared<CheckArguments>();
  Verb verb = parent.AddVerb("check-export", "Compare an exported file with the model that it was made of",
                             "metal-marlin check-export SmolLM2-135M.gguf ./SmolLM2-135M");
  verb.Add("file", options->output, "File that export wrote, or the first of its parts").Required();
  verb.Add("source", options->source, "The model: " + std::string(kModelWords)).Required();
  AddAcceptUnknown(verb, options->accept_unknown);
  AddExactBackendOptions(verb, options->backend);
  verb.AddFooter(
      "Compares every setting, every number bit for bit (rounded as the file's type rounds), the tokens of the "
      "built-in\n"
      "text, and the logits of a window. Exit code 7 names the first difference.");
  verb.Runs([options](Invocation& invocation) { return RunCheckExport(*options, invocation); });
}

}  // namespace marlin
