// Plans of a tiny checkpoint: losses of single units, threads, resumed runs, and the confirmation.
#include "study/make_plan.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <set>

#include "base/rng.h"
#include "eval/divergence.h"
#include "formats/formats.h"
#include "kernels/test_device.h"
#include "model/families/family.h"
#include "quantize/calibrate.h"
#include "quantize/method.h"
#include "study/sensitivity.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

constexpr std::size_t kCtx = 20;

class Plans : public testing::Test {
 protected:
  void SetUp() override {
    fs::remove(kept_);
    auto checkpoint = OpenCheckpoint(fs::path(MARLIN_SOURCE_DIR) / "src/model/testdata/tiny-llama");
    ASSERT_TRUE(checkpoint.ok());
    checkpoint_ = std::move(*checkpoint);
    auto description = DescribeModel(checkpoint_.config);
    ASSERT_TRUE(description.ok());
    description_ = std::move(*description);
    Rng rng(17);
    CalibrationWindows& measured = windows_.measured;
    for (std::size_t i = 0; i < 6 * kCtx; ++i) {
      measured.stream.tokens.push_back(static_cast<std::int32_t>(rng.Below(description_.vocab_size)));
      measured.stream.token_bytes.push_back(1);
    }
    measured.begins = {0, kCtx, 2 * kCtx, 3 * kCtx};
    measured.ctx = kCtx;
    measured.text_name = "random";
    windows_.held_out = measured;
    windows_.held_out.begins = {4 * kCtx, 5 * kCtx};
  }
  void TearDown() override {
    g_interrupted = false;
    fs::remove(kept_);
  }

  static std::unique_ptr<Backend> MakeBackend(int threads) { return TestCpu(threads); }

  PlanOptions Options(const std::string& method = "mse") const {
    PlanOptions options;
    options.value = 5.5;
    options.method = method;
    options.model_sha256 = "model";
    return options;
  }

  std::string Make(const PlanOptions& options, int threads, const ProgressFn& progress = {}) const {
    const auto backend = MakeBackend(threads);
    const auto plan = MakePlan(checkpoint_, windows_, options, *backend, progress);
    return plan ? PlanToJson(*plan) : plan.error().message;
  }

  const fs::path kept_ = fs::path(testing::TempDir()) / fmt::format("{}_marlin_plan.part", ::getpid());
  Checkpoint checkpoint_;
  Description description_;
  PlanWindows windows_;
};

TEST_F(Plans, AUnitCostsWhatTheModelLosesWithItAlone) {
  const auto backend = MakeBackend(2);
  auto model = LoadModel(checkpoint_, *backend);
  ASSERT_TRUE(model.ok());
  PrecisionPlan plan = EmptyPlan(description_);
  SensitivityOptions options;
  options.method = *ParseMethod("mse");
  options.probe = FindFormat("fp4-g128");
  options.measure_all = true;
  const auto status = MeasureSensitivities(checkpoint_, *model, windows_.measured, options, {}, plan);
  ASSERT_TRUE(status.ok()) << status.error().message;

  TokenStream first = windows_.measured.stream;
  first.tokens.resize(4 * kCtx);
  const auto statistics =
      CollectStatistics(*model, first, false, EmptyStatistics(description_, {"", "", "", "", kCtx, 4, 0}), {});
  ASSERT_TRUE(statistics.ok());
  for (const std::size_t u : {std::size_t{0}, std::size_t{2}, plan.units.size() - 1}) {
    const PlanUnit& unit = plan.units[u];
    for (const char* name : {"fp4-g32", "int4-g64", "int8-g128"}) {
      auto other = LoadModel(checkpoint_, *backend);
      ASSERT_TRUE(other.ok());
      const Block& block = description_.blocks[unit.layer];
      for (const std::size_t m : block.inputs[unit.input].matrices) {
        const Tensor& tensor = *checkpoint_.Find(description_.NameOf(block.matrices[m].source));
        ThreadPool pool(1);
        const auto plain = EncodePlain(tensor, Precision::kSixteenBit, pool);
        ASSERT_TRUE(plain.ok());
        std::vector<float> values(tensor.rows() * tensor.cols());
        for (std::size_t r = 0; r < tensor.rows(); ++r) {
          DecodeRow(plain->view(), r, std::span(values).subspan(r * tensor.cols(), tensor.cols()));
        }
        const auto matrix = options.method->run(*FindFormat(name), {values.data(), tensor.rows(), tensor.cols()},
                                                &statistics->blocks[unit.layer][unit.input], pool);
        ASSERT_TRUE(matrix.ok());
        other->weights.blocks[unit.layer].matrices[m].weight = std::move(*backend->Pack(matrix->view()));
      }
      auto session = Session::Create(*model, kCtx, kCtx);
      ASSERT_TRUE(session.ok());
      const auto want = EvaluateDivergence(*other, RunningBaseline(*model, *session), first, {kCtx, 4}, {});
      ASSERT_TRUE(want.ok()) << want.error().message;
      EXPECT_GT(want->mean_kl(), 0);
      EXPECT_NEAR(unit.Find(name)->measured_kl.value(), want->mean_kl(), 1e-12 + 1e-9 * want->mean_kl())
          << unit.stems[0] << " " << name;
    }
    EXPECT_EQ(unit.Find(kKeptName)->kl(), 0.0);
    EXPECT_DOUBLE_EQ(*unit.Find("fp4-g128")->estimated_kl, *unit.Find("fp4-g128")->measured_kl);
    EXPECT_LT(*unit.Find("int8-g128")->estimated_kl, 0.1 * *unit.Find("fp4-g32")->estimated_kl);
  }
  plan.probe = "fp4-g128";
  const auto others =
      std::ranges::count_if(Formats(), [](const FormatRow& row) { return HasGroups(row.info) && row.info.common; }) - 1;
  EXPECT_EQ(CheckEstimates(plan).pairs, static_cast<std::size_t>(others) * plan.units.size());
}

TEST_F(Plans, TheSameForEveryNumberOfThreadsAndMethod) {
  for (const char* method : {"rtn", "mse", "gptq"}) {
    const std::string one = Make(Options(method), 1);
    EXPECT_EQ(one.front(), '{') << one;
    EXPECT_EQ(Make(Options(method), 3), one) << method;
  }
}

TEST_F(Plans, AnInterruptedRunGoesOn) {
  const std::string whole = Make(Options(), 2);
  PlanOptions options = Options();
  options.kept = kept_;
  const ProgressFn interrupt = [](const Progress& progress) {
    if (progress.note == "layer 2 of 2") g_interrupted = true;
  };
  EXPECT_EQ(Make(options, 2, interrupt), "interrupted");
  ASSERT_TRUE(fs::exists(kept_));
  g_interrupted = false;
  std::set<std::string> notes;
  EXPECT_EQ(Make(options, 2, [&](const Progress& progress) { notes.insert(progress.note); }), whole);
  EXPECT_TRUE(notes.contains("layer 2 of 2"));
  EXPECT_FALSE(notes.contains("layer 1 of 2")) << "it was kept";
  // Another budget measures nothing again; another method everything.
  options.value = 6;
  notes.clear();
  EXPECT_NE(Make(options, 2, [&](const Progress& progress) { notes.insert(progress.note); }), whole);
  EXPECT_FALSE(notes.contains("layer 2 of 2"));
  options.method = "rtn";
  Make(options, 2, [&](const Progress& progress) { notes.insert(progress.note); });
  EXPECT_TRUE(notes.contains("layer 2 of 2"));
}

TEST_F(Plans, AreConfirmedOnOtherWindowsAgainstWhatFits) {
  const auto backend = MakeBackend(2);
  PlanOptions options = Options();
  options.measure_all = true;
  const auto plan = MakePlan(checkpoint_, windows_, options, *backend, {});
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  EXPECT_LE(plan->bits_per_weight(), 5.5);
  ASSERT_GE(plan->confirmed.size(), 2u);
  EXPECT_EQ(plan->confirmed[0].config, "mixed");
  for (const HeldOutKl& row : plan->confirmed) {
    EXPECT_EQ(row.window_kl.size(), 2u);
    EXPECT_LE(row.bytes, plan->budget.bytes) << row.config;
    for (const double sum : row.window_kl) EXPECT_GT(sum, 0);
  }
  const HeldOutKl* best = BestUniform(*plan);
  ASSERT_NE(best, nullptr);
  for (std::size_t i = 1; i < plan->confirmed.size(); ++i) {
    EXPECT_LE(best->window_kl[0] + best->window_kl[1],
              plan->confirmed[i].window_kl[0] + plan->confirmed[i].window_kl[1]);
  }
}

TEST_F(Plans, ImpossibleBudgetsAreSaidBeforeAnythingRuns) {
  const auto backend = MakeBackend(1);
  PlanOptions options = Options();
  options.value = 1;
  const ProgressFn never = [](const Progress&) { ADD_FAILURE() << "something ran"; };
  const auto plan = MakePlan(checkpoint_, windows_, options, *backend, never);
  ASSERT_FALSE(plan.ok());
  EXPECT_EQ(plan.error().code, ErrorCode::kUsage);
}

TEST(CutPlanWindows, HaveNoTokenInCommonAndCoverTheText) {
  TokenStream stream;
  stream.tokens.resize(5000);
  const auto cut = CutPlanWindows(stream, 100, 8, 16, "text", "hash");
  ASSERT_TRUE(cut.ok());
  ASSERT_EQ(cut->measured.begins.size(), 8u);
  ASSERT_EQ(cut->held_out.begins.size(), 16u);
  for (const std::size_t a : cut->measured.begins) {
    for (const std::size_t b : cut->held_out.begins) EXPECT_TRUE(a + 100 <= b || b + 100 <= a);
  }
  EXPECT_GT(cut->measured.begins.back(), 4000u);
  EXPECT_LT(cut->measured.begins.front(), 1000u);
  stream.tokens.resize(1200);
  const auto shared = CutPlanWindows(stream, 100, 8, 16, "text", "hash");
  ASSERT_TRUE(shared.ok());
  EXPECT_EQ(shared->measured.begins.size(), 4u);
  EXPECT_EQ(shared->held_out.begins.size(), 8u);
  stream.tokens.resize(700);
  const auto few = CutPlanWindows(stream, 100, 8, 16, "text", "hash");
  ASSERT_FALSE(few.ok());
  EXPECT_EQ(few.error().code, ErrorCode::kInput);
}

}  // namespace
}  // namespace marlin
