#include "model/layer.h"

#include <cmath>
#include <initializer_list>
#include <vector>

#include "base/check.h"

namespace marlin {
namespace {

MatrixView<float> View(const std::unique_ptr<Buffer>& buffer, std::size_t rows, std::size_t cols) {
  return {buffer->data(), rows, cols};
}

const float* BiasOf(const Linear& linear) { return linear.bias ? linear.bias->data() : nullptr; }

// Floats of every buffer of a scratch, in its order.
struct ScratchSizes {
  std::size_t normed, q, attention, gate, up, projected, cos, sin;
};

ScratchSizes SizesFor(const ModelConfig& c, std::size_t m) {
  const std::size_t rotation = m * c.head_dim / 2;
  return {m * c.hidden_size,       m * c.q_size(),    m * c.q_size(), m * c.intermediate_size,
          m * c.intermediate_size, m * c.hidden_size, rotation,       rotation};
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
  const ScratchSizes s = SizesFor(config, m);
  return s.normed + s.q + s.attention + s.gate + s.up + s.projected + s.cos + s.sin;
}

Result<LayerScratch> LayerScratch::Create(const ModelConfig& config, Backend& backend, std::size_t m) {
  const ScratchSizes sizes = SizesFor(config, m);
  LayerScratch s;
  struct Want {
    std::unique_ptr<Buffer>* buffer;
    std::size_t floats;
  };
  for (const Want& want : {Want{&s.normed, sizes.normed}, Want{&s.q, sizes.q}, Want{&s.attention, sizes.attention},
                           Want{&s.gate, sizes.gate}, Want{&s.up, sizes.up}, Want{&s.projected, sizes.projected},
                           Want{&s.cos, sizes.cos}, Want{&s.sin, sizes.sin}}) {
    auto buffer = backend.Allocate(want.floats);
    if (!buffer) return buffer.error();
    *want.buffer = std::move(*buffer);
  }
  return s;
}

// Angle of pair i at position p = p * frequency[i], in fp32 as models are trained.
void LayerScratch::PrepareRotation(const ModelConfig& config, Backend& backend, std::size_t position, std::size_t m) {
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
  backend.Upload(cosines, cos->data());
  backend.Upload(sines, sin->data());
}

void RunLayer(const ModelConfig& c, Backend& backend, const Layer& layer, const LayerScratch& scratch,
              const LayerState& state, const LinearObserver& observer) {
  const std::size_t m = state.hidden.rows;
  const auto normed = View(scratch.normed, m, c.hidden_size);
  const auto q = View(scratch.q, m, c.q_size());
  const auto attention = View(scratch.attention, m, c.q_size());
  const auto gate = View(scratch.gate, m, c.intermediate_size);
  const auto up = View(scratch.up, m, c.intermediate_size);
  const auto projected = View(scratch.projected, m, c.hidden_size);
  const auto cos = View(scratch.cos, m, c.head_dim / 2);
  const auto sin = View(scratch.sin, m, c.head_dim / 2);
  const auto new_keys = state.keys.Rows(state.position, m);
  const auto new_values = state.values.Rows(state.position, m);
  const auto multiply = [&](Slot first, MatrixView<const float> x, std::initializer_list<MatrixView<float>> outs) {
    if (observer) observer(first, x);
    const Weight* weights[3];
    const float* biases[3];
    std::size_t count = 0;
    for (const Slot slot : SlotsThatShare(first)) {
      weights[count] = layer.linear[slot].weight.get();
      biases[count++] = BiasOf(layer.linear[slot]);
    }
    MARLIN_CHECK(count == outs.size(), "one output for each layer that shares the input");
    backend.Matmul({weights, count}, {biases, count}, x, {outs.begin(), outs.size()});
  };

  backend.RmsNorm(state.hidden, layer.attention_norm->data(), c.norm_eps, normed);
  multiply(kQ, normed, {q, new_keys, new_values});
  backend.Rope(q, c.head_dim, cos, sin);
  backend.Rope(new_keys, c.head_dim, cos, sin);
  const float scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
  backend.Attention({q, state.keys, state.values, c.heads, c.kv_heads, c.head_dim, state.position, scale}, attention);
  multiply(kO, attention, {projected});
  backend.Add(state.hidden, projected);

  backend.RmsNorm(state.hidden, layer.mlp_norm->data(), c.norm_eps, normed);
  multiply(kGate, normed, {gate, up});
  backend.GatedActivation(c.activation, gate, up);
  multiply(kDown, gate, {projected});
  backend.Add(state.hidden, projected);
}

Result<LayerRunner> LayerRunner::Create(const ModelConfig& config, Backend& backend, std::size_t tokens) {
  LayerRunner runner;
  runner.config_ = config;
  runner.backend_ = &backend;
  auto scratch = LayerScratch::Create(config, backend, tokens);
  if (!scratch) return scratch.error();
  runner.scratch_ = std::move(*scratch);
  for (auto [buffer, floats] :
       {std::pair{&runner.hidden_, tokens * config.hidden_size}, std::pair{&runner.keys_, tokens * config.kv_size()},
        std::pair{&runner.values_, tokens * config.kv_size()}}) {
    auto allocated = backend.Allocate(floats);
    if (!allocated) return allocated.error();
    *buffer = std::move(*allocated);
  }
  runner.scratch_.PrepareRotation(config, backend, 0, tokens);
  return runner;
}

void LayerRunner::Run(const Layer& layer, MatrixView<float> hidden, const LinearObserver& observer) {
  const std::size_t m = hidden.rows;
  backend_->Upload({hidden.data, m * hidden.cols}, hidden_->data());
  RunLayer(config_, *backend_, layer, scratch_,
           {View(hidden_, m, hidden.cols), View(keys_, m, config_.kv_size()), View(values_, m, config_.kv_size()), 0},
           observer);
  backend_->Download(hidden_->data(), {hidden.data, m * hidden.cols});
}

}  // namespace marlin
