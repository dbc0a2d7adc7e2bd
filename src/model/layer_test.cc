// Running layer by layer gives the same bits as the whole forward pass, and observers get the inputs of the layers.
#include "model/layer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/rng.h"
#include "kernels/cpu_backend.h"
#include "model/model.h"

namespace marlin {
namespace {

class LayerByLayer : public testing::Test {
 protected:
  void SetUp() override {
    auto backend = MakeCpuBackend({});
    ASSERT_TRUE(backend.ok());
    backend_ = std::move(*backend);
    auto checkpoint = OpenCheckpoint(std::filesystem::path(MARLIN_SOURCE_DIR) / "src/model/testdata/tiny-qwen2");
    ASSERT_TRUE(checkpoint.ok());
    checkpoint_ = std::move(*checkpoint);
    auto model = LoadModel(checkpoint_, *backend_);
    ASSERT_TRUE(model.ok()) << model.error().message;
    model_ = std::move(*model);
    Rng rng(77);
    for (auto& token : tokens_) token = static_cast<std::int32_t>(rng.Below(model_.config.vocab_size));
  }

  std::unique_ptr<Backend> backend_;
  Checkpoint checkpoint_;
  Model model_;
  std::vector<std::int32_t> tokens_ = std::vector<std::int32_t>(23);
};

TEST_F(LayerByLayer, GivesTheBitsOfTheForwardPass) {
  const ModelConfig& config = model_.config;
  auto session = Session::Create(model_, 23, 23);
  ASSERT_TRUE(session.ok());
  const auto want = session->Forward(tokens_);

  const auto embedding = LoadEmbedding(checkpoint_, config, *backend_, Precision::kSixteenBit);
  ASSERT_TRUE(embedding.ok());
  std::vector<float> hidden(23 * config.hidden_size, NAN);
  const MatrixView<float> view(hidden.data(), 23, config.hidden_size);
  backend_->Embed(**embedding, tokens_, view);
  auto runner = LayerRunner::Create(config, *backend_, 23);
  ASSERT_TRUE(runner.ok());
  for (std::size_t i = 0; i < config.layers; ++i) {
    const auto layer = LoadLayer(checkpoint_, config, *backend_, Precision::kSixteenBit, i);
    ASSERT_TRUE(layer.ok()) << layer.error().message;
    runner->Run(*layer, view);
  }
  backend_->RmsNorm({view, model_.weights.final_norm->data(), config.norm_eps, view});
  EXPECT_EQ(std::memcmp(hidden.data(), want.data, hidden.size() * sizeof(float)), 0);
}

TEST_F(LayerByLayer, PartByPartGivesTheBitsAndInputsOfTheWhole) {
  const ModelConfig& config = model_.config;
  const Layer& layer = model_.weights.layers[0];
  auto runner = LayerRunner::Create(config, *backend_, 7);
  ASSERT_TRUE(runner.ok());
  Rng rng(6);
  std::vector<float> want(7 * config.hidden_size);
  for (float& x : want) x = static_cast<float>(rng.Normal());
  std::vector<float> got = want;
  std::vector<std::vector<float>> wanted;
  runner->Run(layer, {want.data(), 7, config.hidden_size},
              [&](Slot, MatrixView<const float> x) { wanted.emplace_back(x.data, x.data + x.rows * x.cols); });
  std::vector<float> between(7 * std::max(config.q_size(), config.intermediate_size), NAN);
  std::size_t shown = 0;
  for (const Slot first : kInputs) {
    const std::size_t cols = first == kQ || first == kO ? config.q_size() : config.intermediate_size;
    const Midway at{{got.data(), 7, config.hidden_size}, {between.data(), 7, cols}};
    // Another sequence in between leaves nothing behind.
    std::vector<float> other(7 * config.hidden_size, 3.0f);
    runner->Run(layer, {other.data(), 7, config.hidden_size});
    runner->ShowInput(layer, first, at, [&](Slot slot, MatrixView<const float> x) {
      EXPECT_EQ(slot, first);
      EXPECT_EQ(std::vector<float>(x.data, x.data + x.rows * x.cols), wanted[shown++]);
    });
    runner->RunPart(layer, first, at);
  }
  EXPECT_EQ(shown, 4u);
  EXPECT_EQ(got, want);
}

TEST_F(LayerByLayer, ObserversSeeEveryInputOnce) {
  const ModelConfig& config = model_.config;
  auto runner = LayerRunner::Create(config, *backend_, 5);
  ASSERT_TRUE(runner.ok());
  Rng rng(5);
  std::vector<float> hidden(5 * config.hidden_size);
  for (float& x : hidden) x = static_cast<float>(rng.Normal());
  const std::vector<float> before = hidden;
  std::vector<Slot> seen;
  std::vector<float> normed;
  runner->Run(model_.weights.layers[0], {hidden.data(), 5, config.hidden_size},
              [&](Slot first, MatrixView<const float> x) {
                seen.push_back(first);
                EXPECT_EQ(x.rows, 5u);
                EXPECT_EQ(x.cols, kLinearSlots[first].cols(config));
                if (first == kQ) normed.assign(x.data, x.data + x.rows * x.cols);
              });
  EXPECT_EQ(seen, std::vector<Slot>(std::begin(kInputs), std::end(kInputs)));
  std::vector<float> want(before.size(), NAN);
  backend_->RmsNorm({{before.data(), 5, config.hidden_size},
                     model_.weights.layers[0].attention_norm->data(),
                     config.norm_eps,
                     {want.data(), 5, config.hidden_size}});
  EXPECT_EQ(normed, want);
  EXPECT_NE(hidden, before);
}

TEST(SlotsThatShare, CoverEverySlotOnce) {
  std::vector<Slot> all;
  for (const Slot first : kInputs) {
    for (const Slot slot : SlotsThatShare(first)) all.push_back(slot);
  }
  EXPECT_EQ(all, (std::vector<Slot>{kQ, kK, kV, kO, kGate, kUp, kDown}));
}

}  // namespace
}  // namespace marlin
