// generate: continues a text or answers a message, token by token.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/memory.h"
#include "cli/model_names.h"
#include "cli/model_options.h"
#include "cli/prompt.h"
#include "cli/sampling_options.h"
#include "cli/verb.h"
#include "files/checkpoint.h"
#include "model/model.h"
#include "text/end_tokens.h"
#include "text/generated_text.h"
#include "text/tokenizer.h"

namespace marlin {
namespace {

struct GenerateArguments {
  std::string model;
  PromptOptions prompt;
  SamplingArguments sampling;
  std::vector<std::string> stops;
  std::vector<std::string> accept_unknown;
  std::size_t max_tokens = 64;
  bool verify = false;
  bool print_prompt = false;
  BackendOptions backend;
};

struct Generation {
  std::vector<std::int32_t> tokens;
  std::size_t steps = 0;    // tokens that were fed back
  double step_seconds = 0;  // of all steps
  const char* stopped_by = "max tokens";

  // The first token comes from the prompt: it takes no step.
  std::optional<double> tokens_per_second() const {
    return steps > 0 && step_seconds > 0 ? std::optional(static_cast<double>(steps) / step_seconds) : std::nullopt;
  }
};

// Chooses the token after a position: the most likely one on the model's device, or one that is drawn.
class Chooser {
 public:
  static Result<Chooser> Create(const Model& model, const SamplingOptions& sampling) {
    Chooser chooser(model, sampling);
    const auto allocated = model.backend->AllocateAll({{&chooser.logits_, model.description.vocab_size},
                                                       {&chooser.value_, 1},
                                                       {&chooser.token_, 1, ElementType::kI32}});
    if (!allocated) return allocated.error();
    return chooser;
  }

  // The token after the last of the hidden states. Errors: kNumerical, those of the device.
  Result<std::int32_t> Next(const DeviceTensor& hidden) {
    const DeviceTensor logits = View(logits_, 1, model_->description.vocab_size);
    model_->Logits(hidden.Rows(hidden.rows - 1, 1), logits);
    if (!draws_) return MostLikely(logits);
    host_logits_.resize(model_->description.vocab_size);
    if (auto status = model_->backend->Read(logits, std::span(host_logits_)); !status) return status.error();
    return sampler_.Next(host_logits_);
  }

 private:
  Chooser(const Model& model, const SamplingOptions& sampling)
      : model_(&model), draws_(sampling.temperature > 0), sampler_(sampling) {}

  Result<std::int32_t> MostLikely(const DeviceTensor& logits) const {
    Backend& backend = *model_->backend;
    const DeviceTensor value = View(value_, 1, 1);
    const DeviceTensor token = View(token_, 1, 1, ElementType::kI32);
    backend.TopK(logits, value, token);
    float largest = 0;
    std::int32_t best = 0;
    backend.Download(value, std::span(&largest, 1));
    if (auto status = backend.Read(token, std::span(&best, 1)); !status) return status.error();
    if (!std::isfinite(largest)) return Error{ErrorCode::kNumerical, "the model's logits are not finite"};
    return best;
  }

  const Model* model_;
  bool draws_;
  Sampler sampler_;
  std::vector<float> host_logits_;
  std::unique_ptr<Buffer> logits_, value_, token_;
};

// A chat template writes BOS itself where the model wants one; a text that begins with it gets no second.
Result<std::vector<std::int32_t>> PromptTokens(const Tokenizer& tokenizer, const std::string& prompt, bool chat) {
  auto ids = tokenizer.Encode(prompt, true);
  if (!ids) return ids.error();
  const std::vector<std::int32_t> prefix = tokenizer.prefix();
  const bool has_prefix = prefix.empty() || (!ids->empty() && ids->front() == prefix.front());
  if (!chat && !has_prefix) ids->insert(ids->begin(), prefix.begin(), prefix.end());
  if (ids->empty()) return Error{ErrorCode::kUsage, "the prompt is empty; give some text with --prompt"};
  return ids;
}

Status CheckPrompt(std::span<const std::int32_t> ids, std::size_t max_tokens, const Description& description) {
  if (ids.size() + max_tokens > description.max_context) {
    return Error{ErrorCode::kUsage, fmt::format("{} prompt tokens and {} new ones exceed the model's context of {}",
                                                ids.size(), max_tokens, description.max_context)};
  }
  for (const std::int32_t id : ids) {
    if (static_cast<std::size_t>(id) >= description.vocab_size) {
      return Error{ErrorCode::kInput, fmt::format("the tokenizer gave token {}, the model's vocabulary has {}: they do "
                                                  "not belong together",
                                                  id, description.vocab_size)};
    }
  }
  return {};
}

// What a generation depends on, beside the model.
struct Request {
  std::vector<std::int32_t> prompt, ends;  // ends: tokens that end the text
  std::size_t max_tokens = 0;
  SamplingOptions sampling;
};

// on_token: false = the text has ended.
Result<Generation> Generate(const Model& model, const Request& request,
                            const std::function<bool(std::int32_t)>& on_token) {
  Generation out;
  auto session = Session::Create(model, request.prompt.size() + request.max_tokens, request.prompt.size());
  if (!session) return session.error();
  auto chooser = Chooser::Create(model, request.sampling);
  if (!chooser) return chooser.error();
  auto token = chooser->Next(session->Forward(request.prompt));
  while (token.ok() && !Interrupted()) {
    if (std::ranges::find(request.ends, *token) != request.ends.end()) {
      out.stopped_by = "end token";
      break;
    }
    out.tokens.push_back(*token);
    if (!on_token(*token)) {
      out.stopped_by = "stop string";
      break;
    }
    if (out.tokens.size() == request.max_tokens) break;
    const auto start = std::chrono::steady_clock::now();
    token = chooser->Next(session->Forward({&out.tokens.back(), 1}));
    out.step_seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    ++out.steps;
  }
  if (!token) return token.error();
  return out;
}

struct Generator {
  LoadedModel loaded;
  Request request;
  std::string prompt;
};

// The model's files are unmapped before this returns.
Result<Generator> LoadGenerator(const GenerateArguments& options, const SamplingOptions& sampling, Backend& backend,
                                Console& console) {
  const auto opened = OpenVerified(options.model, options.accept_unknown, options.verify, console);
  if (!opened) return opened.error();
  auto prompt = PromptOf(options.prompt, opened->checkpoint);
  if (!prompt) return prompt.error();
  auto loaded = LoadOpened(*opened, backend, console);
  if (!loaded) return loaded.error();
  auto ends = EndTokens(opened->checkpoint, loaded->tokenizer);
  if (!ends) return ends.error();
  auto ids = PromptTokens(loaded->tokenizer, *prompt, options.prompt.chat);
  if (!ids) return ids.error();
  if (auto status = CheckPrompt(*ids, options.max_tokens, loaded->model.description); !status) return status.error();
  return Generator{std::move(*loaded), Request{std::move(*ids), std::move(*ends), options.max_tokens, sampling},
                   std::move(*prompt)};
}

nlohmann::json SamplingJson(const SamplingOptions& sampling) {
  return {{"temperature", sampling.temperature},
          {"top_k", sampling.top_k},
          {"top_p", sampling.top_p},
          {"min_p", sampling.min_p},
          {"seed", sampling.seed}};
}

// The prompt as it is given to the model, and nothing else: no weights are loaded.
Status PrintPrompt(const GenerateArguments& options, Console& console) {
  const auto opened = OpenVerified(options.model, options.accept_unknown, options.verify, console);
  if (!opened) return opened.error();
  const auto prompt = PromptOf(options.prompt, opened->checkpoint);
  if (!prompt) return prompt.error();
  console.EndProgress();
  console.Raw(*prompt);
  if (!console.json()) return {};
  const auto tokenizer = Tokenizer::FromCheckpoint(opened->checkpoint);
  if (!tokenizer) return tokenizer.error();
  const auto ids = PromptTokens(*tokenizer, *prompt, options.prompt.chat);
  if (!ids) return ids.error();
  console.Data({{"prompt", *prompt}, {"tokens", *ids}});
  return {};
}

Status RunGenerate(const GenerateArguments& options, Invocation& invocation) {
  Console& console = invocation.console;
  const auto sampling = SamplingOf(options.sampling);
  if (!sampling) return sampling.error();
  if (options.print_prompt) return PrintPrompt(options, console);
  auto backend = MakeBackend(options.backend, invocation.common.threads);
  if (!backend) return backend.error();
  const auto generator = LoadGenerator(options, *sampling, **backend, console);
  if (!generator) return generator.error();
  const LoadedModel* const loaded = &generator->loaded;
  WarnOfUnusedChoice(std::array<const Model*, 1>{&loaded->model}, options.backend, console);
  ResetPeakMemory();
  console.EndProgress();
  if (!options.prompt.chat) console.Raw(generator->prompt);
  GeneratedText generated(options.stops);
  std::string text;
  const auto show = [&](const std::string& piece) {
    console.Raw(piece);
    text += piece;
  };
  const auto result = Generate(loaded->model, generator->request, [&](std::int32_t token) {
    show(generated.Add(loaded->tokenizer.Decode({&token, 1})));
    return !generated.stopped();
  });
  show(generated.Finish());
  console.Raw("\n");
  if (!result) return result.error();
  const std::optional<double> rate = result->tokens_per_second();
  const std::size_t peak = PeakMemoryBytes();
  const std::optional<std::size_t> on_device = (*backend)->peak_bytes();
  const std::size_t prompt_tokens = generator->request.prompt.size();
  const std::string device_text =
      on_device ? fmt::format(" and {} of the device", FormatBytes(static_cast<double>(*on_device))) : "";
  console.Detail(fmt::format("{} prompt tokens, {} new tokens, {}, peak memory {}{}, ended by: {}", prompt_tokens,
                             result->tokens.size(), rate ? fmt::format("{:.1f} tok/s", *rate) : "too few to time",
                             FormatBytes(static_cast<double>(peak)), device_text, result->stopped_by));
  console.Data({{"prompt", generator->prompt},
                {"text", text},
                {"tokens", result->tokens},
                {"stopped_by", result->stopped_by},
                {"sampling", SamplingJson(*sampling)},
                {"prompt_tokens", prompt_tokens},
                {"decode_tok_s", rate ? nlohmann::json(*rate) : nlohmann::json(nullptr)},
                {"peak_rss_bytes", peak},
                {"peak_device_bytes", on_device ? nlohmann::json(*on_device) : nlohmann::json(nullptr)}});
  if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted"};
  return {};
}

}  // namespace

void RegisterGenerate(Verb parent) {
  auto options = std::make_shared<GenerateArguments>();
  Verb verb = parent.AddVerb("generate", "Continue a text, or answer a message with --chat",
                             "metal-marlin generate ./SmolLM2-135M --prompt 'The tide rises because' -n 40");
  verb.Add("model", options->model, kAnyModelWords).Required();
  AddPromptOptions(verb, options->prompt);
  verb.Add("-n,--max-tokens", options->max_tokens, "Maximum number of new tokens").Between(1, 1 << 20);
  AddSamplingOptions(verb, options->sampling);
  verb.Add("--stop", options->stops, "End before this text, which is not printed. May be repeated").OneWordEach();
  verb.AddFlag("--print-prompt", options->print_prompt, "Print the prompt as the model gets it, and stop");
  verb.AddFlag("--verify", options->verify, "Check every hash of the folder first");
  AddAcceptUnknown(verb, options->accept_unknown);
  AddBackendOptions(verb, options->backend);
  verb.Runs([options](Invocation& invocation) { return RunGenerate(*options, invocation); });
}

}  // namespace marlin
