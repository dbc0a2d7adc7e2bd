// Qwen3 through the commands that quantize and measure.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/program.h"
#include "tests/tiny_model.h"

namespace marlin {
namespace {
using nlohmann::json;

TEST(Qwen3, QuantizesAndMeasures) {
  const TemporaryFolder folder;
  const std::string model = folder / "model";
  const std::string text = folder / "text";
  WriteTinyModel(model, "Qwen3ForCausalLM");
  WriteTinyText(text);
  double rtn = 0;
  for (const std::string method : {"rtn", "gptq", "awq", "rotate+awq+gptq"}) {
    const std::string out = folder / method;
    std::vector<std::string> words = {"quantize", model,      "-o",   out,         "--config",
                                      "int4-g64", "--method", method, "--offline", "-q"};
    if (method != "rtn") {
      words.insert(words.end(),
                   {"--calibration", text, "--calibration-ctx", "64", "--calibration-windows", "8", "--allow-overlap"});
    }
    const RunResult quantized = RunProgram(words);
    ASSERT_EQ(quantized.exit_code, 0) << method << ": " << quantized.err;
    const RunResult measured =
        RunProgram({"eval", "divergence", out, "--baseline", model, "--data", text, "--ctx", "64", "--samples", "8",
                    "--floor-windows", "0", "--offline", "--json", "-q"});
    ASSERT_EQ(measured.exit_code, 0) << method << ": " << measured.err;
    const double kl = json::parse(measured.out)["divergence"]["kl"].get<double>();
    if (method == "rtn") {
      rtn = kl;
      EXPECT_LT(rtn, 0.2);
    }
    EXPECT_GT(kl, 0) << method;
    // A wrong fold or rotation costs far more; gptq has seen the text.
    EXPECT_LT(kl, method.ends_with("gptq") ? rtn : 2 * rtn) << method;
  }
}

}  // namespace
}  // namespace marlin
