// eval perplexity: both protocols from one pass, and the paired delta against a baseline.
// eval logits: the numbers before the softmax, for comparison with other implementations.

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/statistics.h"
#include "cli/memory.h"
#include "cli/text.h"
#include "cli/verb.h"
#include "eval/perplexity.h"

namespace marlin {
namespace {

struct Options {
  std::string model;
  std::string baseline;
  TextOptions text;
  std::size_t samples = 0;
  std::size_t ctx = 512;
  bool verify = false;
  BackendOptions backend;
};

struct Evaluation {
  PerplexityResult result;
  PerplexityEstimate all, half;
  std::size_t tokens = 0;
  std::string tokenizer_sha256;
  bool bos = false;
};

std::vector<double> Counts(const PerplexityResult& result, std::size_t per_window) {
  return std::vector<double>(result.window_nll.size(), static_cast<double>(per_window));
}

PerplexityEstimate Estimate(const PerplexityResult& result, bool half) {
  const auto counts = Counts(result, half ? result.scored_per_window_half : result.scored_per_window);
  return EstimatePerplexity({half ? result.window_nll_half : result.window_nll, counts});
}

Result<Evaluation> Evaluate(const std::string& path, const EvalText& text, const Options& options,
                            Invocation& invocation) {
  auto backend = MakeBackend(options.backend, invocation.common.threads);
  if (!backend) return backend.error();
  auto loaded = LoadModelAndTokenizer(path, options.verify, **backend, invocation.console);
  if (!loaded) return loaded.error();
  const auto stream = MakeTokenStream(loaded->tokenizer, text.text);
  if (!stream) return Error{stream.error().code, text.name + ": " + stream.error().message};
  const ProgressFn progress = invocation.console.progress();
  const auto on_window = [&](const PerplexityResult& so_far, std::size_t windows) {
    if (!progress) return;
    progress({"perplexity of " + path, so_far.window_nll.size(), windows, "windows",
              fmt::format("ppl {:.4f}", std::exp(so_far.mean_nll()))});
  };
  auto result = EvaluatePerplexity(loaded->model, *stream, {options.ctx, options.samples}, on_window);
  if (!result) return Error{result.error().code, path + ": " + result.error().message};
  Evaluation out;
  out.all = Estimate(*result, false);
  out.half = Estimate(*result, true);
  out.result = std::move(*result);
  out.tokens = stream->tokens.size();
  out.tokenizer_sha256 = loaded->tokenizer.sha256();
  out.bos = loaded->tokenizer.adds_bos();
  return out;
}

nlohmann::json OrNull(const std::optional<double>& value) {
  return value ? nlohmann::json(*value) : nlohmann::json(nullptr);
}

std::string WithError(const PerplexityEstimate& estimate) {
  std::string text = fmt::format("{:.4f}", estimate.perplexity);
  return estimate.standard_error ? text + fmt::format(" ± {:.4f}", *estimate.standard_error) : text;
}

nlohmann::json ToJson(const std::string& path, const Evaluation& e) {
  const std::string protocol = fmt::format("ppl-{}", e.result.ctx);
  return {{"model", path},
          {"protocol", protocol},
          {"metric_version", kPerplexityMetricVersion},
          {"ppl", e.all.perplexity},
          {"ppl_standard_error", OrNull(e.all.standard_error)},
          {"half_protocol", protocol + "-half"},
          {"ppl_half", e.half.perplexity},
          {"ppl_half_standard_error", OrNull(e.half.standard_error)},
          {"bits_per_byte", e.result.bits_per_byte()},
          {"windows", e.result.window_nll.size()},
          {"windows_total", e.result.windows_total},
          {"tokens", e.tokens},
          {"scored_tokens", e.result.window_nll.size() * e.result.scored_per_window},
          {"bos", e.bos},
          {"tokenizer_sha256", e.tokenizer_sha256},
          {"window_nll", e.result.window_nll},
          {"window_nll_half", e.result.window_nll_half},
          {"seconds", e.result.seconds}};
}

void Print(const std::string& path, const EvalText& text, const Evaluation& e, Console& console) {
  const std::size_t windows = e.result.window_nll.size();
  const std::string protocol = fmt::format("ppl-{}", e.result.ctx);
  console.Result(fmt::format("{}", path));
  console.Result(fmt::format("  {:<13} {}", protocol, WithError(e.all)));
  console.Result(fmt::format("  {:<13} {}", protocol + "-half", WithError(e.half)));
  console.Result(fmt::format("  bits/byte     {:.4f}", e.result.bits_per_byte()));
  console.Result(fmt::format("  windows       {} of {}{}, {} tokens each, {} predictions scored", windows,
                             e.result.windows_total, windows < kFewWindows ? " (few)" : "", e.result.ctx,
                             windows * e.result.scored_per_window));
  console.Result(fmt::format("  text          {} (sha256 {}...)", text.name, text.sha256.substr(0, 12)));
  console.Result(fmt::format("  BOS           {}", e.bos ? "in front of every window" : "none"));
}

Status ReportDelta(const Evaluation& base, const Evaluation& other, nlohmann::json& document, Console& console) {
  if (base.tokenizer_sha256 != other.tokenizer_sha256) {
    return Error{ErrorCode::kInput, "the two models have different tokenizers; their windows cannot be paired"};
  }
  const auto counts = Counts(base.result, base.result.scored_per_window);
  const PairedDelta delta = EstimatePairedDelta({base.result.window_nll, counts}, {other.result.window_nll, counts});
  std::string text = fmt::format("paired delta    {:+.3f} %", delta.percent);
  document["delta_percent"] = delta.percent;
  if (delta.percent_95) {
    text += fmt::format("  (95 % interval {:+.3f} .. {:+.3f} %{})", delta.percent_95->low, delta.percent_95->high,
                        delta.distinguished() ? "" : "; not distinguished from the baseline");
    document["delta_percent_95"] = {delta.percent_95->low, delta.percent_95->high};
  }
  if (base.result.window_nll.size() < kFewWindows) {
    text += fmt::format("  (few: below {} windows, too few to rely on)", kFewWindows);
  }
  console.Result(text);
  return {};
}

Status RunPerplexity(const Options& options, Invocation& invocation) {
  Console& console = invocation.console;
  const auto text = FindText(options.text, console);
  if (!text) return text.error();
  std::optional<Evaluation> base;
  if (!options.baseline.empty()) {
    auto evaluated = Evaluate(options.baseline, *text, options, invocation);
    if (!evaluated) return evaluated.error();
    base = std::move(*evaluated);
    Print(options.baseline, *text, *base, console);
  }
  const auto evaluated = Evaluate(options.model, *text, options, invocation);
  if (!evaluated) return evaluated.error();
  Print(options.model, *text, *evaluated, console);
  nlohmann::json document = ToJson(options.model, *evaluated);
  document["text"] = {{"name", text->name}, {"sha256", text->sha256}, {"standard", text->is_standard}};
  document["command"] = invocation.command;
  if (base) {
    document["baseline"] = ToJson(options.baseline, *base);
    if (auto status = ReportDelta(*base, *evaluated, document, console); !status) return status;
  }
  console.Data(document);
  return {};
}

struct LogitsOptions {
  std::string model;
  std::string output;
  TextOptions text;
  std::size_t window = 0;
  std::size_t ctx = 512;
  BackendOptions backend;
};

// NumPy's .npy, version 1.0: magic, header length, a Python literal padded to 64 bytes, then the rows.
Status WriteNpy(const std::string& path, const std::vector<float>& values, std::size_t rows, std::size_t cols) {
  std::string header = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", rows, cols);
  header.append(63 - (10 + header.size()) % 64, ' ');
  header += '\n';
  auto file = AtomicFile::Create(path);
  if (!file) return file.error();
  std::string start("\x93NUMPY\x01\x00", 8);
  start += static_cast<char>(header.size() & 255);
  start += static_cast<char>(header.size() >> 8);
  if (auto status = file->Write(start + header); !status) return status;
  const std::span<const float> all(values);
  const std::span<const std::uint8_t> bytes(reinterpret_cast<const std::uint8_t*>(all.data()), all.size_bytes());
  if (auto status = file->Write(bytes); !status) return status;
  return file->Commit();
}

Status RunLogits(const LogitsOptions& options, Invocation& invocation) {
  Console& console = invocation.console;
  const auto text = FindText(options.text, console);
  if (!text) return text.error();
  auto backend = MakeBackend(options.backend, invocation.common.threads);
  if (!backend) return backend.error();
  auto loaded = LoadModelAndTokenizer(options.model, false, **backend, console);
  if (!loaded) return loaded.error();
  const auto stream = MakeTokenStream(loaded->tokenizer, text->text);
  if (!stream) return stream.error();
  auto logits = WindowLogits(loaded->model, *stream, options.ctx, options.window);
  if (!logits) return logits.error();
  const std::size_t vocab = loaded->model.config.vocab_size;
  if (auto status = WriteNpy(options.output, *logits, options.ctx, vocab); !status) return status;
  console.Result(fmt::format("{}: float32 [{}, {}], window {} of {}", options.output, options.ctx, vocab,
                             options.window, text->name));
  console.Data({{"file", options.output}, {"shape", {options.ctx, vocab}}, {"window", options.window}});
  return {};
}

void RegisterLogits(CLI::App& eval, Selection& selection) {
  auto options = std::make_shared<LogitsOptions>();
  CLI::App* app =
      AddVerb(eval, selection, "logits", "Logits of one window as a NumPy file, to compare with other programs",
              "metal-marlin eval logits ./SmolLM2-135M --window 0 -o logits.npy");
  app->add_option("model", options->model, "Hugging Face folder, GGUF file, or a folder made by quantize")->required();
  app->add_option("-o,--output", options->output, "File to write (.npy, float32)")->required();
  AddTextOptions(*app, options->text);
  app->add_option("--window", options->window, "Which window of the text, from 0")->check(CLI::Range(0, 1 << 30));
  app->add_option("--ctx", options->ctx, "Tokens per window")->check(CLI::Range(4, 131072));
  AddBackendOptions(*app, options->backend);
  app->callback([&selection, options] {
    selection.run = [options](Invocation& invocation) { return RunLogits(*options, invocation); };
  });
}

}  // namespace

void RegisterEval(CLI::App& parent, Selection& selection) {
  CLI::App* eval = parent.add_subcommand("eval", "Measure quality");
  eval->require_subcommand(1);
  RegisterLogits(*eval, selection);
  auto options = std::make_shared<Options>();
  CLI::App* app =
      AddVerb(*eval, selection, "perplexity", "Perplexity, with its standard error; paired with a baseline",
              "metal-marlin eval perplexity ./SmolLM2-135M-fp4-g128 --baseline ./SmolLM2-135M --samples 100");
  app->add_option("model", options->model, "Hugging Face folder, GGUF file, or a folder made by quantize")->required();
  app->add_option("--baseline", options->baseline, "A second model; the delta is paired window by window");
  AddTextOptions(*app, options->text);
  app->add_option("-s,--samples", options->samples, "Only the first windows; 0 = all")->check(CLI::Range(0, 1 << 30));
  app->add_option("--ctx", options->ctx, "Tokens per window")->check(CLI::Range(4, 131072));
  app->add_flag("--verify", options->verify, "Check every hash of a quantized folder first");
  AddBackendOptions(*app, options->backend);
  app->callback([&selection, options] {
    selection.run = [options](Invocation& invocation) { return RunPerplexity(*options, invocation); };
  });
}

}  // namespace marlin
