#include "cli/evaluation.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/open_file.h"
#include "base/statistics.h"
#include "bench/weight_traffic.h"
#include "cli/memory.h"
#include "cli/model_names.h"
#include "cli/model_options.h"
#include "eval/divergence.h"
#include "eval/perplexity.h"
#include "files/checkpoint.h"

namespace marlin {
namespace {

// A model with the text in its tokens, and its scores.
struct Evaluation {
  PerplexityResult result;
  PerplexityEstimate all, half;
  std::size_t tokens = 0;
  std::string tokenizer_sha256;
  std::string kernels;
  bool bos = false;
  std::vector<std::string> accepted_unknown;
};

std::vector<double> Counts(const PerplexityResult& result, std::size_t per_window) {
  return std::vector<double>(result.window_nll.size(), static_cast<double>(per_window));
}

PerplexityEstimate Estimate(const PerplexityResult& result, bool half) {
  const auto counts = Counts(result, half ? result.scored_per_window_half : result.scored_per_window);
  return EstimatePerplexity({half ? result.window_nll_half : result.window_nll, counts});
}

Evaluation Describe(PerplexityResult result, const TokenStream& stream, const LoadedModel& loaded) {
  Evaluation out;
  out.all = Estimate(result, false);
  out.half = Estimate(result, true);
  out.result = std::move(result);
  out.tokens = stream.tokens.size();
  out.tokenizer_sha256 = loaded.tokenizer.sha256();
  out.kernels = DescribeKernels(loaded.model);
  out.bos = loaded.tokenizer.adds_bos();
  out.accepted_unknown = loaded.accepted_unknown;
  return out;
}

nlohmann::json OrNull(const std::optional<double>& value) {
  return value ? nlohmann::json(*value) : nlohmann::json(nullptr);
}

std::string WithError(const PerplexityEstimate& estimate) {
  std::string text = fmt::format("{:.4f}", estimate.perplexity);
  return estimate.standard_error ? text + fmt::format(" ± {:.4f}", *estimate.standard_error) : text;
}

nlohmann::json OrNull(const std::optional<Interval>& interval) {
  return interval ? nlohmann::json({interval->low, interval->high}) : nlohmann::json(nullptr);
}

nlohmann::json ToJson(const std::string& path, const Evaluation& e) {
  const std::string protocol = fmt::format("ppl-{}", e.result.ctx);
  nlohmann::json json{{"model", path},
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
                      {"kernels", e.kernels},
                      {"seconds", e.result.seconds}};
  if (!e.accepted_unknown.empty()) json["accepted_unknown"] = e.accepted_unknown;
  return json;
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
  console.Result(fmt::format("  kernels       {}", e.kernels));
  console.Result(fmt::format("  BOS           {}", e.bos ? "in front of every window" : "none"));
  if (!e.accepted_unknown.empty()) {
    console.Result(fmt::format("  without       {} (--accept-unknown)", fmt::join(e.accepted_unknown, ", ")));
  }
}

std::string NoteOfFew(std::size_t windows) {
  return windows < kFewWindows
             ? fmt::format("  (few: with fewer than {} windows the error itself is uncertain)", kFewWindows)
             : "";
}

void ReportDelta(const Evaluation& base, const Evaluation& other, nlohmann::json& document, Console& console) {
  const auto counts = Counts(base.result, base.result.scored_per_window);
  const PairedDelta delta = EstimatePairedDelta({base.result.window_nll, counts}, {other.result.window_nll, counts});
  std::string text = fmt::format("paired delta    {:+.3f} %", delta.percent);
  document["delta_percent"] = delta.percent;
  if (delta.percent_95) {
    text += fmt::format("  (95 % interval {:+.3f} .. {:+.3f} %{})", delta.percent_95->low, delta.percent_95->high,
                        delta.distinguished() ? "" : "; not distinguished from the baseline");
    document["delta_percent_95"] = {delta.percent_95->low, delta.percent_95->high};
  }
  console.Result(text + NoteOfFew(base.result.window_nll.size()));
}

nlohmann::json ToJson(const DivergenceResult& result, const DivergenceSummary& summary) {
  return {{"protocol", fmt::format("kl-{}", result.other.ctx)},
          {"metric_version", kDivergenceMetricVersion},
          {"kl", summary.kl.mean},
          {"kl_95", OrNull(summary.kl.mean_95)},
          {"kl_median", summary.median},
          {"kl_p90", summary.p90},
          {"kl_p99", summary.p99},
          {"kl_p999", summary.p999},
          {"kl_max", summary.max},
          {"same_top", summary.same_top.mean},
          {"same_top_95", OrNull(summary.same_top.mean_95)},
          {"probability_change_mean", summary.change_mean},
          {"probability_change_rms", summary.change_rms},
          {"window_kl", result.window_kl},
          {"window_same_top", result.window_same_top},
          {"kl_histogram",
           {{"low", summary.histogram.low},
            {"per_decade", summary.histogram.per_decade},
            {"counts", summary.histogram.counts}}}};
}

std::string WithInterval(const MeanEstimate& estimate, double factor, const char* unit) {
  std::string text = fmt::format("{:.4g} {}", factor * estimate.mean, unit);
  if (!estimate.mean_95) return text;
  return text + fmt::format("  (95 % interval {:.4g} .. {:.4g})", factor * estimate.mean_95->low,
                            factor * estimate.mean_95->high);
}

void Print(const DivergenceSummary& summary, std::size_t windows, Console& console) {
  console.Result("divergence from the baseline, per predicted token" + NoteOfFew(windows));
  console.Result(fmt::format("  mean KL       {}", WithInterval(summary.kl, 1, "nats")));
  console.Result(
      fmt::format("  median {:.3g}, 90 % below {:.3g}, 99 % below {:.3g}, 99.9 % below {:.3g}, largest {:.3g}",
                  summary.median, summary.p90, summary.p99, summary.p999, summary.max));
  console.Result(fmt::format("  same top-1    {}", WithInterval(summary.same_top, 100, "%")));
  console.Result(fmt::format("  correct token probability changed by {:+.3f} points on average, {:.3f} RMS",
                             100 * summary.change_mean, 100 * summary.change_rms));
}

// Two models that read the same text through one backend.
struct Pair {
  std::unique_ptr<Backend> backend;
  LoadedModel base, other;
  TokenStream stream;
};

Result<Pair> LoadPair(const EvaluationOptions& options, const EvalText& text, Invocation& invocation) {
  auto backend = MakeBackend(options.backend, invocation.common.threads);
  if (!backend) return backend.error();
  auto base =
      LoadModelAndTokenizer(options.baseline, options.accept_unknown, options.verify, **backend, invocation.console);
  if (!base) return base.error();
  auto other =
      LoadModelAndTokenizer(options.model, options.accept_unknown, options.verify, **backend, invocation.console);
  if (!other) return other.error();
  WarnOfUnusedChoice(std::array<const Model*, 1>{&other->model}, options.backend, invocation.console);
  const std::string want = base->tokenizer.sha256();
  const std::string got = other->tokenizer.sha256();
  if (want != got) {
    return Error{
        ErrorCode::kInput,
        fmt::format("{} and {} have different tokenizers (sha256 {}... and {}...): their predictions cannot be "
                    "compared",
                    options.model, options.baseline, got.substr(0, 12), want.substr(0, 12))};
  }
  auto stream = MakeTokenStream(other->tokenizer, text.text);
  if (!stream) return Error{stream.error().code, text.name + ": " + stream.error().message};
  return Pair{std::move(*backend), std::move(*base), std::move(*other), std::move(*stream)};
}

// `model` against the pair's baseline. Names both in errors.
Result<DivergenceResult> Diverge(const Pair& pair, const Model& model, const std::string& stage, std::size_t samples,
                                 const EvaluationOptions& options, Console& console) {
  const ProgressFn progress = console.progress();
  const auto on_window = [&](const DivergenceResult& so_far, std::size_t windows) {
    if (!progress) return;
    progress({stage, so_far.window_kl.size(), windows, "windows",
              fmt::format("ppl {:.4f}, KL {:.4g}", std::exp(so_far.other.mean_nll()), so_far.mean_kl())});
  };
  auto session = Session::Create(pair.base.model, options.ctx, options.ctx);
  if (!session) return session.error();
  return EvaluateDivergence(model, RunningBaseline(pair.base.model, *session), pair.stream, {options.ctx, samples},
                            on_window);
}

// The baseline against itself on other kernels, and whether `kl` is below that.
Status ReportFloor(const Pair& pair, double kl, const EvaluationOptions& options, Invocation& invocation,
                   nlohmann::json& document) {
  const BackendOptions others = OtherKernels(options.backend);
  auto backend = MakeBackend(others, invocation.common.threads);
  if (!backend) return backend.error();
  const auto loaded =
      LoadModelAndTokenizer(options.baseline, options.accept_unknown, false, **backend, invocation.console);
  if (!loaded) return loaded.error();
  std::size_t windows = options.floor_windows;
  if (options.samples > 0) windows = std::min(windows, options.samples);
  const auto result = Diverge(pair, loaded->model, "noise floor", windows, options, invocation.console);
  if (!result) return Error{result.error().code, options.baseline + ": " + result.error().message};
  const DivergenceSummary summary = Summarize(*result);
  const bool below = kl <= summary.kl.mean;
  document["noise_floor"] = {{"kernels", {BackendLabel(options.backend), BackendLabel(others)}},
                             {"windows", result->window_kl.size()},
                             {"kl", summary.kl.mean},
                             {"kl_max", summary.max},
                             {"same_top", summary.same_top.mean}};
  document["indistinguishable"] = below;
  invocation.console.Result(fmt::format("  noise floor   {:.4g} nats: the baseline by {} against itself by {}, {}{}",
                                        summary.kl.mean, BackendLabel(options.backend), BackendLabel(others),
                                        CountText(result->window_kl.size(), "window"),
                                        below ? "; the model is indistinguishable from the baseline" : ""));
  return {};
}

// The figures of a model calibrated on the same text are too good.
void WarnOfCalibration(const LoadedModel& loaded, const std::string& path, const EvalText& text, Console& console) {
  if (!loaded.made_by || loaded.made_by->text_sha256 != text.sha256) return;
  console.Warn(fmt::format("{} was calibrated on this text ({}); its figures here are too good", path,
                           loaded.made_by->text_name));
}

// Before a text is downloaded.
Status CheckIsThere(const std::string& model) {
  const auto named = FindModel(model);
  if (!named) return named.error();
  if (const auto kind = KindOf(named->path); kind && *kind != PathKind::kNothing) return {};
  const auto checkpoint = OpenCheckpoint(named->path);
  if (!checkpoint) return checkpoint.error();
  return {};
}

bool IsSameModel(const std::string& a, const std::string& b) {
  const auto first = FindModel(a);
  const auto second = FindModel(b);
  std::error_code code;
  return first && second && std::filesystem::equivalent(first->path, second->path, code);
}

nlohmann::json ToJson(const EvalText& text) {
  return {{"name", text.name}, {"sha256", text.sha256}, {"standard", text.is_standard}};
}

}  // namespace

void AddEvaluationOptions(Verb& verb, EvaluationOptions& options) {
  verb.Add("model", options.model, kAnyModelWords).Required();
  AddTextOptions(verb, options.text);
  verb.Add("-s,--samples", options.samples, "Number of windows to evaluate, from the start of the text; 0 = all")
      .Between(0, 1 << 30);
  verb.Add("--ctx", options.ctx, "Tokens per window").Between(4, 131072);
  verb.AddFlag("--verify", options.verify, "Check every hash of a quantized folder first");
  AddAcceptUnknown(verb, options.accept_unknown);
  AddBackendOptions(verb, options.backend);
}

Status RunPerplexity(const EvaluationOptions& options, Invocation& invocation) {
  Console& console = invocation.console;
  if (auto status = CheckIsThere(options.model); !status) return status;
  const auto text = FindText(options.text, console);
  if (!text) return text.error();
  auto backend = MakeBackend(options.backend, invocation.common.threads);
  if (!backend) return backend.error();
  const auto loaded = LoadModelAndTokenizer(options.model, options.accept_unknown, options.verify, **backend, console);
  if (!loaded) return loaded.error();
  WarnOfUnusedChoice(std::array<const Model*, 1>{&loaded->model}, options.backend, console);
  WarnOfCalibration(*loaded, options.model, *text, console);
  const auto stream = MakeTokenStream(loaded->tokenizer, text->text);
  if (!stream) return Error{stream.error().code, text->name + ": " + stream.error().message};
  const ProgressFn progress = console.progress();
  const auto on_window = [&](const PerplexityResult& so_far, std::size_t windows) {
    if (!progress) return;
    progress({"perplexity of " + options.model, so_far.window_nll.size(), windows, "windows",
              fmt::format("ppl {:.4f}", std::exp(so_far.mean_nll()))});
  };
  auto result = EvaluatePerplexity(loaded->model, *stream, {options.ctx, options.samples}, on_window);
  if (!result) return Error{result.error().code, options.model + ": " + result.error().message};
  const Evaluation evaluation = Describe(std::move(*result), *stream, *loaded);
  Print(options.model, *text, evaluation, console);
  nlohmann::json document = ToJson(options.model, evaluation);
  document["text"] = ToJson(*text);
  document["command"] = invocation.command;
  console.Data(document);
  return {};
}

Status RunAgainstBaseline(const EvaluationOptions& options, Invocation& invocation) {
  Console& console = invocation.console;
  if (IsSameModel(options.model, options.baseline)) {
    console.Warn(fmt::format("{} is compared with itself; its difference is 0 by definition", options.model));
  }
  for (const std::string& model : {options.model, options.baseline}) {
    if (auto status = CheckIsThere(model); !status) return status;
  }
  const auto text = FindText(options.text, console);
  if (!text) return text.error();
  auto pair = LoadPair(options, *text, invocation);
  if (!pair) return pair.error();
  WarnOfCalibration(pair->other, options.model, *text, console);
  const auto result =
      Diverge(*pair, pair->other.model, "divergence of " + options.model, options.samples, options, console);
  if (!result) {
    return Error{result.error().code,
                 fmt::format("{} against {}: {}", options.model, options.baseline, result.error().message)};
  }
  const Evaluation base = Describe(result->base, pair->stream, pair->base);
  const Evaluation other = Describe(result->other, pair->stream, pair->other);
  const DivergenceSummary summary = Summarize(*result);
  Print(options.baseline, *text, base, console);
  Print(options.model, *text, other, console);
  nlohmann::json document = ToJson(options.model, other);
  document["text"] = ToJson(*text);
  document["command"] = invocation.command;
  document["baseline"] = ToJson(options.baseline, base);
  document["divergence"] = ToJson(*result, summary);
  ReportDelta(base, other, document, console);
  Print(summary, result->window_kl.size(), console);
  if (options.floor_windows > 0) {
    if (auto status = ReportFloor(*pair, summary.kl.mean, options, invocation, document); !status) return status;
  }
  console.Data(document);
  return {};
}

}  // namespace marlin
