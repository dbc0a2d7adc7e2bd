// Small random models and texts for the tests of evaluation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "eval/perplexity.h"
#include "formats/formats.h"
#include "kernels/backend.h"
#include "model/model.h"

namespace marlin {

// Sizes of the models and windows of these tests.
inline constexpr std::size_t kVocab = 40;
inline constexpr std::size_t kCtx = 16;

// A model of one layer; embedding and head are random, the block's weights random and small.
inline Model MakeModel(Backend& backend, std::size_t vocab, std::size_t hidden, double head_scale,
                       std::uint64_t seed = 1) {
  Rng rng(seed);
  const auto matrix = [&](std::size_t rows, std::size_t cols, double scale) {
    std::vector<float> values(rows * cols);
    for (float& v : values) v = static_cast<float>(rng.Normal() * scale);
    return std::move(*backend.Pack(Encode(*FindFormat("fp32"), {values.data(), rows, cols}).view()));
  };
  const auto ones = [&](std::size_t size) {
    auto buffer = std::move(*backend.Allocate(size));
    backend.Upload(std::vector<float>(size, 1.0f), buffer->data());
    return buffer;
  };
  Model model;
  ModelConfig& c = model.config;
  c.vocab_size = vocab;
  c.max_context = 4096;
  c.hidden_size = hidden;
  c.layers = 1;
  c.heads = c.kv_heads = 2;
  c.head_dim = hidden / 2;
  c.intermediate_size = 2 * hidden;
  c.norm_eps = 1e-5f;
  c.rope_frequencies.assign(hidden / 4, 0.1f);
  model.weights.embedding = matrix(vocab, hidden, 1);
  model.weights.own_head = matrix(vocab, hidden, head_scale);
  model.weights.final_norm = ones(hidden);
  Layer layer;
  layer.attention_norm = ones(hidden);
  layer.mlp_norm = ones(hidden);
  for (std::size_t s = 0; s < kSlots; ++s) {
    layer.linear[s].weight = matrix(kLinearSlots[s].rows(c), kLinearSlots[s].cols(c), 0.1);
  }
  model.weights.layers.push_back(std::move(layer));
  model.backend = &backend;
  return model;
}

inline TokenStream RandomStream(std::size_t count, std::size_t vocab) {
  Rng rng(2);
  TokenStream stream;
  for (std::size_t i = 0; i < count; ++i) {
    stream.tokens.push_back(static_cast<std::int32_t>(rng.Below(vocab)));
    stream.token_bytes.push_back(3);
  }
  return stream;
}

}  // namespace marlin
