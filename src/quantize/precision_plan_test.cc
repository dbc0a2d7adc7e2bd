#include "quantize/precision_plan.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/rng.h"
#include "formats/formats.h"
#include "model/sizes.h"
#include "model/test_description.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

Description SmallModel() { return TestDescription({300, 96, 3, 4, 2, 24, 200, 64, true}); }

// Random divergences that fall with the bytes.
PrecisionPlan RandomPlan(std::uint64_t seed) {
  Rng rng(seed);
  PrecisionPlan plan = EmptyPlan(SmallModel());
  plan.model_name = "small";
  plan.model_sha256 = "aaaa";
  plan.tokenizer_sha256 = "bbbb";
  plan.text_name = "text";
  plan.ctx = 16;
  plan.windows = 4;
  plan.held_out_windows = 2;
  plan.method = "mse";
  plan.probe = "fp4-g128";
  for (PlanUnit& unit : plan.units) {
    const double scale = std::exp(rng.Normal());
    for (PlanCandidate& candidate : unit.candidates) {
      if (candidate.format == nullptr) continue;
      candidate.estimated_kl = scale / static_cast<double>(candidate.bytes) * (1 + 0.1 * rng.Normal());
    }
    unit.candidates[1].measured_kl = *unit.candidates[1].estimated_kl * 1.25;
  }
  plan.confirmed = {{"mixed", 1000, {0.5, 0.75}}, {"fp4-g64", 990, {0.625, 1.0}}};
  return plan;
}

TEST(PrecisionPlan, UnitsCoverTheLinearLayersWithExactBytes) {
  const Description model = SmallModel();
  const PrecisionPlan plan = EmptyPlan(model);
  ASSERT_EQ(plan.units.size(), 12u);
  EXPECT_EQ(plan.units[4].stems.size(), 3u);
  EXPECT_EQ(plan.units[5].stems, std::vector<std::string>{"model.layers.1.self_attn.o_proj"});
  EXPECT_EQ(plan.units[6].stems.size(), 2u);
  EXPECT_EQ(plan.linear_weights, LinearWeights(model));
  for (const UniformChoice& choice : UniformChoices(plan)) {
    EXPECT_EQ(choice.bytes, LinearBytes(model, *choice.format)) << choice.format->info.name;
    EXPECT_EQ(choice.bytes + plan.other_bytes, ModelBytes(model, choice.format));
    EXPECT_FALSE(choice.kl.has_value()) << "nothing is measured yet";
  }
  EXPECT_EQ(plan.units[0].candidates.back().name(), kKeptName);
}

TEST(PrecisionPlan, ChoosesWithinEveryKindOfBudget) {
  PrecisionPlan plan = RandomPlan(1);
  ASSERT_TRUE(SetBudget(plan, BudgetKind::kBitsPerWeight, 5.5).ok());
  EXPECT_EQ(plan.budget.bytes, static_cast<std::uint64_t>(5.5 * static_cast<double>(plan.linear_weights) / 8));
  ASSERT_TRUE(Choose(plan).ok());
  EXPECT_LE(plan.bits_per_weight(), 5.5);
  const double kl = plan.predicted_kl().value();
  for (const UniformChoice& choice : UniformChoices(plan)) {
    if (choice.bytes > plan.budget.bytes) continue;
    EXPECT_LE(kl, choice.kl.value()) << choice.format->info.name;
  }
  const std::uint64_t bytes = plan.bytes();
  ASSERT_TRUE(SetBudget(plan, BudgetKind::kModelBytes, static_cast<double>(plan.other_bytes + bytes)).ok());
  ASSERT_TRUE(Choose(plan).ok());
  EXPECT_DOUBLE_EQ(plan.predicted_kl().value(), kl);
  ASSERT_TRUE(SetBudget(plan, BudgetKind::kMostKl, kl).ok());
  ASSERT_TRUE(Choose(plan).ok());
  EXPECT_LE(plan.bytes(), bytes);
  EXPECT_LE(plan.predicted_kl().value(), kl * (1 + 1e-9));
}

TEST(PrecisionPlan, BudgetsThatCannotBeMetSayWhatCan) {
  PrecisionPlan plan = RandomPlan(2);
  const Status bits = SetBudget(plan, BudgetKind::kBitsPerWeight, 3);
  ASSERT_FALSE(bits.ok());
  EXPECT_EQ(bits.error().code, ErrorCode::kUsage);
  EXPECT_NE(bits.error().message.find("the smallest has 4."), std::string::npos) << bits.error().message;
  EXPECT_FALSE(SetBudget(plan, BudgetKind::kModelBytes, static_cast<double>(plan.other_bytes)).ok());
  EXPECT_FALSE(SetBudget(plan, BudgetKind::kModelBytes, 1e300).ok());
  ASSERT_TRUE(SetBudget(plan, BudgetKind::kMostKl, 0).ok());
  ASSERT_TRUE(Choose(plan).ok());
  EXPECT_EQ(plan.bytes(), 2 * plan.linear_weights) << "only 16 bits lose nothing";
  EXPECT_EQ(plan.kept_bytes(), plan.bytes());
  EXPECT_TRUE(plan.formats().empty());
}

class PlanFile : public testing::Test {
 protected:
  void SetUp() override {
    plan_ = RandomPlan(3);
    ASSERT_TRUE(SetBudget(plan_, BudgetKind::kBitsPerWeight, 4.9).ok());
    ASSERT_TRUE(Choose(plan_).ok());
    ASSERT_TRUE(WritePlan(plan_, file_).ok());
  }
  void TearDown() override { fs::remove(file_); }

  Result<PrecisionPlan> Read() const { return ReadPlan(file_, SmallModel(), "aaaa", "bbbb"); }

  // The plan as somebody edited it.
  void ExpectError(const std::function<void(json&)>& edit, const std::string& word) const {
    json document = json::parse(PlanToJson(plan_));
    edit(document);
    ASSERT_TRUE(WriteFileAtomic(file_, document.dump()).ok());
    const auto read = Read();
    ASSERT_FALSE(read.ok()) << word;
    EXPECT_EQ(read.error().code, ErrorCode::kInput);
    EXPECT_NE(read.error().message.find(word), std::string::npos) << read.error().message;
    EXPECT_NE(read.error().message.find(file_.string()), std::string::npos);
  }

  const fs::path file_ = fs::path(testing::TempDir()) / fmt::format("{}_marlin_plan_test.json", ::getpid());
  PrecisionPlan plan_;
};

TEST_F(PlanFile, ReadsBackWhatWasWritten) {
  const auto read = Read();
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(PlanToJson(*read), PlanToJson(plan_));
  EXPECT_EQ(HashFormats(*read), HashFormats(plan_));
  const json check = json::parse(PlanToJson(plan_))["estimate_check"];
  ASSERT_EQ(check.size(), plan_.units.size()) << "one candidate of each unit has both";
  EXPECT_NEAR(check[0]["measured_kl"].get<double>() / check[0]["estimated_kl"].get<double>(), 1.25, 1e-12);
  EXPECT_EQ(read->formats(), plan_.formats());
}

TEST_F(PlanFile, AnEditDecides) {
  json document = json::parse(PlanToJson(plan_));
  json& unit = document["units"][2];
  ASSERT_EQ(unit["tensors"].size(), 2u);
  unit["format"] = "int8-g128";
  document["budget"]["bytes"] = 1 << 20;
  unit.erase("candidates");
  unit["candidates"] = json::array();
  ASSERT_TRUE(WriteFileAtomic(file_, document.dump()).ok());
  const auto read = Read();
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(read->formats().at("model.layers.0.mlp.up_proj"), FindFormat("int8-g128"));
  EXPECT_FALSE(read->predicted_kl().has_value()) << "of the new format nothing is known";
  EXPECT_NE(HashFormats(*read), HashFormats(plan_));
}

TEST_F(PlanFile, NoNestingIsTooDeepToBeRefused) {
  const std::string deep = std::string(1'000'000, '[') + std::string(1'000'000, ']');
  ASSERT_TRUE(WriteFileAtomic(file_, R"({"schema": "metal-marlin.plan", "version": )" + deep + "}").ok());
  EXPECT_EQ(Read().error().code, ErrorCode::kInput);
}

TEST_F(PlanFile, EveryMistakeIsNamed) {
  ExpectError([](json& d) { d["schema"] = 7; }, "not a plan");
  ExpectError([](json& d) { d["version"] = 2; }, "version 2");
  ExpectError([](json& d) { d["model"]["sha256"] = "cccc"; }, "another model");
  ExpectError([](json& d) { d["model"]["tokenizer_sha256"] = "cccc"; }, "another tokenizer");
  ExpectError([](json& d) { d["units"][4]["tensors"][0] = "model.layers.9.self_attn.q_proj"; }, "layers.9");
  ExpectError([](json& d) { d["units"][4]["format"] = "fp4-g17"; }, "want one of: int8-g128, fp4-g32");
  ExpectError([](json& d) { d["units"][4]["format"] = 4; }, "unit 5: \"format\"");
  ExpectError([](json& d) { d["units"].erase(3); }, "no unit names \"model.layers.0.mlp.down_proj\"");
  ExpectError([](json& d) { d["units"][1] = d["units"][3]; }, "is in another unit too");
  ExpectError([](json& d) { d["units"] = 3; }, "\"units\" is not a list");
  ExpectError([](json& d) { d["units"][0] = nullptr; }, "unit 1");
  ExpectError([](json& d) { d["budget"]["bytes"] = 100; }, "more than its budget");
  ExpectError([](json& d) { d["budget"]["kind"] = "hope"; }, "hope");
  ExpectError([](json& d) { d["budget"].erase("bytes"); }, "budget: \"bytes\"");
  ExpectError([](json& d) { d["held_out"][0]["window_kl"] = {1}; }, "1 values for 2 windows");
  ExpectError([](json& d) { d["held_out"][0]["window_kl"] = json::array(); }, "\"window_kl\" is empty");
  ExpectError(
      [](json& d) {
        json other = d["units"][0];
        other["tensors"] = {d["units"][0]["tensors"][2]};
        other["format"] = d["units"][0]["format"] == "fp4-g32" ? "fp4-g64" : "fp4-g32";
        d["units"][0]["tensors"].erase(2);
        d["units"].push_back(other);
      },
      "share a format");
  ASSERT_TRUE(WriteFileAtomic(file_, "{\"schema\":").ok());
  EXPECT_FALSE(Read().ok());
  fs::remove(file_);
  EXPECT_FALSE(Read().ok());
}

TEST_F(PlanFile, MoreDivergenceThanItsBudget) {
  ASSERT_TRUE(SetBudget(plan_, BudgetKind::kMostKl, plan_.predicted_kl().value()).ok());
  ASSERT_TRUE(WritePlan(plan_, file_).ok());
  EXPECT_TRUE(Read().ok());
  ExpectError([](json& d) { d["budget"]["value"] = 1e-9; }, "expected to lose");
}

}  // namespace
}  // namespace marlin
