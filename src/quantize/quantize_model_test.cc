#include "quantize/quantize_model.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"
#include "files/tensor.h"
#include "formats/formats.h"
#include "kernels/random_matrix.h"
#include "model/test_description.h"
#include "quantize/test_statistics.h"

namespace marlin {
namespace {

TEST(Rtn, EqualsEncodingRowByRowForAnyNumberOfThreads) {
  Rng rng(9);
  std::vector<float> weights(37 * 256);
  for (float& w : weights) w = static_cast<float>(rng.Normal());
  const auto method = ParseMethod("rtn");
  ASSERT_TRUE(method.ok());
  for (const FormatRow& format : Formats()) {
    const MatrixView<const float> view(weights.data(), 37, FittingCols(format.info, 172));
    const EncodedMatrix want = Encode(format, view);
    for (const int threads : {1, 2, 5}) {
      ThreadPool pool(threads);
      const auto got = (*method)->run(format, view, nullptr, pool);
      ASSERT_TRUE(got.ok());
      for (const EncodedPart& part : kEncodedParts) {
        EXPECT_EQ((*got).*part.owned, want.*part.owned) << format.info.name << " " << part.name;
      }
    }
  }
}

TEST(Methods, UnknownNameListsTheKnown) {
  const auto method = ParseMethod("magic");
  ASSERT_FALSE(method.ok());
  EXPECT_EQ(method.error().code, ErrorCode::kUsage);
  EXPECT_NE(method.error().message.find("rtn"), std::string::npos);
}

TEST(Methods, WithoutTheStatisticsTheyNeed) {
  const std::vector<float> weights(64, 0.5f);
  const MatrixView<const float> view(weights.data(), 2, 32);
  ThreadPool pool(1);
  for (const Method& method : Methods()) {
    const auto without = method.run(*FindFormat("fp4-g32"), view, nullptr, pool);
    EXPECT_EQ(without.ok(), method.needs != MethodNeeds::kGram) << method.name;
    InputStatistics other;
    ASSERT_TRUE(Accumulate(other, {weights.data(), 4, 16}, pool, true).ok());
    const auto wrong = method.run(*FindFormat("fp4-g32"), view, &other, pool);
    ASSERT_EQ(wrong.ok(), method.needs == MethodNeeds::kNothing) << method.name;
    if (!wrong.ok()) {
      EXPECT_EQ(wrong.error().code, ErrorCode::kInput);
    }
    if (method.needs != MethodNeeds::kGram) continue;
    EXPECT_EQ(without.error().code, ErrorCode::kUsage);
    EXPECT_NE(without.error().message.find("calibrate"), std::string::npos);
  }
}

Description SmallModel(bool tied) {
  TestSizes sizes;
  sizes.tied = tied;
  return TestDescription(sizes);
}

TEST(StemsToQuantize, LinearLayersUnlessTold) {
  QuantizeOptions options;
  const auto linear = StemsToQuantize(SmallModel(false), options);
  ASSERT_TRUE(linear.ok());
  EXPECT_EQ(linear->size(), 14u);
  EXPECT_EQ(linear->front(), "model.layers.0.self_attn.q_proj");
  EXPECT_EQ(linear->back(), "model.layers.1.mlp.down_proj");
  options.quantize_embeddings = options.quantize_head = true;
  EXPECT_EQ(StemsToQuantize(SmallModel(false), options)->size(), 16u);
  EXPECT_EQ(StemsToQuantize(SmallModel(true), options)->size(), 15u) << "a tied head is the embedding";
  options.quantize_embeddings = false;
  EXPECT_EQ(StemsToQuantize(SmallModel(true), options).error().code, ErrorCode::kUsage);
}

}  // namespace
}  // namespace marlin
