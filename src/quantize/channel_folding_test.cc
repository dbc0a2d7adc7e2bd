#include "quantize/channel_folding.h"

#include <gtest/gtest.h>

#include "io/test_files.h"
#include "quantize/test_checkpoints.h"

namespace marlin {
namespace {

// Inputs of very unequal channels, channel 3 silent.
InputStatistics RandomStatistics(std::size_t k, Rng& rng, std::vector<float>& x) {
  constexpr std::size_t kTokens = 150;
  std::vector<double> size(k);
  for (double& s : size) s = std::exp(1.5 * rng.Normal());
  x.resize(kTokens * k);
  for (std::size_t i = 0; i < x.size(); ++i) {
    x[i] = i % k == 3 ? 0.0f : static_cast<float>(rng.Normal() * size[i % k]);
  }
  ThreadPool pool(1);
  InputStatistics stats;
  EXPECT_TRUE(Accumulate(stats, {x.data(), kTokens, k}, pool, true).ok());
  return stats;
}

struct Inputs {
  LayerStatistics statistics;
  std::vector<float> x[std::size(kInputs)];
};

Inputs RandomInputs(const ModelConfig& config, std::uint64_t seed) {
  Rng rng(seed);
  Inputs inputs;
  for (std::size_t i = 0; i < std::size(kInputs); ++i) {
    inputs.statistics[i] = RandomStatistics(kLinearSlots[kInputs[i]].cols(config), rng, inputs.x[i]);
  }
  return inputs;
}

LayerTensors TensorsOf(const ModelConfig& config, const TensorValues& all, std::size_t layer) {
  LayerTensors tensors;
  for (const Norm norm : {kAttentionNorm, kMlpNorm}) tensors.norms[norm] = all.at(NormName(layer, norm));
  for (std::size_t s = 0; s < kSlots; ++s) {
    const std::string stem = LinearStem(layer, static_cast<Slot>(s));
    tensors.weights[s] = all.at(stem + ".weight");
    if (config.HasBias(layer, static_cast<Slot>(s))) tensors.biases[s] = all.at(stem + ".bias");
  }
  return tensors;
}

void PutBack(const LayerTensors& tensors, std::size_t layer, TensorValues& all) {
  for (const Norm norm : {kAttentionNorm, kMlpNorm}) all[NormName(layer, norm)] = tensors.norms[norm];
  for (std::size_t s = 0; s < kSlots; ++s) {
    const std::string stem = LinearStem(layer, static_cast<Slot>(s));
    all[stem + ".weight"] = tensors.weights[s];
    if (!tensors.biases[s].empty()) all[stem + ".bias"] = tensors.biases[s];
  }
}

LayerFormats MatricesIn(const char* matrices) {
  LayerFormats formats;
  for (auto& format : formats.norms) format = FindFormat("bf16");
  for (auto& format : formats.biases) format = FindFormat("bf16");
  for (auto& format : formats.weights) format = FindFormat(matrices);
  return formats;
}

class FoldChannels : public TemporaryFolder {
 protected:
  void Make(const TestShape& shape) {
    checkpoint_ = WriteTestCheckpoint(folder_, shape, 8);
    config_ = *ParseModelConfig(checkpoint_.config);
    values_ = AllValues(*SourceTensors::Create(checkpoint_, config_, std::nullopt, pool_));
  }
  // How column j of a matrix was multiplied: the same in every row, up to what rounding to fp32 does.
  static std::vector<double> Factors(const std::vector<float>& before, const std::vector<float>& after, std::size_t k) {
    std::vector<double> factors(k);
    for (std::size_t j = 0; j < k; ++j) {
      factors[j] = double{after[j]} / before[j];
      for (std::size_t i = j; i < before.size(); i += k) EXPECT_NEAR(after[i] / (factors[j] * before[i]), 1, 1e-6);
    }
    return factors;
  }

  ThreadPool pool_{2};
  Checkpoint checkpoint_;
  ModelConfig config_;
  TensorValues values_;
};

TEST_F(FoldChannels, TheModelComputesWhatItDid) {
  constexpr TestShape kShapes[] = {
      {},
      {.qwen = true, .tied = true, .hidden = 40, .head_dim = 10, .heads = 4, .kv_heads = 4},
      {.hidden = 32, .head_dim = 8, .heads = 8, .kv_heads = 1, .intermediate = 33}};
  for (const TestShape& shape : kShapes) {
    Make(shape);
    TensorValues folded = values_;
    for (std::size_t layer = 0; layer < config_.layers; ++layer) {
      LayerTensors tensors = TensorsOf(config_, values_, layer);
      LayerStatistics statistics = RandomInputs(config_, 31 + layer).statistics;
      const auto status = FoldChannelScaling(config_, MatricesIn("fp4-g32"), tensors, statistics, pool_);
      ASSERT_TRUE(status.ok()) << status.error().message;
      PutBack(tensors, layer, folded);
    }
    EXPECT_LT(RelativeDifference(LogitsOf(config_, values_), LogitsOf(config_, folded)), 1e-5) << shape.hidden;
    std::size_t changed = 0;
    for (const auto& [name, values] : folded) {
      const bool plain = name.ends_with("bias") || name.find("layernorm") != std::string::npos;
      const bool outside = !name.starts_with("model.layers");
      const bool kept = outside || (name.ends_with("bias") && name.find("v_proj") == std::string::npos &&
                                    name.find("up_proj") == std::string::npos);
      changed += values != values_.at(name) ? 1 : 0;
      EXPECT_TRUE(!kept || values == values_.at(name)) << name;
      for (const float value : plain ? values : std::vector<float>()) {
        EXPECT_EQ(Bf16ToFloat(FloatToBf16(value)), value) << name;
      }
    }
    EXPECT_GE(changed, 2u * 4) << "at least one input of every layer gains";
  }
}

TEST_F(FoldChannels, StatisticsAreThoseOfTheDividedInputs) {
  Make({});
  LayerTensors tensors = TensorsOf(config_, values_, 0);
  const LayerTensors before = tensors;
  Inputs inputs = RandomInputs(config_, 4);
  ASSERT_TRUE(FoldChannelScaling(config_, MatricesIn("fp4-g32"), tensors, inputs.statistics, pool_).ok());
  for (const Slot first : {kQ, kGate, kDown}) {
    const std::size_t i = InputIndex(first);
    const std::size_t k = kLinearSlots[first].cols(config_);
    const std::vector<double> factors = Factors(before.weights[first], tensors.weights[first], k);
    if (first != kGate) {
      EXPECT_NE(factors, std::vector<double>(k, 1.0));
    }
    for (std::size_t n = 0; n < inputs.x[i].size(); ++n) {
      inputs.x[i][n] = static_cast<float>(inputs.x[i][n] / factors[n % k]);
    }
    InputStatistics want;
    ASSERT_TRUE(Accumulate(want, {inputs.x[i].data(), inputs.x[i].size() / k, k}, pool_, true).ok());
    const InputStatistics& got = inputs.statistics[i];
    for (std::size_t j = 0; j < k; ++j) {
      EXPECT_NEAR(got.sum_squares[j], want.sum_squares[j], 1e-5 * want.sum_squares[j]);
      EXPECT_NEAR(got.sum_abs[j], want.sum_abs[j], 1e-5 * want.sum_abs[j]);
      EXPECT_NEAR(got.max_abs[j], want.max_abs[j], 1e-5 * want.max_abs[j]);
      for (std::size_t l = 0; l < k; ++l) {
        EXPECT_NEAR(got.gram[j * k + l], want.gram[j * k + l],
                    1e-5 * std::sqrt(want.sum_squares[j] * want.sum_squares[l]));
      }
    }
  }
}

TEST_F(FoldChannels, QueryHeadsOfOneKvHeadShareTheirFactors) {
  Make({});
  LayerTensors tensors = TensorsOf(config_, values_, 0);
  const LayerTensors before = tensors;
  LayerStatistics statistics = RandomInputs(config_, 4).statistics;
  ASSERT_TRUE(FoldChannelScaling(config_, MatricesIn("int4-g64"), tensors, statistics, pool_).ok());
  const std::vector<double> factors = Factors(before.weights[kO], tensors.weights[kO], config_.q_size());
  EXPECT_GT(*std::ranges::max_element(factors), *std::ranges::min_element(factors));
  for (std::size_t j = 0; j < factors.size(); ++j) {
    const std::size_t head = j / config_.head_dim / 3 * 3;  // 6 heads, 2 kv heads
    EXPECT_NEAR(factors[j] / factors[head * config_.head_dim + j % config_.head_dim], 1, 1e-6);
  }
}

TEST_F(FoldChannels, WhatStaysInSixteenBitsIsLeftAlone) {
  Make({});
  LayerFormats formats = MatricesIn("fp4-g32");
  formats.weights[kUp] = FindFormat("bf16");
  LayerTensors tensors = TensorsOf(config_, values_, 0);
  const LayerTensors before = tensors;
  LayerStatistics statistics = RandomInputs(config_, 4).statistics;
  ASSERT_TRUE(FoldChannelScaling(config_, formats, tensors, statistics, pool_).ok());
  for (const Slot slot : {kGate, kUp, kDown}) EXPECT_EQ(tensors.weights[slot], before.weights[slot]);
  EXPECT_EQ(tensors.norms[kMlpNorm], before.norms[kMlpNorm]);
  EXPECT_NE(tensors.weights[kQ], before.weights[kQ]);
}

// An input that no token reached, a norm of zeros, a norm whose quotient fp16 cannot hold.
TEST_F(FoldChannels, ChannelsWithoutASensibleFactorAreKept) {
  Make({});
  LayerFormats formats = MatricesIn("fp4-g32");
  for (auto& format : formats.norms) format = FindFormat("fp16");
  values_[NormName(0, kAttentionNorm)][5] = 0;
  values_[NormName(0, kAttentionNorm)][6] = 65504;
  values_[NormName(0, kAttentionNorm)][7] = 0x1p-24f;
  LayerTensors tensors = TensorsOf(config_, values_, 0);
  LayerStatistics statistics = RandomInputs(config_, 4).statistics;
  for (std::size_t j = 0; j < config_.q_size(); ++j) {
    statistics[InputIndex(kO)].sum_squares[j] = statistics[InputIndex(kO)].sum_abs[j] = 0;
  }
  const std::vector<float> values_before = tensors.weights[kO];
  ASSERT_TRUE(FoldChannelScaling(config_, formats, tensors, statistics, pool_).ok());
  EXPECT_EQ(tensors.weights[kO], values_before) << "nothing is known of its channels";
  TensorValues folded = values_;
  PutBack(tensors, 0, folded);
  for (const auto& [name, values] : folded) {
    for (const float value : values) EXPECT_TRUE(std::isfinite(value)) << name;
  }
  EXPECT_LT(RelativeDifference(LogitsOf(config_, values_), LogitsOf(config_, folded)), 1e-5);
}

TEST_F(FoldChannels, ThreadsChangeNoBitAndForeignStatisticsAreRefused) {
  Make({});
  LayerTensors two = TensorsOf(config_, values_, 0);
  LayerTensors five = two;
  LayerStatistics of_two = RandomInputs(config_, 4).statistics;
  LayerStatistics of_five = of_two;
  ThreadPool pool(5);
  ASSERT_TRUE(FoldChannelScaling(config_, MatricesIn("fp4-g32"), two, of_two, pool_).ok());
  ASSERT_TRUE(FoldChannelScaling(config_, MatricesIn("fp4-g32"), five, of_five, pool).ok());
  for (std::size_t s = 0; s < kSlots; ++s) EXPECT_EQ(two.weights[s], five.weights[s]);
  for (const Norm norm : {kAttentionNorm, kMlpNorm}) EXPECT_EQ(two.norms[norm], five.norms[norm]);
  EXPECT_EQ(of_two[0].gram, of_five[0].gram);

  std::swap(of_two[0], of_two[1]);
  const auto status = FoldChannelScaling(config_, MatricesIn("fp4-g32"), two, of_two, pool_);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kInput);
  EXPECT_NE(status.error().message.find("q_proj"), std::string::npos) << status.error().message;
}

}  // namespace
}  // namespace marlin
