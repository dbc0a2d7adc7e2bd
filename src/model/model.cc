#include "model/model.h"

#include <utility>

#include "base/check.h"

namespace marlin {
std::size_t SessionBytes(const ModelConfig& config, std::size_t context, std::size_t max_batch) {
  const std::size_t cache = 2 * config.layers * context * config.kv_size();
  return (cache + max_batch * config.hidden_size + LayerScratch::Floats(config, max_batch)) * sizeof(float);
}

std::size_t Session::resident_bytes() const {
  std::size_t bytes =
      (hidden_->size() + LayerScratch::Floats(model_->config, max_batch_ * caches_.size())) * sizeof(float);
  for (const auto& cache : caches_) bytes += cache->resident_bytes();
  return bytes;
}

Result<Model> LoadModel(const Checkpoint& checkpoint, Backend& backend, Precision precision, const ProgressFn& progress,
                        const FormatMap& rounded) {
  auto config = ParseModelConfig(checkpoint.config);
  if (!config) return Error{config.error().code, checkpoint.path.string() + ": " + config.error().message};
  auto weights = LoadWeights(checkpoint, *config, backend, precision, progress, rounded);
  if (!weights) return weights.error();
  return Model{std::move(*config), std::move(*weights), &backend};
}

Result<Session> Session::Create(const Model& model, std::size_t context, std::size_t max_batch, std::size_t sequences) {
  const ModelConfig& config = model.config;
  Session session;
  session.model_ = &model;
  session.context_ = context;
  session.max_batch_ = max_batch;
  auto scratch = LayerScratch::Create(config, *model.backend, max_batch * sequences);
  if (!scratch) return scratch.error();
  session.scratch_ = std::move(*scratch);
  for (std::size_t s = 0; s < sequences; ++s) {
    auto cache = model.backend->AllocateCache({config.layers, context, config.kv_heads, config.head_dim});
    if (!cache) return cache.error();
    session.caches_.push_back(std::move(*cache));
  }
  auto hidden = model.backend->Allocate(max_batch * sequences * config.hidden_size);
  if (!hidden) return hidden.error();
  session.hidden_ = std::move(*hidden);
  return session;
}

MatrixView<const float> Session::Forward(std::span<const std::int32_t> tokens, const ModelObserver& observer) {
  return ForwardTogether(tokens, 1, observer);
}

MatrixView<const float> Session::ForwardTogether(std::span<const std::int32_t> tokens, std::size_t sequences,
                                                 const ModelObserver& observer) {
  const std::size_t rows = tokens.size();
  MARLIN_CHECK(sequences > 0 && sequences <= caches_.size() && rows > 0 && rows % sequences == 0,
               "tokens of some sequences");
  const std::size_t m = rows / sequences;
  MARLIN_CHECK(m <= max_batch_ && position_ + m <= context_, "tokens exceed the session");
  const ModelConfig& config = model_->config;
  Backend& backend = *model_->backend;
  const auto hidden = View(hidden_, rows, config.hidden_size);
  scratch_.PrepareRotation(config, backend, position_, m, sequences);
  backend.Embed(*model_->weights.embedding, tokens, hidden);
  const std::span<const std::unique_ptr<KvCache>> caches(caches_.data(), sequences);
  for (std::size_t i = 0; i < config.layers; ++i) {
    LinearObserver observe;
    if (observer) observe = [&](Slot first, MatrixView<const float> x) { observer(i, first, x); };
    RunLayer(config, backend, model_->weights.layers[i], scratch_, {hidden, caches, i, position_}, observe);
  }
  const auto normed = View(scratch_.normed, rows, config.hidden_size);
  backend.RmsNorm({hidden, model_->weights.final_norm->data(), config.norm_eps, normed});
  position_ += m;
  return normed;
}

void Session::Rewind(std::size_t position) {
  MARLIN_CHECK(position <= position_, "rewind forwards");
  position_ = position;
}

void Session::Logits(MatrixView<const float> hidden, MatrixView<float> logits) {
  const Weight* head = &model_->weights.head();
  const float* no_bias = nullptr;
  model_->backend->Matmul({&head, 1}, {&no_bias, 1}, hidden, {&logits, 1});
}

}  // namespace marlin
