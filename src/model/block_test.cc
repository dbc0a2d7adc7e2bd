// Running layer by layer gives the same bits as the whole forward pass, and observers get the inputs of the layers.
#include "model/block.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

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

  std::unique_ptr<Buffer> PoisonedBuffer(std::size_t floats) {
    auto buffer = *backend_->Allocate(floats);
    backend_->Upload(std::vector<float>(floats, NAN), View(buffer, 1, floats));
    return buffer;
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
  const auto buffer = PoisonedBuffer(23 * d.hidden_size);
  const DeviceTensor states = View(buffer, 23, d.hidden_size);
  auto runner = BlockRunner::Create(d, *backend_, 23);
  ASSERT_TRUE(runner.ok());
  runner->Embed(*embedding, tokens_, {0, states});
  for (std::size_t i = 0; i < d.blocks.size(); ++i) {
    const auto parts = LoadBlock(checkpoint_, d, *backend_, Precision::kSixteenBit, i);
    ASSERT_TRUE(parts.ok()) << parts.error().message;
    runner->Run({d.blocks[i], *parts}, {0, states});
    ASSERT_TRUE(backend_->Synchronize().ok());
  }
  model_.FinalNorm(states, states);
  ExpectSameNumbers(Values(*backend_, states), Values(*backend_, want));
}

// Every block in its turn, so that blocks that read keys of others find them.
TEST_P(BlockByBlock, PartByPartGivesTheBitsAndInputsOfTheWhole) {
  const Description& d = model_.description;
  constexpr std::size_t kTokens = 7;
  auto runner = BlockRunner::Create(d, *backend_, kTokens, 2);
  ASSERT_TRUE(runner.ok());
  const std::span<const std::int32_t> tokens(tokens_);
  std::vector<std::unique_ptr<Buffer>> buffers;
  const auto state = [&](std::size_t cols) {
    buffers.push_back(PoisonedBuffer(kTokens * cols));
    return View(buffers.back(), kTokens, cols);
  };
  const DeviceTensor want = state(d.hidden_size), other = state(d.hidden_size), got = state(d.hidden_size),
                     start = state(d.hidden_size), passing = state(d.hidden_size);
  runner->Embed(model_.weights.around, tokens.first(kTokens), {0, want});
  runner->Embed(model_.weights.around, tokens.last(kTokens), {1, other});
  for (std::size_t b = 0; b < d.blocks.size(); ++b) {
    const LoadedBlock block = model_.block(b);
    std::vector<std::vector<float>> wanted;
    const auto keep = [&](std::size_t, const DeviceTensor& x) { wanted.push_back(Values(*backend_, x)); };
    const DeviceTensor between = state(WidestBetween(d));
    backend_->Copy(want, got);
    backend_->Copy(want, start);
    const std::vector<float> before = Values(*backend_, want);
    runner->Run(block, {0, want}, keep);
    ASSERT_EQ(wanted.size(), block.block.inputs.size());
    for (std::size_t input = 0; input < wanted.size(); ++input) {
      const auto show = [&](std::size_t shown, const DeviceTensor& x) {
        EXPECT_EQ(shown, input);
        SCOPED_TRACE(testing::Message() << "block " << b << " input " << input);
        ExpectSameNumbers(Values(*backend_, x), wanted[input]);
      };
      runner->RunToInput(block, input, {0, start}, show);
      EXPECT_EQ(Values(*backend_, start), before);
      if (!FitsMidway(block.block)) continue;
      const std::size_t cols = block.block.FirstOf(block.block.inputs[BetweenOf(input)]).cols;
      const Midway at{0, got, {between.buffer, 0, ElementType::kF32, kTokens, cols, cols}};
      // Another sequence in between leaves nothing behind.
      backend_->Copy(other, passing);
      runner->Run(block, {1, passing});
      runner->ShowInput(block, input, at, show);
      runner->RunPart(block, input, at);
    }
    EXPECT_TRUE(!FitsMidway(block.block) || Values(*backend_, got) == Values(*backend_, want)) << "block " << b;
    runner->Run(block, {1, other});
    ASSERT_TRUE(backend_->Synchronize().ok());
  }
}

// On a CPU: there the bits of a row do not depend on the rows beside it.
TEST_P(BlockByBlock, SequencesThatRunTogetherHaveTheirOwnBits) {
  if (TestsCuda()) GTEST_SKIP() << "of CPUs alone";
  const Description& d = model_.description;
  constexpr std::size_t kTokens = 5, kSequences = 3;
  auto alone = BlockRunner::Create(d, *backend_, kTokens, kSequences);
  auto together = BlockRunner::Create(d, *backend_, kTokens, kSequences, kSequences - 1);
  ASSERT_TRUE(alone.ok() && together.ok());
  const auto want_buffer = PoisonedBuffer(kSequences * kTokens * d.hidden_size);
  const auto got_buffer = PoisonedBuffer(kSequences * kTokens * d.hidden_size);
  const DeviceTensor want = View(want_buffer, kSequences * kTokens, d.hidden_size);
  const DeviceTensor got = View(got_buffer, kSequences * kTokens, d.hidden_size);
  const auto of = [&](const DeviceTensor& all, std::size_t first, std::size_t count) {
    return SequenceState{first, all.Rows(first * kTokens, count * kTokens)};
  };
  for (std::size_t s = 0; s < kSequences; ++s) {
    const auto tokens = std::span<const std::int32_t>(tokens_).subspan(s * kTokens, kTokens);
    alone->Embed(model_.weights.around, tokens, of(want, s, 1));
    together->Embed(model_.weights.around, tokens, of(got, s, 1));
  }
  for (std::size_t b = 0; b < d.blocks.size(); ++b) {
    for (std::size_t s = 0; s < kSequences; ++s) alone->Run(model_.block(b), of(want, s, 1));
    together->Run(model_.block(b), of(got, 0, kSequences - 1));
    together->Run(model_.block(b), of(got, kSequences - 1, 1));
    EXPECT_EQ(Values(*backend_, got), Values(*backend_, want)) << "block " << b;
  }
}

TEST_P(BlockByBlock, ObserversSeeEveryInputOnce) {
  const Description& d = model_.description;
  auto runner = BlockRunner::Create(d, *backend_, 5);
  ASSERT_TRUE(runner.ok());
  Rng rng(5);
  const auto buffer = PoisonedBuffer(5 * d.hidden_size);
  const DeviceTensor states = View(buffer, 5, d.hidden_size);
  runner->Embed(model_.weights.around, std::span<const std::int32_t>(tokens_).first(5), {0, states});
  std::vector<float> before(5 * d.hidden_size);
  for (float& x : before) x = static_cast<float>(rng.Normal());
  backend_->Upload(before, states);
  std::vector<std::size_t> seen;
  std::vector<float> normed;
  const Block& block = d.blocks[0];
  const auto observe = [&](std::size_t input, const DeviceTensor& x) {
    seen.push_back(input);
    EXPECT_EQ(x.rows, 5u);
    EXPECT_EQ(x.cols, block.FirstOf(block.inputs[input]).cols);
    if (input == 0) normed = Values(*backend_, x);
  };
  runner->Run(model_.block(0), {0, states}, observe);
  std::vector<std::size_t> all(block.inputs.size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  EXPECT_EQ(seen, all);
  EXPECT_NE(Values(*backend_, states), before);
  if (!block.mixer_norm || block.norms[*block.mixer_norm].kind != NormKind::kRms) return;
  backend_->Upload(before, states);
  backend_->Norm({states, View(model_.weights.blocks[0].vectors[kMixerNormVector], 1, d.hidden_size),
                  block.norms[*block.mixer_norm].eps, states});
  const std::vector<float> want = Values(*backend_, states);
  EXPECT_EQ(normed, want);
}

INSTANTIATE_TEST_SUITE_P(Families, BlockByBlock,
                         testing::Values("tiny-qwen2", "tiny-qwen3", "tiny-gemma3", "tiny-gemma4", "tiny-gemma4-e",
                                         "tiny-phi3", "tiny-olmo3", "tiny-granite", "tiny-gpt2", "tiny-gpt-neox"),
                         [](const auto& tested) {
                           std::string name = std::string(tested.param).substr(5);
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace marlin
