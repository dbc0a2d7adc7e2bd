// Running layer by layer gives the same bits as the whole forward pass, and observers get the inputs of the layers.
#include "model/block.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/rng.h"
#include "kernels/test_device.h"
#include "model/block_runner.h"
#include "model/model.h"
#include "model/open_model.h"
#include "model/test_description.h"

namespace marlin {
namespace {

class BlockByBlock : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    backend_ = TestCpu();
    auto opened = OpenModel(std::filesystem::path(MARLIN_SOURCE_DIR) / "src/model/testdata" / GetParam());
    ASSERT_TRUE(opened.ok());
    checkpoint_ = std::move(opened->checkpoint);
    auto model = LoadModel(checkpoint_, *backend_);
    ASSERT_TRUE(model.ok()) << model.error().message;
    model_ = std::move(*model);
    Rng rng(77);
    for (auto& token : tokens_) token = static_cast<std::int32_t>(rng.Below(model_.description.vocab_size));
  }

  std::unique_ptr<Backend> backend_;
  Checkpoint checkpoint_;
  Model model_;
  std::vector<std::int32_t> tokens_ = std::vector<std::int32_t>(23);
};

TEST_P(BlockByBlock, GivesTheBitsOfTheForwardPass) {
  const Description& d = model_.description;
  auto session = Session::Create(model_, 23, 23);
  ASSERT_TRUE(session.ok());
  const auto want = session->Forward(tokens_);

  const auto embedding = LoadEmbedding(checkpoint_, d, *backend_, Precision::kSixteenBit);
  ASSERT_TRUE(embedding.ok());
  std::vector<float> hidden(23 * d.hidden_size, NAN);
  const MatrixView<float> view(hidden.data(), 23, d.hidden_size);
  auto runner = BlockRunner::Create(d, *backend_, 23);
  ASSERT_TRUE(runner.ok());
  ASSERT_TRUE(runner->Embed(*embedding, tokens_, {0, view}).ok());
  for (std::size_t i = 0; i < d.blocks.size(); ++i) {
    const auto parts = LoadBlock(checkpoint_, d, *backend_, Precision::kSixteenBit, i);
    ASSERT_TRUE(parts.ok()) << parts.error().message;
    ASSERT_TRUE(runner->Run({d.blocks[i], *parts}, {0, view}).ok());
  }
  const auto buffer = *backend_->Allocate(hidden.size());
  const DeviceTensor states = View(buffer, 23, d.hidden_size);
  backend_->Upload(hidden, states);
  model_.FinalNorm(states, states);
  EXPECT_EQ(Values(*backend_, states), Values(*backend_, want));
}

TEST_P(BlockByBlock, PartByPartGivesTheBitsAndInputsOfTheWhole) {
  const Description& d = model_.description;
  const LoadedBlock block = model_.block(0);
  auto runner = BlockRunner::Create(d, *backend_, 7);
  ASSERT_TRUE(runner.ok());
  Rng rng(6);
  std::vector<float> want(7 * d.hidden_size);
  for (float& x : want) x = static_cast<float>(rng.Normal());
  std::vector<float> got = want;
  std::vector<std::vector<float>> wanted;
  ASSERT_TRUE(runner
                  ->Run(block, {0, {want.data(), 7, d.hidden_size}},
                        [&](std::size_t, const DeviceTensor& x) { wanted.push_back(Values(*backend_, x)); })
                  .ok());
  std::vector<float> between(7 * WidestBetween(d), NAN);
  std::size_t shown = 0;
  for (std::size_t input = 0; input < block.block.inputs.size(); ++input) {
    const std::size_t cols = block.block.FirstOf(block.block.inputs[BetweenOf(input)]).cols;
    const Midway at{0, {got.data(), 7, d.hidden_size}, {between.data(), 7, cols}};
    // Another sequence in between leaves nothing behind.
    std::vector<float> other(7 * d.hidden_size, 3.0f);
    ASSERT_TRUE(runner->Run(block, {0, {other.data(), 7, d.hidden_size}}).ok());
    const auto show = [&](std::size_t shown_input, const DeviceTensor& x) {
      EXPECT_EQ(shown_input, input);
      EXPECT_EQ(Values(*backend_, x), wanted[shown++]);
    };
    ASSERT_TRUE(runner->ShowInput(block, input, at, show).ok());
    ASSERT_TRUE(runner->RunPart(block, input, at).ok());
  }
  EXPECT_EQ(shown, 4u);
  EXPECT_EQ(got, want);
}

TEST_P(BlockByBlock, ObserversSeeEveryInputOnce) {
  const Description& d = model_.description;
  auto runner = BlockRunner::Create(d, *backend_, 5);
  ASSERT_TRUE(runner.ok());
  Rng rng(5);
  std::vector<float> hidden(5 * d.hidden_size);
  for (float& x : hidden) x = static_cast<float>(rng.Normal());
  const std::vector<float> before = hidden;
  std::vector<std::size_t> seen;
  std::vector<float> normed;
  const Block& block = d.blocks[0];
  const auto observe = [&](std::size_t input, const DeviceTensor& x) {
    seen.push_back(input);
    EXPECT_EQ(x.rows, 5u);
    EXPECT_EQ(x.cols, block.FirstOf(block.inputs[input]).cols);
    if (input == 0) normed = Values(*backend_, x);
  };
  ASSERT_TRUE(runner->Run(model_.block(0), {0, {hidden.data(), 5, d.hidden_size}}, observe).ok());
  EXPECT_EQ(seen, (std::vector<std::size_t>{0, 1, 2, 3}));
  const auto buffer = *backend_->Allocate(before.size());
  const DeviceTensor states = View(buffer, 5, d.hidden_size);
  backend_->Upload(before, states);
  backend_->Norm({states, View(model_.weights.blocks[0].vectors[kMixerNormVector], 1, d.hidden_size),
                  block.norms[*block.mixer_norm].eps, states});
  const std::vector<float> want = Values(*backend_, states);
  EXPECT_EQ(normed, want);
  EXPECT_NE(hidden, before);
}

INSTANTIATE_TEST_SUITE_P(Families, BlockByBlock, testing::Values("tiny-qwen2", "tiny-qwen3"),
                         [](const auto& tested) { return std::string(tested.param).substr(5); });

}  // namespace
}  // namespace marlin
