// Layers for the tests of methods.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/rng.h"
#include "formats/encoded_matrix.h"
#include "quantize/statistics.h"
#include "quantize/test_statistics.h"

namespace marlin::test {

// A layer with correlated inputs of very different sizes.
struct Layer {
  std::size_t n;
  std::size_t k;
  std::vector<float> weights;
  std::vector<float> inputs;
  InputStatistics stats;
  MatrixView<const float> view() const { return {weights.data(), n, k}; }
};

inline Layer RandomLayer(std::size_t n, std::size_t k, std::size_t tokens, std::uint64_t seed, bool dead = false) {
  Rng rng(seed);
  Layer layer{n, k, std::vector<float>(n * k), std::vector<float>(tokens * k), {}};
  for (float& w : layer.weights) w = static_cast<float>(rng.Normal() * 0.05);
  constexpr std::size_t kCauses = 12;
  std::vector<double> mix(kCauses * k);
  std::vector<double> size(k);
  for (double& m : mix) m = rng.Normal();
  for (double& s : size) s = std::exp(0.7 * rng.Normal());
  for (std::size_t t = 0; t < tokens; ++t) {
    double causes[kCauses];
    for (double& c : causes) c = rng.Normal();
    for (std::size_t j = 0; j < k; ++j) {
      double x = rng.Normal();
      for (std::size_t c = 0; c < kCauses; ++c) x += 0.5 * mix[c * k + j] * causes[c];
      layer.inputs[t * k + j] = static_cast<float>(dead && j % 10 == 3 ? 0 : x * size[j]);
    }
  }
  ThreadPool pool(2);
  EXPECT_TRUE(Accumulate(layer.stats, {layer.inputs.data(), tokens, k}, pool, true).ok());
  return layer;
}

inline std::vector<std::uint32_t> CodesOf(const EncodedMatrix& matrix) {
  std::vector<std::uint32_t> codes(matrix.rows * matrix.cols);
  for (std::size_t r = 0; r < matrix.rows; ++r) {
    GetCodes(matrix.view(), r, 0, std::span(codes).subspan(r * matrix.cols, matrix.cols));
  }
  return codes;
}

}  // namespace marlin::test
