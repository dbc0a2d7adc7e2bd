// generate: greedy decoding, enough to see that a model works and how much memory it needs.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/memory.h"
#include "cli/model_names.h"
#include "cli/model_options.h"
#include "cli/verb.h"
#include "files/checkpoint.h"
#include "model/model.h"
#include "text/end_tokens.h"
#include "text/tokenizer.h"

namespace marlin {
namespace {

struct GenerateArguments {
  std::string model;
  std::string prompt;
  std::vector<std::string> accept_unknown;
  std::size_t max_tokens = 64;
  bool verify = false;
  BackendOptions backend;
};

struct Generation {
  std::vector<std::int32_t> tokens;
  std::size_t steps = 0;    // tokens that were fed back
  double step_seconds = 0;  // of all steps

  // The first token comes from the prompt: it takes no step.
  std::optional<double> tokens_per_second() const {
    return steps > 0 && step_seconds > 0 ? std::optional(static_cast<double>(steps) / step_seconds) : std::nullopt;
  }
};

// Picks the most likely token on the model's device.
class Greedy {
 public:
  static Result<Greedy> Create(const Model& model) {
    Greedy greedy(model);
    const auto allocated = model.backend->AllocateAll(
        {{&greedy.logits_, model.description.vocab_size}, {&greedy.value_, 1}, {&greedy.token_, 1, ElementType::kI32}});
    if (!allocated) return allocated.error();
    return greedy;
  }

  // The token after the last of the hidden states. Errors: kNumerical, those of the device.
  Result<std::int32_t> Next(const DeviceTensor& hidden) const {
    Backend& backend = *model_->backend;
    const DeviceTensor logits = View(logits_, 1, model_->description.vocab_size);
    const DeviceTensor value = View(value_, 1, 1);
    const DeviceTensor token = View(token_, 1, 1, ElementType::kI32);
    model_->Logits(hidden.Rows(hidden.rows - 1, 1), logits);
    backend.TopK(logits, value, token);
    float largest = 0;
    std::int32_t best = 0;
    backend.Download(value, std::span(&largest, 1));
    if (auto status = backend.Read(token, std::span(&best, 1)); !status) return status.error();
    if (!std::isfinite(largest)) return Error{ErrorCode::kNumerical, "the model's logits are not finite"};
    return best;
  }

 private:
  explicit Greedy(const Model& model) : model_(&model) {}
  const Model* model_;
  std::unique_ptr<Buffer> logits_, value_, token_;
};

Result<std::vector<std::int32_t>> PromptTokens(const Tokenizer& tokenizer, const GenerateArguments& options,
                                               const Description& description) {
  auto ids = tokenizer.Encode(options.prompt, true);
  if (!ids) return ids.error();
  if (tokenizer.adds_bos()) ids->insert(ids->begin(), tokenizer.bos());
  if (ids->empty()) return Error{ErrorCode::kUsage, "the prompt is empty; give some text with --prompt"};
  if (ids->size() + options.max_tokens > description.max_context) {
    return Error{ErrorCode::kUsage, fmt::format("{} prompt tokens and {} new ones exceed the model's context of {}",
                                                ids->size(), options.max_tokens, description.max_context)};
  }
  for (const std::int32_t id : *ids) {
    if (static_cast<std::size_t>(id) >= description.vocab_size) {
      return Error{ErrorCode::kInput, fmt::format("the tokenizer gave token {}, the model's vocabulary has {}: they do "
                                                  "not belong together",
                                                  id, description.vocab_size)};
    }
  }
  return ids;
}

// ends: tokens that end the text.
Result<Generation> Generate(const Model& model, std::span<const std::int32_t> prompt, std::size_t max_tokens,
                            std::span<const std::int32_t> ends, const std::function<void(std::int32_t)>& on_token) {
  Generation out;
  auto session = Session::Create(model, prompt.size() + max_tokens, prompt.size());
  if (!session) return session.error();
  const auto greedy = Greedy::Create(model);
  if (!greedy) return greedy.error();
  auto token = greedy->Next(session->Forward(prompt));
  while (token.ok() && !Interrupted() && std::ranges::find(ends, *token) == ends.end()) {
    out.tokens.push_back(*token);
    on_token(*token);
    if (out.tokens.size() == max_tokens) break;
    const auto start = std::chrono::steady_clock::now();
    token = greedy->Next(session->Forward({&out.tokens.back(), 1}));
    out.step_seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    ++out.steps;
  }
  if (!token) return token.error();
  return out;
}

struct Generator {
  LoadedModel loaded;
  std::vector<std::int32_t> ends;
};

// The model's files are unmapped before this returns.
Result<Generator> LoadGenerator(const GenerateArguments& options, Backend& backend, Console& console) {
  const auto opened = OpenVerified(options.model, options.accept_unknown, options.verify, console);
  if (!opened) return opened.error();
  auto loaded = LoadOpened(*opened, backend, console);
  if (!loaded) return loaded.error();
  auto ends = EndTokens(opened->checkpoint, loaded->tokenizer);
  if (!ends) return ends.error();
  return Generator{std::move(*loaded), std::move(*ends)};
}

Status RunGenerate(const GenerateArguments& options, Invocation& invocation) {
  Console& console = invocation.console;
  auto backend = MakeBackend(options.backend, invocation.common.threads);
  if (!backend) return backend.error();
  const auto generator = LoadGenerator(options, **backend, console);
  if (!generator) return generator.error();
  const LoadedModel* const loaded = &generator->loaded;
  WarnOfUnusedChoice(std::array<const Model*, 1>{&loaded->model}, options.backend, console);
  const auto prompt = PromptTokens(loaded->tokenizer, options, loaded->model.description);
  if (!prompt) return prompt.error();
  ResetPeakMemory();
  console.EndProgress();
  console.Raw(options.prompt);
  const auto result = Generate(loaded->model, *prompt, options.max_tokens, generator->ends, [&](std::int32_t token) {
    console.Raw(loaded->tokenizer.Decode({&token, 1}));
  });
  console.Raw("\n");
  if (!result) return result.error();
  const std::optional<double> rate = result->tokens_per_second();
  const std::size_t peak = PeakMemoryBytes();
  console.Detail(fmt::format("{} prompt tokens, {} new tokens, {}, peak memory {}", prompt->size(),
                             result->tokens.size(), rate ? fmt::format("{:.1f} tok/s", *rate) : "too few to time",
                             FormatBytes(static_cast<double>(peak))));
  console.Data({{"prompt", options.prompt},
                {"text", loaded->tokenizer.Decode(result->tokens)},
                {"tokens", result->tokens},
                {"prompt_tokens", prompt->size()},
                {"decode_tok_s", rate ? nlohmann::json(*rate) : nlohmann::json(nullptr)},
                {"peak_rss_bytes", peak}});
  if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted"};
  return {};
}

}  // namespace

void RegisterGenerate(Verb parent) {
  auto options = std::make_shared<GenerateArguments>();
  Verb verb = parent.AddVerb("generate", "Continue a text, always with the most likely token",
                             "metal-marlin generate ./SmolLM2-135M --prompt 'The tide rises because' -n 40");
  verb.Add("model", options->model, kAnyModelWords).Required();
  verb.Add("-p,--prompt", options->prompt, "Text to continue; special tokens in it are recognized").Required();
  verb.Add("-n,--max-tokens", options->max_tokens, "Maximum number of new tokens").Between(1, 1 << 20);
  verb.AddFlag("--verify", options->verify, "Check every hash of the folder first");
  AddAcceptUnknown(verb, options->accept_unknown);
  AddBackendOptions(verb, options->backend);
  verb.Runs([options](Invocation& invocation) { return RunGenerate(*options, invocation); });
}

}  // namespace marlin
