// Small random models and texts for the tests of evaluation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "eval/perplexity.h"
#include "formats/formats.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "model/test_description.h"

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
    backend.Upload(std::vector<float>(size, 1.0f), View(buffer, 1, size));
    return buffer;
  };
  Model model;
  model.description = TestDescription({vocab, hidden, 1, 2, 2, hidden / 2, 2 * hidden, 4096, false});
  Description& d = model.description;
  d.ropes[0].scaling.frequencies.assign(hidden / 4, 0.1f);
  const auto load = [&](const Parts& parts, LoadedParts& loaded) {
    for (const Vector& vector : parts.vectors) loaded.vectors.push_back(ones(vector.size));
    for (const Matrix& m : parts.matrices) {
      const bool head = &m == &d.matrices[d.head];
      const bool embedding = &m == &d.matrices[d.embedding];
      loaded.matrices.push_back({matrix(m.rows, m.cols, head ? head_scale : embedding ? 1 : 0.1), nullptr});
    }
  };
  load(d, model.weights.around);
  load(d.blocks[0], model.weights.blocks.emplace_back());
  model.backend = &backend;
  return model;
}

// One channel of the final norm is a NaN.
inline void PoisonFinalNorm(Model& model) {
  const std::vector<float> nan = {std::numeric_limits<float>::quiet_NaN()};
  DeviceTensor channel = View(model.weights.around.vectors[0], 1, 1);
  channel.offset = 3;
  model.backend->Upload(nan, channel);
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
