#include "quantize/source_tensors.h"

#include <gtest/gtest.h>

#include "files/test_files.h"
#include "model/test_description.h"
#include "quantize/test_checkpoints.h"

namespace marlin {
namespace {

class RotatedSource : public TemporaryFolder {
 protected:
  // The original's tensors, and the rotated ones.
  void Make(const TestShape& shape, std::uint64_t seed, int threads = 2) {
    pool_ = std::make_unique<ThreadPool>(threads);
    checkpoint_ = WriteTestCheckpoint(folder_, shape, 5);
    description_ = *DescribeModel(checkpoint_.config);
    auto plain = SourceTensors::Create(checkpoint_, description_, std::nullopt, *pool_);
    auto rotated = SourceTensors::Create(checkpoint_, description_, seed, *pool_);
    ASSERT_TRUE(plain.ok() && rotated.ok());
    plain_.emplace(std::move(*plain));
    rotated_.emplace(std::move(*rotated));
  }

  std::unique_ptr<ThreadPool> pool_;
  Checkpoint checkpoint_;
  Description description_;
  std::optional<SourceTensors> plain_, rotated_;
};

constexpr TestShape kOddShapes[] = {
    {},                                                                            // biases everywhere, own head
    {.qwen = true, .hidden = 40, .head_dim = 10, .heads = 4, .kv_heads = 4},       // no grouped heads
    {.qwen3 = true, .hidden = 40, .head_dim = 12, .heads = 4},                     // norms of heads
    {.tied = true, .constant_final_norm = true},                                   // head = embedding, harmless norm
    {.hidden = 32, .head_dim = 8, .heads = 8, .kv_heads = 1, .intermediate = 33},  // powers of two, one kv head
    {.hidden = 31, .head_dim = 2, .heads = 3, .kv_heads = 1}};                     // a prime

TEST_F(RotatedSource, ComputesWhatTheOriginalDoes) {
  for (const TestShape& shape : kOddShapes) {
    Make(shape, 3);
    EXPECT_TRUE(rotated_->rotated());
    EXPECT_TRUE(rotated_->residual_rotated());
    const TensorValues before = AllValues(*plain_);
    const TensorValues after = AllValues(*rotated_);
    EXPECT_LT(RelativeDifference(LogitsOf(description_, before), LogitsOf(description_, after)), 1e-5) << shape.hidden;
    std::size_t changed = 0;
    for (const auto& [name, values] : after) changed += values != before.at(name) ? 1 : 0;
    EXPECT_GE(changed, 2u * 9 + 1) << "norms, matrices, embedding";
  }
}

TEST_F(RotatedSource, ATiedHeadWithANormKeepsTheResidualStream) {
  Make({.qwen = true, .tied = true}, 3);
  EXPECT_TRUE(rotated_->rotated());
  EXPECT_FALSE(rotated_->residual_rotated());
  const TensorValues before = AllValues(*plain_);
  const TensorValues after = AllValues(*rotated_);
  EXPECT_LT(RelativeDifference(LogitsOf(description_, before), LogitsOf(description_, after)), 1e-5);
  for (const auto& [name, values] : after) {
    const bool turned = name.find("v_proj") != std::string::npos || name.find("o_proj.weight") != std::string::npos;
    EXPECT_EQ(values != before.at(name), turned) << name;
  }
}

TEST_F(RotatedSource, SeedDecidesAndThreadsDoNot) {
  Make({}, 3, 1);
  const TensorValues one = AllValues(*rotated_);
  Make({}, 3, 3);
  EXPECT_EQ(AllValues(*rotated_), one);
  Make({}, 4, 3);
  EXPECT_NE(AllValues(*rotated_), one);
}

TEST_F(RotatedSource, WritesWhatItChangedInFp16AndTheRestAsItWas) {
  Make({}, 3);
  for (const PlannedTensor& tensor : TestTensors(description_)) {
    const bool same = rotated_->Values(tensor.name).value() == plain_->Values(tensor.name).value();
    const bool norm = tensor.name.find("norm") != std::string::npos;
    const auto format = rotated_->PlainFormat(tensor.name);
    ASSERT_TRUE(format.ok());
    EXPECT_EQ((*format)->info.name, same || norm ? "bf16" : "fp16") << tensor.name;
    const auto plain = rotated_->Plain(tensor.name, **format);
    ASSERT_TRUE(plain.ok());
    const std::vector<float> values = rotated_->Values(tensor.name).value();
    std::vector<float> row(plain->cols, NAN);
    for (std::size_t r = 0; r < plain->rows; ++r) {
      DecodeRow(plain->view(), r, row);
      for (std::size_t j = 0; j < row.size(); ++j) EXPECT_NEAR(row[j], values[r * row.size() + j], 1e-3);
    }
  }
}

TEST_F(RotatedSource, WrongShapesAreNamed) {
  Make({}, 3);
  Description wider = description_;
  Matrix& down = wider.blocks[1].matrices[kDownMatrix];
  down.cols += 2;
  const auto source = SourceTensors::Create(checkpoint_, wider, 3, *pool_);
  ASSERT_TRUE(source.ok());
  const auto values = source->Values("model.layers.1.mlp.down_proj.weight");
  ASSERT_FALSE(values.ok());
  EXPECT_EQ(values.error().code, ErrorCode::kInput);
  EXPECT_NE(values.error().message.find("[36, 52]"), std::string::npos) << values.error().message;
  EXPECT_EQ(source->Values("nothing").error().code, ErrorCode::kInput);
}

}  // namespace
}  // namespace marlin
