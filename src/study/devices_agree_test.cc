// The production device against products in fp32 on the host: every family's checkpoint, and every configuration of
// minnow. Perplexities are equal to a tenth of a percent, and the divergence between the two is below a thousandth of
// the format's own. With MARLIN_TEST_DEVICE=cuda the device is a GPU, whose products round to fp16; otherwise it is the
// processor with products in int16 where a kernel for that is there.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "base/rng.h"
#include "eval/divergence.h"
#include "formats/formats.h"
#include "kernels/random_matrix.h"
#include "kernels/test_device.h"
#include "model/open_model.h"
#include "quantize/quantize_model.h"
#include "text/sample_text.h"
#include "text/tokenizer.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

class DevicesAgree : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const fs::path folder = fs::path(MARLIN_SOURCE_DIR) / GetParam();
    auto opened = OpenModel(folder);
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    checkpoint_ = std::move(opened->checkpoint);
    description_ = std::move(opened->description);
    auto host = MakeCpuBackend({2, {}, {}, Activations::kFp32});
    ASSERT_TRUE(host.ok());
    host_ = std::move(*host);
    auto device =
        TestsCuda() ? MakeCudaBackend(0, 2, Activations::kBf16) : MakeCpuBackend({2, {}, {}, Activations::kInt16});
    ASSERT_TRUE(device.ok()) << device.error().message;
    device_ = OnTestDevice(std::move(*device));
  }

  Model Load(Backend& backend, const FormatRow* format) {
    FormatMap formats;
    if (format != nullptr) {
      QuantizeOptions options;
      options.format = format;
      auto chosen = FormatsToUse(description_, options);
      EXPECT_TRUE(chosen.ok());
      formats = std::move(*chosen);
      // Some formats store only rows of whole blocks.
      std::erase_if(formats, [&](const auto& entry) { return !StoresAll(*format) && !Fits(*format, entry.first); });
    }
    auto model = LoadModel(checkpoint_, backend, Precision::kSource, {}, formats);
    EXPECT_TRUE(model.ok()) << model.error().message;
    return std::move(*model);
  }
  static bool StoresAll(const FormatRow& format) { return FittingCols(format.info, 1) == 1; }
  // Whether the format stores rows of this matrix.
  bool Fits(const FormatRow& format, const std::string& stem) const {
    const auto has = [&](const Parts& parts) {
      return std::ranges::any_of(parts.matrices, [&](const Matrix& x) {
        return x.name == stem && FittingCols(format.info, x.cols) == x.cols;
      });
    };
    return has(description_) || std::ranges::any_of(description_.blocks, has);
  }

  DivergenceResult Compare(const Model& base, const Model& model, const TokenStream& stream, std::size_t ctx) {
    auto session = Session::Create(base, ctx, ctx);
    EXPECT_TRUE(session.ok());
    auto result = EvaluateDivergence(model, RunningBaseline(base, *session), stream, {ctx, 0}, {});
    EXPECT_TRUE(result.ok()) << result.error().message;
    return std::move(*result);
  }

  void ExpectAgreement(const FormatRow& format, const TokenStream& stream, std::size_t ctx) {
    SCOPED_TRACE(format.info.name);
    const Model original = Load(*host_, nullptr);
    const Model on_host = Load(*host_, &format);
    const Model on_device = Load(*device_, &format);
    const double own_kl = Compare(original, on_host, stream, ctx).mean_kl();
    const DivergenceResult between = Compare(on_host, on_device, stream, ctx);
    double base = 0, other = 0;
    for (std::size_t w = 0; w < between.base.window_nll.size(); ++w) {
      base += between.base.window_nll[w];
      other += between.other.window_nll[w];
    }
    const auto tokens = static_cast<double>(between.token_kl.size());
    EXPECT_LT(std::abs(base - other) / tokens, 1e-3) << "of the logarithm of the perplexity";
    // 8 bits lose so little that what 11 or 16 bits of an activation lose is seen beside it.
    const double share = format.info.code_bits < 8 ? 1e-3 : 2e-2;
    EXPECT_LT(between.mean_kl(), share * own_kl) << "own KL " << own_kl;
  }

  Checkpoint checkpoint_;
  Description description_;
  std::unique_ptr<Backend> host_, device_;
};

TEST_P(DevicesAgree, OnEveryConfiguration) {
  const bool is_minnow = GetParam() == "models/minnow";
  const std::size_t ctx = is_minnow ? 256 : 48;
  TokenStream stream;
  if (is_minnow) {
    const auto tokenizer = Tokenizer::FromCheckpoint(checkpoint_);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    auto tokens = tokenizer->Encode(SampleText().substr(0, TestsCuda() ? 12000 : 2500));
    ASSERT_TRUE(tokens.ok());
    stream.tokens = std::move(*tokens);
  } else {
    Rng rng(3);
    for (std::size_t i = 0; i < 6 * ctx; ++i) {
      stream.tokens.push_back(static_cast<std::int32_t>(rng.Below(description_.vocab_size)));
    }
  }
  stream.token_bytes.assign(stream.tokens.size(), 3);
  std::size_t tested = 0;
  for (const FormatRow& format : Formats()) {
    const bool is_chosen =
        format.info.name == std::string_view("fp4-g32") || format.info.name == std::string_view("int4-g64");
    if (!HasGroups(format.info) || format.info.code_bits > 8 || (!is_minnow && !is_chosen)) continue;
    ExpectAgreement(format, stream, ctx);
    ++tested;
  }
  EXPECT_GE(tested, is_minnow ? 15u : 2u);
}

std::vector<std::string> FoldersToTest() {
  std::vector<std::string> folders = {"models/minnow"};
  for (const auto& entry : fs::directory_iterator(fs::path(MARLIN_SOURCE_DIR) / "src/model/testdata")) {
    const std::string name = entry.path().filename().string();
    if (entry.is_directory() && name.starts_with("tiny-")) folders.push_back("src/model/testdata/" + name);
  }
  std::ranges::sort(folders);
  return folders;
}

INSTANTIATE_TEST_SUITE_P(Models, DevicesAgree, testing::ValuesIn(FoldersToTest()), [](const auto& tested) {
  std::string name = fs::path(tested.param).filename().string();
  std::ranges::replace(name, '-', '_');
  return name;
});

}  // namespace
}  // namespace marlin
