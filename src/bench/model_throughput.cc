#include "bench/model_throughput.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "base/rng.h"
#include "base/statistics.h"

namespace marlin {
namespace {

std::vector<std::int32_t> RandomTokens(std::size_t count, std::size_t vocab) {
  Rng rng(512);
  std::vector<std::int32_t> tokens(count);
  for (auto& token : tokens) token = static_cast<std::int32_t>(rng.Below(vocab));
  return tokens;
}

// A model with what one run of it needs.
struct RunSession {
  const Model* model;
  Session session;
  std::unique_ptr<Buffer> logits;
  std::vector<std::int32_t> tokens;

  // Random tokens for the whole context.
  static Result<RunSession> Create(const Model& model, std::size_t context, std::size_t max_batch) {
    auto session = Session::Create(model, context, max_batch);
    if (!session) return session.error();
    auto logits = model.backend->Allocate(model.description.vocab_size);
    if (!logits) return logits.error();
    return RunSession{&model, std::move(*session), std::move(*logits),
                      RandomTokens(context, model.description.vocab_size)};
  }

  // Each step of a generation waits for its logits, as it does where they choose the next token.
  Status Logits(const DeviceTensor& hidden) {
    model->Logits(hidden.Rows(hidden.rows - 1, 1), View(logits, 1, model->description.vocab_size));
    return model->backend->Synchronize();
  }
  Status Prompt(std::size_t count) {
    session.Reset();
    return Logits(session.Forward({tokens.data(), count}));
  }
  // The token at `position`, after those before it.
  Status Step(std::size_t position) {
    session.Rewind(position);
    return Logits(session.Forward({tokens.data() + position, 1}));
  }
  Status Generate(std::size_t count) {
    session.Reset();
    for (std::size_t i = 0; i < count; ++i) {
      if (auto status = Step(i); !status) return status;
    }
    return {};
  }
};

}  // namespace

Result<std::vector<ModelTiming>> TimeModels(std::span<const Model* const> models, const TimingPlan& plan,
                                            std::size_t tokens, const ProgressFn& progress) {
  std::vector<RunSession> sessions;
  std::vector<std::function<Status()>> prefill;
  std::vector<std::function<Status()>> decode;
  sessions.reserve(models.size());
  for (const Model* model : models) {
    auto session = RunSession::Create(*model, tokens + 1, tokens);
    if (!session) return session.error();
    RunSession& s = sessions.emplace_back(std::move(*session));
    prefill.push_back([&s, tokens] { return s.Prompt(tokens); });
    decode.push_back([&s, tokens] { return s.Step(tokens); });
  }
  auto prefill_ns = TimeInterleaved(prefill, plan.prefill, "prefill", progress);
  if (!prefill_ns) return prefill_ns.error();
  auto decode_ns = TimeInterleaved(decode, plan.decode, "decode", progress);
  if (!decode_ns) return decode_ns.error();
  std::vector<ModelTiming> timings;
  for (std::size_t i = 0; i < models.size(); ++i) {
    timings.push_back({tokens, tokens, std::move((*prefill_ns)[i]), std::move((*decode_ns)[i]),
                       std::string(sessions[i].session.step_kernel())});
  }
  return timings;
}

Result<AllRunTimes> TimeRuns(std::span<const Model* const> models, const RunLengths& lengths,
                             const std::function<void()>& beside, const ProgressFn& progress) {
  const std::size_t context = std::max(lengths.prompt, lengths.generate);
  std::vector<RunSession> sessions;
  sessions.reserve(models.size());
  for (const Model* model : models) {
    auto session = RunSession::Create(*model, context, std::max<std::size_t>(lengths.prompt, 1));
    if (!session) return session.error();
    sessions.push_back(std::move(*session));
  }
  AllRunTimes times{std::vector<RunTimes>(models.size()), {}};
  const auto time = [&](std::size_t tokens, const char* test, Status (RunSession::*run)(std::size_t),
                        std::vector<double> RunTimes::*samples, const std::function<void()>& extra) -> Status {
    if (tokens == 0) return {};
    std::vector<std::function<Status()>> runs;
    for (RunSession& session : sessions) runs.push_back([&session, run, tokens] { return (session.*run)(tokens); });
    if (extra) {
      runs.push_back([&extra]() -> Status {
        extra();
        return {};
      });
    }
    const std::string name = fmt::format("{}{}", test, tokens);
    auto all = TimeInterleaved(runs, {"runs", 1, lengths.repetitions}, name, progress);
    if (!all) return all.error();
    for (std::size_t i = 0; i < models.size(); ++i) times.models[i].*samples = std::move((*all)[i]);
    if (extra) times.beside_ns = std::move(all->back());
    return {};
  };
  if (auto status = time(lengths.prompt, "pp", &RunSession::Prompt, &RunTimes::prompt_ns, {}); !status) {
    return status.error();
  }
  if (auto status = time(lengths.generate, "tg", &RunSession::Generate, &RunTimes::generate_ns, beside); !status) {
    return status.error();
  }
  for (std::size_t i = 0; i < models.size(); ++i) times.models[i].step_kernel = sessions[i].session.step_kernel();
  return times;
}

TokenRate RateOf(std::size_t tokens, std::span<const double> samples_ns) {
  std::vector<double> rates;
  for (const double ns : samples_ns) rates.push_back(1e9 * static_cast<double>(tokens) / ns);
  const MeanDeviation mean = MeanAndDeviation(rates);
  const std::optional<double> deviation = rates.size() > 1 ? std::optional(mean.deviation) : std::nullopt;
  return {mean.mean, deviation, Quantile(rates, 0.5)};
}

}  // namespace marlin
