#include "model/layer.h"

#include <array>
#include <cmath>
#include <initializer_list>
#include <vector>

#include "base/check.h"

namespace marlin {
namespace {

const float* BiasOf(const Linear& linear) { return linear.bias ? linear.bias->data() : nullptr; }

// A buffer of a scratch and its floats.
struct ScratchPart {
  std::unique_ptr<Buffer> LayerScratch::*buffer;
  std::size_t floats;
};

std::array<ScratchPart, 10> PartsFor(const ModelConfig& c, std::size_t m) {
  const std::size_t rotation = m * c.head_dim / 2;
  return {{{&LayerScratch::normed, m * c.hidden_size},
           {&LayerScratch::q, m * c.q_size()},
           {&LayerScratch::k, m * c.kv_size()},
           {&LayerScratch::v, m * c.kv_size()},
           {&LayerScratch::attention, m * c.q_size()},
           {&LayerScratch::gate, m * c.intermediate_size},
           {&LayerScratch::up, m * c.intermediate_size},
           {&LayerScratch::projected, m * c.hidden_size},
           {&LayerScratch::cos, rotation},
           {&LayerScratch::sin, rotation}}};
}

constexpr Slot kSharing[] = {kQ, kK, kV, kO, kGate, kUp, kDown};

}  // namespace

std::span<const Slot> SlotsThatShare(Slot first) {
  const std::span<const Slot> all(kSharing);
  switch (first) {
    case kQ:
      return all.subspan(0, 3);
    case kGate:
      return all.subspan(4, 2);
    default:
      return all.subspan(first, 1);
  }
}

std::size_t LayerScratch::Floats(const ModelConfig& config, std::size_t m) {
  std::size_t floats = 0;
  for (const ScratchPart& part : PartsFor(config, m)) floats += part.floats;
  return floats;
}

Result<LayerScratch> LayerScratch::Create(const ModelConfig& config, Backend& backend, std::size_t m) {
  LayerScratch scratch;
  for (const ScratchPart& part : PartsFor(config, m)) {
    auto buffer = backend.Allocate(part.floats);
    if (!buffer) return buffer.error();
    scratch.*part.buffer = std::move(*buffer);
  }
  return scratch;
}

// Angle of pair i at position p = p * frequency[i], in fp32 as models are trained.
void LayerScratch::PrepareRotation(const ModelConfig& config, Backend& backend, std::size_t position, std::size_t m,
                                   std::size_t sequences) {
  const std::vector<float>& frequencies = config.rope_frequencies;
  std::vector<float> cosines(m * frequencies.size());
  std::vector<float> sines(m * frequencies.size());
  for (std::size_t row = 0; row < m; ++row) {
    for (std::size_t i = 0; i < frequencies.size(); ++i) {
      const float angle = static_cast<float>(position + row) * frequencies[i];
      cosines[row * frequencies.size() + i] = static_cast<float>(std::cos(static_cast<double>(angle)));
      sines[row * frequencies.size() + i] = static_cast<float>(std::sin(static_cast<double>(angle)));
    }
  }
  for (std::size_t s = 0; s < sequences; ++s) {
    backend.Upload(cosines, cos->data() + s * cosines.size());
    backend.Upload(sines, sin->data() + s * sines.size());
  }
}

namespace {

// A layer at work: what its four parts share.
class LayerParts {
 public:
  LayerParts(const ModelConfig& config, Backend& backend, const Layer& layer, const LayerScratch& scratch,
             const LayerState& state, const LinearObserver& observer)
      : c_(config), backend_(backend), layer_(layer), scratch_(scratch), state_(state), observer_(observer) {}

  // What the part multiplies.
  MatrixView<const float> Input(Slot first) const {
    switch (first) {
      case kQ:
        return Normed(*layer_.attention_norm);
      case kO:
        return View(scratch_.attention, m_, c_.q_size());
      case kGate:
        return Normed(*layer_.mlp_norm);
      default:
        return View(scratch_.gate, m_, c_.intermediate_size);
    }
  }

  void Run(Slot first) const {
    if (observer_) observer_(first, Input(first));
    switch (first) {
      case kQ:
        return Attend();
      case kGate:
        return Gate();
      default:
        return Project(first);
    }
  }

 private:
  RmsNormArgs Norm(Buffer& weight) const {
    return {state_.hidden, weight.data(), c_.norm_eps, View(scratch_.normed, m_, c_.hidden_size)};
  }
  MatrixView<const float> Normed(Buffer& weight) const {
    backend_.RmsNorm(Norm(weight));
    return Norm(weight).y;
  }

  void Multiply(Slot first, std::initializer_list<MatrixView<float>> outs) const {
    const Weight* weights[3];
    const float* biases[3];
    std::size_t count = 0;
    for (const Slot slot : SlotsThatShare(first)) {
      weights[count] = layer_.linear[slot].weight.get();
      biases[count++] = BiasOf(layer_.linear[slot]);
    }
    MARLIN_CHECK(count == outs.size(), "one output for each layer that shares the input");
    const std::span<const Weight* const> used(weights, count);
    const std::span<const float* const> added(biases, count);
    const std::span<const MatrixView<float>> results(outs.begin(), outs.size());
    if (first == kQ) return backend_.NormMatmul(Norm(*layer_.attention_norm), used, added, results);
    if (first == kGate) return backend_.NormMatmul(Norm(*layer_.mlp_norm), used, added, results);
    backend_.Matmul(used, added, Input(first), results);
  }

  void Attend() const {
    const auto q = View(scratch_.q, m_, c_.q_size());
    const auto cos = View(scratch_.cos, m_, c_.head_dim / 2);
    const auto sin = View(scratch_.sin, m_, c_.head_dim / 2);
    const auto k = View(scratch_.k, m_, c_.kv_size());
    const auto v = View(scratch_.v, m_, c_.kv_size());
    Multiply(kQ, {q, k, v});
    backend_.Rope(q, c_.head_dim, cos, sin);
    backend_.Rope(k, c_.head_dim, cos, sin);
    const float scale = 1.0f / std::sqrt(static_cast<float>(c_.head_dim));
    const auto out = View(scratch_.attention, m_, c_.q_size());
    const std::size_t tokens = m_ / state_.caches.size();
    for (std::size_t s = 0; s < state_.caches.size(); ++s) {
      const std::size_t first = s * tokens;
      KvCache* const cache = state_.caches[s].get();
      backend_.Append(*cache, state_.index, state_.position, k.Rows(first, tokens), v.Rows(first, tokens));
      backend_.Attention({q.Rows(first, tokens), cache, state_.index, c_.heads, state_.position, scale},
                         out.Rows(first, tokens));
    }
  }

  void Gate() const {
    const auto gate = View(scratch_.gate, m_, c_.intermediate_size);
    const auto up = View(scratch_.up, m_, c_.intermediate_size);
    Multiply(kGate, {gate, up});
    backend_.GatedActivation(c_.activation, gate, up);
  }

  void Project(Slot first) const {
    const auto projected = View(scratch_.projected, m_, c_.hidden_size);
    Multiply(first, {projected});
    backend_.Add(state_.hidden, projected);
  }

  const ModelConfig& c_;
  Backend& backend_;
  const Layer& layer_;
  const LayerScratch& scratch_;
  const LayerState& state_;
  const LinearObserver& observer_;
  std::size_t m_ = state_.hidden.rows;
};

}  // namespace

void RunLayer(const ModelConfig& config, Backend& backend, const Layer& layer, const LayerScratch& scratch,
              const LayerState& state, const LinearObserver& observer) {
  const LayerParts parts(config, backend, layer, scratch, state, observer);
  for (const Slot first : kInputs) parts.Run(first);
}

Result<LayerRunner> LayerRunner::Create(const ModelConfig& config, Backend& backend, std::size_t tokens) {
  LayerRunner runner;
  runner.config_ = config;
  runner.backend_ = &backend;
  auto scratch = LayerScratch::Create(config, backend, tokens);
  if (!scratch) return scratch.error();
  runner.scratch_ = std::move(*scratch);
  auto hidden = backend.Allocate(tokens * config.hidden_size);
  if (!hidden) return hidden.error();
  runner.hidden_ = std::move(*hidden);
  auto cache = backend.AllocateCache({1, tokens, config.kv_heads, config.head_dim});
  if (!cache) return cache.error();
  runner.cache_ = std::move(*cache);
  runner.scratch_.PrepareRotation(config, backend, 0, tokens);
  return runner;
}

LayerState LayerRunner::State(std::size_t tokens) const {
  return {View(hidden_, tokens, config_.hidden_size), {&cache_, 1}, 0, 0};
}

void LayerRunner::Run(const Layer& layer, MatrixView<float> hidden, const LinearObserver& observer) {
  backend_->Upload({hidden.data, hidden.rows * hidden.cols}, hidden_->data());
  RunLayer(config_, *backend_, layer, scratch_, State(hidden.rows), observer);
  backend_->Download(hidden_->data(), {hidden.data, hidden.rows * hidden.cols});
}

// What the part reads.
void LayerRunner::Load(Slot first, const Midway& at) {
  backend_->Upload({at.hidden.data, at.hidden.rows * at.hidden.cols}, hidden_->data());
  if (first == kQ || first == kGate) return;
  Buffer& input = first == kO ? *scratch_.attention : *scratch_.gate;
  backend_->Upload({at.between.data, at.between.rows * at.between.cols}, input.data());
}

void LayerRunner::ShowInput(const Layer& layer, Slot first, const Midway& at, const LinearObserver& observer) {
  Load(first, at);
  const LayerState state = State(at.hidden.rows);
  observer(first, LayerParts(config_, *backend_, layer, scratch_, state, observer).Input(first));
}

void LayerRunner::RunPart(const Layer& layer, Slot first, const Midway& at) {
  Load(first, at);
  const LayerState state = State(at.hidden.rows);
  const LinearObserver nobody;
  LayerParts(config_, *backend_, layer, scratch_, state, nobody).Run(first);
  const bool ends = first == kO || first == kDown;
  const MatrixView<float>& out = ends ? at.hidden : at.between;
  Buffer& from = ends ? *hidden_ : first == kQ ? *scratch_.attention : *scratch_.gate;
  backend_->Download(from.data(), {out.data, out.rows * out.cols});
}

}  // namespace marlin
