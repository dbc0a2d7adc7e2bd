#include "quantize/channel_folding.h"

#include <gtest/gtest.h>

#include "files/test_files.h"
#include "model/test_description.h"
#include "quantize/test_checkpoints.h"
#include "quantize/test_statistics.h"

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
  BlockStatistics statistics;
  std::vector<std::vector<float>> x;
};

Inputs RandomInputs(const Block& block, std::uint64_t seed) {
  Rng rng(seed);
  Inputs inputs;
  for (const Input& input : block.inputs) {
    inputs.statistics.push_back(RandomStatistics(block.FirstOf(input).cols, rng, inputs.x.emplace_back()));
  }
  return inputs;
}

BlockTensors TensorsOf(const Description& d, const TensorValues& all, std::size_t layer) {
  const Block& block = d.blocks[layer];
  BlockTensors tensors(block);
  for (std::size_t v = 0; v < block.vectors.size(); ++v) tensors.vectors[v] = all.at(d.NameOf(block.vectors[v].source));
  for (std::size_t m = 0; m < block.matrices.size(); ++m) {
    tensors.matrices[m] = all.at(d.NameOf(block.matrices[m].source));
    if (block.matrices[m].bias) tensors.biases[m] = all.at(d.NameOf(*block.matrices[m].bias));
  }
  return tensors;
}

void PutBack(const Description& d, const BlockTensors& tensors, std::size_t layer, TensorValues& all) {
  const Block& block = d.blocks[layer];
  for (std::size_t v = 0; v < block.vectors.size(); ++v) all[d.NameOf(block.vectors[v].source)] = tensors.vectors[v];
  for (std::size_t m = 0; m < block.matrices.size(); ++m) {
    all[d.NameOf(block.matrices[m].source)] = tensors.matrices[m];
    if (block.matrices[m].bias) all[d.NameOf(*block.matrices[m].bias)] = tensors.biases[m];
  }
}

BlockFormats MatricesIn(const Block& block, const char* matrices) {
  BlockFormats formats(block);
  for (auto& format : formats.vectors) format = FindFormat("bf16");
  for (auto& format : formats.biases) format = FindFormat("bf16");
  for (auto& format : formats.matrices) format = FindFormat(matrices);
  return formats;
}

class FoldChannels : public TemporaryFolder {
 protected:
  void Make(const TestShape& shape) {
    checkpoint_ = WriteTestCheckpoint(folder_, shape, 8);
    description_ = *DescribeModel(checkpoint_.config);
    values_ = AllValues(*SourceTensors::Create(checkpoint_, description_, std::nullopt, pool_));
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
  const Block& block() const { return description_.blocks[0]; }
  Description description_;
  TensorValues values_;
};

TEST_F(FoldChannels, TheModelComputesWhatItDid) {
  constexpr TestShape kShapes[] = {
      {},
      {.qwen = true, .tied = true, .hidden = 40, .head_dim = 10, .heads = 4, .kv_heads = 4},
      {.qwen3 = true, .hidden = 40, .head_dim = 12, .heads = 4},
      {.hidden = 32, .head_dim = 8, .heads = 8, .kv_heads = 1, .intermediate = 33}};
  for (const TestShape& shape : kShapes) {
    Make(shape);
    TensorValues folded = values_;
    for (std::size_t layer = 0; layer < description_.blocks.size(); ++layer) {
      BlockTensors tensors = TensorsOf(description_, values_, layer);
      BlockStatistics statistics = RandomInputs(description_.blocks[layer], 31 + layer).statistics;
      const auto status = FoldChannelScaling(
          description_.blocks[layer], MatricesIn(description_.blocks[layer], "fp4-g32"), tensors, statistics, pool_);
      ASSERT_TRUE(status.ok()) << status.error().message;
      PutBack(description_, tensors, layer, folded);
    }
    EXPECT_LT(RelativeDifference(LogitsOf(description_, values_), LogitsOf(description_, folded)), 1e-5)
        << shape.hidden;
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
  BlockTensors tensors = TensorsOf(description_, values_, 0);
  const BlockTensors before = tensors;
  Inputs inputs = RandomInputs(block(), 4);
  ASSERT_TRUE(FoldChannelScaling(block(), MatricesIn(block(), "fp4-g32"), tensors, inputs.statistics, pool_).ok());
  for (const std::size_t i : {kQkvInput, kGateUpInput, kDownInput}) {
    const std::size_t first = block().inputs[i].matrices[0];
    const std::size_t k = block().matrices[first].cols;
    const std::vector<double> factors = Factors(before.matrices[first], tensors.matrices[first], k);
    if (i != kGateUpInput) {
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
  BlockTensors tensors = TensorsOf(description_, values_, 0);
  const BlockTensors before = tensors;
  BlockStatistics statistics = RandomInputs(block(), 4).statistics;
  ASSERT_TRUE(FoldChannelScaling(block(), MatricesIn(block(), "int4-g64"), tensors, statistics, pool_).ok());
  const std::vector<double> factors =
      Factors(before.matrices[kOMatrix], tensors.matrices[kOMatrix], block().matrices[kOMatrix].cols);
  EXPECT_GT(*std::ranges::max_element(factors), *std::ranges::min_element(factors));
  for (std::size_t j = 0; j < factors.size(); ++j) {
    const std::size_t head = j / DimensionsOf(description_).head_dim / 3 * 3;  // 6 heads, 2 kv heads
    EXPECT_NEAR(
        factors[j] / factors[head * DimensionsOf(description_).head_dim + j % DimensionsOf(description_).head_dim], 1,
        1e-6);
  }
}

TEST_F(FoldChannels, WhatStaysInSixteenBitsIsLeftAlone) {
  Make({});
  BlockFormats formats = MatricesIn(block(), "fp4-g32");
  formats.matrices[kUpMatrix] = FindFormat("bf16");
  BlockTensors tensors = TensorsOf(description_, values_, 0);
  const BlockTensors before = tensors;
  BlockStatistics statistics = RandomInputs(block(), 4).statistics;
  ASSERT_TRUE(FoldChannelScaling(block(), formats, tensors, statistics, pool_).ok());
  for (const std::size_t m : {kGateMatrix, kUpMatrix, kDownMatrix}) EXPECT_EQ(tensors.matrices[m], before.matrices[m]);
  EXPECT_EQ(tensors.vectors[kFeedForwardNormVector], before.vectors[kFeedForwardNormVector]);
  EXPECT_NE(tensors.matrices[kQMatrix], before.matrices[kQMatrix]);
}

// An input that no token reached, a norm of zeros, a norm whose quotient fp16 cannot hold.
TEST_F(FoldChannels, ChannelsWithoutASensibleFactorAreKept) {
  Make({});
  BlockFormats formats = MatricesIn(block(), "fp4-g32");
  for (auto& format : formats.vectors) format = FindFormat("fp16");
  values_["model.layers.0.input_layernorm.weight"][5] = 0;
  values_["model.layers.0.input_layernorm.weight"][6] = 65504;
  values_["model.layers.0.input_layernorm.weight"][7] = 0x1p-24f;
  BlockTensors tensors = TensorsOf(description_, values_, 0);
  BlockStatistics statistics = RandomInputs(block(), 4).statistics;
  for (std::size_t j = 0; j < block().matrices[kOMatrix].cols; ++j) {
    statistics[kOInput].sum_squares[j] = statistics[kOInput].sum_abs[j] = 0;
  }
  const std::vector<float> values_before = tensors.matrices[kOMatrix];
  ASSERT_TRUE(FoldChannelScaling(block(), formats, tensors, statistics, pool_).ok());
  EXPECT_EQ(tensors.matrices[kOMatrix], values_before) << "nothing is known of its channels";
  TensorValues folded = values_;
  PutBack(description_, tensors, 0, folded);
  for (const auto& [name, values] : folded) {
    for (const float value : values) EXPECT_TRUE(std::isfinite(value)) << name;
  }
  EXPECT_LT(RelativeDifference(LogitsOf(description_, values_), LogitsOf(description_, folded)), 1e-5);
}

TEST_F(FoldChannels, ThreadsChangeNoBitAndForeignStatisticsAreRefused) {
  Make({});
  BlockTensors two = TensorsOf(description_, values_, 0);
  BlockTensors five = two;
  BlockStatistics of_two = RandomInputs(block(), 4).statistics;
  BlockStatistics of_five = of_two;
  ThreadPool pool(5);
  ASSERT_TRUE(FoldChannelScaling(block(), MatricesIn(block(), "fp4-g32"), two, of_two, pool_).ok());
  ASSERT_TRUE(FoldChannelScaling(block(), MatricesIn(block(), "fp4-g32"), five, of_five, pool).ok());
  EXPECT_EQ(two.matrices, five.matrices);
  EXPECT_EQ(two.vectors, five.vectors);
  EXPECT_EQ(of_two[0].gram, of_five[0].gram);

  std::swap(of_two[0], of_two[1]);
  const auto status = FoldChannelScaling(block(), MatricesIn(block(), "fp4-g32"), two, of_two, pool_);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kInput);
  EXPECT_NE(status.error().message.find("q_proj"), std::string::npos) << status.error().message;
}

}  // namespace
}  // namespace marlin
