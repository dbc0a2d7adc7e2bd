// Every family through the commands that quantize, calibrate, plan and measure, on the tiny GGUF files of the tests of
// model/: random weights, with tokenizers of their own.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/program.h"

namespace marlin {
namespace {
using nlohmann::json;

struct FamilyCase {
  const char* name;
  bool rotates;  // something of it can be rotated
};

class Families : public testing::TestWithParam<FamilyCase> {
 protected:
  std::string Model() const {
    return std::string(MARLIN_SOURCE_DIR) + "/src/model/testdata/tiny-" + GetParam().name + ".gguf";
  }
  std::string Text() const { return std::string(MARLIN_SOURCE_DIR) + "/data/sample/sample.txt"; }
  RunResult Quantize(const std::string& method, const std::string& out) const {
    std::vector<std::string> words = {"quantize", Model(),    "-o",   out,         "--config",
                                      "fp4-g32",  "--method", method, "--offline", "-q"};
    if (method != "rtn") {
      words.insert(words.end(), {"--calibration", Text(), "--calibration-ctx", "32", "--calibration-windows", "8",
                                 "--allow-overlap"});
    }
    return RunProgram(words);
  }
  // KL from the model itself.
  double Kl(const std::string& folder) const {
    const RunResult measured =
        RunProgram({"eval", "divergence", folder, "--baseline", Model(), "--data", Text(), "--ctx", "32", "--samples",
                    "8", "--floor-windows", "0", "--offline", "--json", "-q"});
    EXPECT_EQ(measured.exit_code, 0) << measured.err;
    return measured.exit_code == 0 ? json::parse(measured.out)["divergence"]["kl"].get<double>() : -1;
  }
  const TemporaryFolder folder_;
};

// The head scales and caps logits for the model and for its baseline.
TEST_P(Families, AModelDoesNotDifferFromItself) { EXPECT_LT(std::abs(Kl(Model())), 1e-12); }

TEST_P(Families, EveryMethodGivesAModelNearTheOriginal) {
  const RunResult rounded = Quantize("rtn", folder_ / "rtn");
  ASSERT_EQ(rounded.exit_code, 0) << rounded.err;
  const double rtn = Kl(folder_ / "rtn");
  EXPECT_GT(rtn, 0);
  EXPECT_LT(rtn, 2) << "near the original";
  for (const std::string method : {"gptq", "awq+gptq", "rotate+gptq"}) {
    const bool rotates = method.starts_with("rotate");
    const RunResult made = Quantize(method, folder_ / method);
    if (rotates && !GetParam().rotates) {
      EXPECT_EQ(made.exit_code, 5) << made.err;
      EXPECT_NE(made.err.find("cannot be rotated"), std::string::npos) << made.err;
      continue;
    }
    ASSERT_EQ(made.exit_code, 0) << method << ": " << made.err;
    // A wrong fold or rotation costs far more.
    EXPECT_LT(Kl(folder_ / method), 1.5 * rtn) << method;
  }
}

// Eight bits of every matrix leave the model as it is; so every part of it was written and read back in its place.
TEST_P(Families, APlanMixesFormats) {
  const RunResult planned =
      RunProgram({"plan", Model(), "-o", folder_ / "plan.json", "--budget", "5bpw", "--calibration", Text(),
                  "--calibration-ctx", "32", "--calibration-windows", "4", "--allow-overlap", "--offline", "-q"});
  ASSERT_EQ(planned.exit_code, 0) << planned.err;
  const RunResult made =
      RunProgram({"quantize", Model(), "-o", folder_ / "mixed", "--plan", folder_ / "plan.json", "--offline", "-q"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  EXPECT_LT(Kl(folder_ / "mixed"), 2);
}

INSTANTIATE_TEST_SUITE_P(All, Families,
                         testing::Values(FamilyCase{"gemma2", true}, FamilyCase{"gemma3", true},
                                         FamilyCase{"ministral3", true}, FamilyCase{"phi3", true},
                                         FamilyCase{"smollm3", true}, FamilyCase{"olmo2", true},
                                         FamilyCase{"olmo3", true}, FamilyCase{"granite", true},
                                         FamilyCase{"gemma4", false}, FamilyCase{"gemma4-e", false},
                                         FamilyCase{"glm4", true}, FamilyCase{"seed-oss", true},
                                         FamilyCase{"gpt2", true}, FamilyCase{"gpt-neox", true}),
                         [](const auto& tested) {
                           std::string name = tested.param.name;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace marlin
