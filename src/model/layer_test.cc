// Layer by layer is the same as the whole forward pass, to the bit; and observers see what the layers get.
#include "model/layer.h"

#include <gtest/gtest.h>

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
  backend_->RmsNorm(view, model_.weights.final_norm->data(), config.norm_eps, view);
  EXPECT_EQ(std::memcmp(hidden.data(), want.data, hidden.size() * sizeof(float)), 0);
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
  backend_->RmsNorm({before.data(), 5, config.hidden_size}, model_.weights.layers[0].attention_norm->data(),
                    config.norm_eps, {want.data(), 5, config.hidden_size});
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
