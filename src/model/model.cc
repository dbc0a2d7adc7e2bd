#include "model/model.h"

#include <cmath>

#include "base/check.h"

namespace marlin {
namespace {

MatrixView<float> View(const std::unique_ptr<Buffer>& buffer, std::size_t rows, std::size_t cols) {
  return {buffer->data(), rows, cols};
}

// Floats of every scratch buffer, in the order of Session::Scratch.
struct ScratchSizes {
  std::size_t hidden, normed, q, attention, gate, up, projected, cos, sin;
  std::size_t total() const { return hidden + normed + q + attention + gate + up + projected + cos + sin; }
};

ScratchSizes SizesFor(const ModelConfig& c, std::size_t m) {
  const std::size_t rotation = m * c.head_dim / 2;
  return {m * c.hidden_size,       m * c.hidden_size, m * c.q_size(), m * c.q_size(), m * c.intermediate_size,
          m * c.intermediate_size, m * c.hidden_size, rotation,       rotation};
}

const float* BiasOf(const Linear& linear) { return linear.bias ? linear.bias->data() : nullptr; }

}  // namespace

std::size_t SessionBytes(const ModelConfig& config, std::size_t context, std::size_t max_batch) {
  const std::size_t cache = 2 * config.layers * context * config.kv_size();
  return (cache + SizesFor(config, max_batch).total()) * sizeof(float);
}

std::size_t Session::resident_bytes() const { return SessionBytes(model_->config, context_, max_batch_); }

Result<Model> LoadModel(const Checkpoint& checkpoint, Backend& backend, Precision precision,
                        const ProgressFn& progress) {
  auto config = ParseModelConfig(checkpoint.config);
  if (!config) return Error{config.error().code, checkpoint.path.string() + ": " + config.error().message};
  auto weights = LoadWeights(checkpoint, *config, backend, precision, progress);
  if (!weights) return weights.error();
  return Model{std::move(*config), std::move(*weights), &backend};
}

Result<Session> Session::Create(const Model& model, std::size_t context, std::size_t max_batch) {
  const ModelConfig& config = model.config;
  Session session;
  session.model_ = &model;
  session.context_ = context;
  session.max_batch_ = max_batch;
  const ScratchSizes sizes = SizesFor(config, max_batch);
  const std::size_t cache = config.layers * context * config.kv_size();
  Scratch& s = session.scratch_;
  struct Want {
    std::unique_ptr<Buffer>* buffer;
    std::size_t floats;
  };
  for (const Want& want : {Want{&session.keys_, cache}, Want{&session.values_, cache}, Want{&s.hidden, sizes.hidden},
                           Want{&s.normed, sizes.normed}, Want{&s.q, sizes.q}, Want{&s.attention, sizes.attention},
                           Want{&s.gate, sizes.gate}, Want{&s.up, sizes.up}, Want{&s.projected, sizes.projected},
                           Want{&s.cos, sizes.cos}, Want{&s.sin, sizes.sin}}) {
    auto buffer = model.backend->Allocate(want.floats);
    if (!buffer) return buffer.error();
    *want.buffer = std::move(*buffer);
  }
  return session;
}

// Angle of pair i at position p = p * frequency[i], in fp32 as models are trained.
void Session::PrepareRotation(std::size_t m) {
  const std::vector<float>& frequencies = model_->config.rope_frequencies;
  std::vector<float> cos(m * frequencies.size());
  std::vector<float> sin(m * frequencies.size());
  for (std::size_t row = 0; row < m; ++row) {
    for (std::size_t i = 0; i < frequencies.size(); ++i) {
      const float angle = static_cast<float>(position_ + row) * frequencies[i];
      cos[row * frequencies.size() + i] = static_cast<float>(std::cos(static_cast<double>(angle)));
      sin[row * frequencies.size() + i] = static_cast<float>(std::sin(static_cast<double>(angle)));
    }
  }
  model_->backend->Upload(cos, scratch_.cos->data());
  model_->backend->Upload(sin, scratch_.sin->data());
}

void Session::Block(const Layer& layer, std::size_t index, std::size_t m) {
  const ModelConfig& c = model_->config;
  Backend& backend = *model_->backend;
  const auto hidden = View(scratch_.hidden, m, c.hidden_size);
  const auto normed = View(scratch_.normed, m, c.hidden_size);
  const auto q = View(scratch_.q, m, c.q_size());
  const auto attention = View(scratch_.attention, m, c.q_size());
  const auto gate = View(scratch_.gate, m, c.intermediate_size);
  const auto up = View(scratch_.up, m, c.intermediate_size);
  const auto projected = View(scratch_.projected, m, c.hidden_size);
  const auto cos = View(scratch_.cos, m, c.head_dim / 2);
  const auto sin = View(scratch_.sin, m, c.head_dim / 2);
  const std::size_t cache = index * context_ * c.kv_size();
  const MatrixView<float> keys(keys_->data() + cache, position_ + m, c.kv_size());
  const MatrixView<float> values(values_->data() + cache, position_ + m, c.kv_size());
  const auto& linear = layer.linear;
  const auto multiply = [&](std::initializer_list<Slot> slots, MatrixView<const float> x,
                            std::initializer_list<MatrixView<float>> outs) {
    const Weight* weights[3];
    const float* biases[3];
    std::size_t count = 0;
    for (const Slot slot : slots) {
      weights[count] = linear[slot].weight.get();
      biases[count++] = BiasOf(linear[slot]);
    }
    backend.Matmul({weights, count}, {biases, count}, x, {outs.begin(), outs.size()});
  };

  backend.RmsNorm(hidden, layer.attention_norm->data(), c.norm_eps, normed);
  multiply({kQ, kK, kV}, normed, {q, keys.Rows(position_, m), values.Rows(position_, m)});
  backend.Rope(q, c.head_dim, cos, sin);
  backend.Rope(keys.Rows(position_, m), c.head_dim, cos, sin);
  const float scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
  backend.Attention({q, keys, values, c.heads, c.kv_heads, c.head_dim, position_, scale}, attention);
  multiply({kO}, attention, {projected});
  backend.Add(hidden, projected);

  backend.RmsNorm(hidden, layer.mlp_norm->data(), c.norm_eps, normed);
  multiply({kGate, kUp}, normed, {gate, up});
  backend.GatedActivation(c.activation, gate, up);
  multiply({kDown}, gate, {projected});
  backend.Add(hidden, projected);
}

MatrixView<const float> Session::Forward(std::span<const std::int32_t> tokens) {
  const std::size_t m = tokens.size();
  MARLIN_CHECK(m > 0 && m <= max_batch_ && position_ + m <= context_, "tokens exceed the session");
  Backend& backend = *model_->backend;
  const auto hidden = View(scratch_.hidden, m, model_->config.hidden_size);
  PrepareRotation(m);
  backend.Embed(*model_->weights.embedding, tokens, hidden);
  for (std::size_t i = 0; i < model_->weights.layers.size(); ++i) Block(model_->weights.layers[i], i, m);
  const auto normed = View(scratch_.normed, m, model_->config.hidden_size);
  backend.RmsNorm(hidden, model_->weights.final_norm->data(), model_->config.norm_eps, normed);
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
