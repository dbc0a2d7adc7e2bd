// Rates computed from given times, and how often each test runs. No test looks at a duration.
#include "bench/model_throughput.h"

#include <gtest/gtest.h>

#include <set>

#include "bench/weight_traffic.h"
#include "kernels/test_device.h"

namespace marlin {
namespace {

TEST(RateOf, IsOfTheRunsRates) {
  const std::vector<double> samples = {1e9, 2e9, 4e9};  // 128, 64 and 32 tokens per second
  const TokenRate rate = RateOf(128, samples);
  EXPECT_DOUBLE_EQ(rate.mean_tok_s, 224.0 / 3);
  ASSERT_TRUE(rate.deviation_tok_s);
  EXPECT_NEAR(*rate.deviation_tok_s, 48.8808, 1e-4);
  EXPECT_DOUBLE_EQ(rate.median_tok_s, 64);
  EXPECT_FALSE(RateOf(128, std::vector<double>{5e8}).deviation_tok_s);
}

class TinyModel : public testing::Test {
 protected:
  void SetUp() override {
    const auto checkpoint = OpenCheckpoint(std::filesystem::path(MARLIN_SOURCE_DIR) / "src/model/testdata/tiny-llama");
    ASSERT_TRUE(checkpoint.ok());
    auto model = LoadModel(*checkpoint, *backend_);
    ASSERT_TRUE(model.ok());
    model_ = std::move(*model);
  }
  std::unique_ptr<Backend> backend_ = TestReference();
  Model model_;
};

TEST_F(TinyModel, EveryRunOfEveryModelIsASample) {
  const std::vector<const Model*> models = {&model_, &model_};
  std::set<std::string> stages;
  std::uint64_t rounds = 0;
  int beside = 0;
  const auto times = TimeRuns(
      models, {12, 5, 3}, [&] { ++beside; },
      [&](const Progress& progress) {
        stages.insert(progress.stage);
        rounds = progress.total;
      });
  ASSERT_TRUE(times.ok());
  EXPECT_EQ(stages, (std::set<std::string>{"pp12", "tg5"}));
  EXPECT_EQ(rounds, 4u) << "one run is not timed";
  EXPECT_EQ(beside, 4) << "once in every round of tg";
  EXPECT_EQ(times->beside_ns.size(), 3u);
  ASSERT_EQ(times->models.size(), 2u);
  for (const RunTimes& x : times->models) {
    EXPECT_EQ(x.prompt_ns.size(), 3u);
    EXPECT_EQ(x.generate_ns.size(), 3u);
  }
}

TEST_F(TinyModel, ALengthOfZeroIsNotTimed) {
  const Model* model = &model_;
  const auto prompt = TimeRuns({&model, 1}, {8, 0, 2}, {}, {});
  ASSERT_TRUE(prompt.ok());
  EXPECT_EQ(prompt->models[0].prompt_ns.size(), 2u);
  EXPECT_TRUE(prompt->models[0].generate_ns.empty());
  const auto generate = TimeRuns({&model, 1}, {0, 8, 2}, {}, {});
  ASSERT_TRUE(generate.ok());
  EXPECT_TRUE(generate->models[0].prompt_ns.empty());
  EXPECT_EQ(generate->models[0].generate_ns.size(), 2u);
}

TEST_F(TinyModel, AnInterruptEndsTheRuns) {
  const Model* model = &model_;
  g_interrupted = true;
  const auto times = TimeRuns({&model, 1}, {8, 8, 2}, {}, {});
  g_interrupted = false;
  ASSERT_FALSE(times.ok());
  EXPECT_EQ(times.error().code, ErrorCode::kInterrupted);
}

// Counted from the shapes, all weights in 16 bits, norms in 32.
TEST_F(TinyModel, ATokenReadsEveryWeightButTheEmbeddingTable) {
  const Description& d = model_.description;
  const Dimensions sizes = DimensionsOf(d);
  const std::size_t heads = 2 * (sizes.heads + sizes.kv_heads) * sizes.head_dim;
  const std::size_t layer = d.hidden_size * (heads + 3 * sizes.intermediate_size);
  const std::size_t layers = d.blocks.size();
  const std::size_t matrices = layers * layer + d.vocab_size * d.hidden_size + d.hidden_size;
  EXPECT_EQ(WeightBytesPerToken(model_), 2 * matrices + 4 * (2 * layers + 1) * d.hidden_size);
  EXPECT_EQ(LinearKernels(model_), std::vector<std::string>{"reference"});
}

TEST(ActivationOf, IsTheKernelRows) {
  EXPECT_EQ(ActivationOf("scalar/any"), "fp32");
  EXPECT_EQ(ActivationOf("reference"), "fp32");
  EXPECT_EQ(ActivationOf("cuda/plain"), "fp32");
  EXPECT_EQ(ActivationOf("cuda/w4-fp16"), "fp16");
}

}  // namespace
}  // namespace marlin
