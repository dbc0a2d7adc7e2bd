#include "bench/model_throughput.h"

#include <functional>

#include "base/rng.h"

namespace marlin {
namespace {

std::vector<std::int32_t> RandomTokens(std::size_t count, std::size_t vocab) {
  Rng rng(512);
  std::vector<std::int32_t> tokens(count);
  for (auto& token : tokens) token = static_cast<std::int32_t>(rng.Below(vocab));
  return tokens;
}

}  // namespace

Result<std::vector<ModelTiming>> TimeModels(std::span<const Model* const> models, const TimingPlan& plan,
                                            std::size_t tokens, const ProgressFn& progress) {
  std::vector<Session> sessions;
  std::vector<std::unique_ptr<Buffer>> logits;
  std::vector<std::function<void()>> prefill;
  std::vector<std::function<void()>> decode;
  sessions.reserve(models.size());
  for (const Model* model : models) {
    auto session = Session::Create(*model, tokens + 1, tokens);
    if (!session) return session.error();
    sessions.push_back(std::move(*session));
    auto buffer = model->backend->Allocate(model->config.vocab_size);
    if (!buffer) return buffer.error();
    logits.push_back(std::move(*buffer));
    const auto prompt = RandomTokens(tokens + 1, model->config.vocab_size);
    Session& s = sessions.back();
    const MatrixView<float> out(logits.back()->data(), 1, model->config.vocab_size);
    prefill.push_back([&s, out, prompt, tokens] {
      s.Reset();
      s.Logits(s.Forward({prompt.data(), tokens}).Rows(tokens - 1, 1), out);
    });
    decode.push_back([&s, out, prompt, tokens] {
      s.Rewind(tokens);
      s.Logits(s.Forward({prompt.data() + tokens, 1}), out);
    });
  }
  auto prefill_ns = TimeInterleaved(prefill, plan.prefill, "prefill", progress);
  if (!prefill_ns) return prefill_ns.error();
  auto decode_ns = TimeInterleaved(decode, plan.decode, "decode", progress);
  if (!decode_ns) return decode_ns.error();
  std::vector<ModelTiming> timings;
  for (std::size_t i = 0; i < models.size(); ++i) {
    timings.push_back({tokens, tokens, std::move((*prefill_ns)[i]), std::move((*decode_ns)[i])});
  }
  return timings;
}

}  // namespace marlin
