// check-export: compares what export wrote with the model that it was made of.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/compare_export.h"
#include "cli/model_names.h"
#include "cli/model_options.h"
#include "cli/verb.h"
#include "eval/perplexity.h"
#include "files/folder_layout.h"
#include "files/quantized_layout.h"
#include "text/sample_text.h"

namespace marlin {
namespace {

struct CheckArguments {
  std::string output;
  std::string source;
  std::vector<std::string> accept_unknown;
  BackendOptions backend;
};

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
                                       const OpenedModel& written, bool rounded, Invocation& invocation) {
  auto backend = MakeBackend(given.backend, invocation.common.threads);
  if (!backend) return backend.error();
  const auto tokenizer = TokenizerOf(source.checkpoint);
  if (!tokenizer) return tokenizer.error();
  const auto stream = CheckedTokens(*tokenizer, source.description.vocab_size);
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

Status CheckIsExport(const CheckArguments& given, const Checkpoint& written) {
  if (written.container == Container::kGguf || LayoutOf(written.config) != FolderLayout::kOwn) return {};
  return Error{ErrorCode::kUsage, fmt::format("{} is no GGUF file, and no folder for other programs; name first what "
                                              "export wrote, then its source",
                                              given.output)};
}

// By this program, or in blocks.
bool IsQuantized(const Checkpoint& checkpoint) {
  return IsQuantizedSource(checkpoint) || std::ranges::any_of(checkpoint.tensors, [](const Tensor& tensor) {
           return tensor.name.ends_with(kPackedSuffix);
         });
}

Status RunCheckExport(const CheckArguments& given, Invocation& invocation) {
  Console& console = invocation.console;
  const auto source = OpenModelOf(given.source, given.accept_unknown, console);
  if (!source) return source.error();
  const auto file = FindModel(given.output);
  if (!file) return file.error();
  const auto written = OpenModel(file->path);
  if (!written) return written.error();
  if (auto status = CheckIsExport(given, written->checkpoint); !status) return status;
  if (IsQuantized(written->checkpoint) && !IsQuantized(source->checkpoint)) {
    return ExportDiffers(given.output,
                         fmt::format("it is quantized ({}), and {} is not; compare it with the folder that "
                                     "quantize made, or measure what it lost with eval divergence",
                                     SourceType(written->checkpoint), given.source));
  }
  const auto compared = CompareExport(*source, *written, given.output, console.progress());
  console.EndProgress();
  if (!compared) return compared.error();
  const auto logits = CompareLogits(given, *source, *written, compared->rounded > 0, invocation);
  if (!logits) return logits.error();
  const double relative = logits->largest > 0 ? logits->difference / logits->largest : 0;
  console.Result(fmt::format("{} is the same model as {}", given.output, given.source));
  console.Result(fmt::format("  settings   the same"));
  console.Result(fmt::format("  tensors    {}", compared->DescribeTensors()));
  console.Result(
      fmt::format("  tokenizer  {}", compared->tokenizer ? "the same tokens of the built-in text" : "none in both"));
  console.Result(fmt::format("  logits     {} tokens, largest difference {:.3g}, {:.2g} of the largest logit",
                             logits->tokens, logits->difference, relative));
  console.Data({{"file", given.output},
                {"source", given.source},
                {"same", true},
                {"tensors", compared->tensors},
                {"weights", compared->weights},
                {"rounded", compared->rounded},
                {"tokenizer", compared->tokenizer},
                {"logits", {{"tokens", logits->tokens}, {"difference", logits->difference}, {"relative", relative}}}});
  return {};
}

}  // namespace

void RegisterCheckExport(Verb parent) {
  auto options = std::make_shared<CheckArguments>();
  Verb verb = parent.AddVerb("check-export", "Compare an exported file or folder with its source",
                             "metal-marlin check-export SmolLM2-135M.gguf ./SmolLM2-135M");
  verb.Add("exported", options->output, "What export wrote: a folder, a file, or the first of its parts").Required();
  verb.Add("source", options->source, "The model: " + std::string(kModelWords)).Required();
  AddAcceptUnknown(verb, options->accept_unknown);
  AddExactBackendOptions(verb, options->backend);
  verb.AddFooter(
      "\nCompares every setting, every number bit for bit (rounded as its type rounds), the tokens of the built-in\n"
      "text, and the logits of a window. Exit code 7 names the first difference.");
  verb.Runs([options](Invocation& invocation) { return RunCheckExport(*options, invocation); });
}

}  // namespace marlin
