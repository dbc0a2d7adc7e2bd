// The layout of the CUDA kernels for few tokens: what they decode is what the format says. Needs no device.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/cuda/few_pack.h"
#include "kernels/cuda/many_power.h"
#include "kernels/random_matrix.h"

namespace marlin::cuda {
namespace {

class CudaLayout : public testing::TestWithParam<const FormatRow*> {};

TEST_P(CudaLayout, DecodesToTheNumbersOfTheFormat) {
  Rng rng(5);
  ThreadPool pool(2);
  const FormatRow& format = *GetParam();
  ASSERT_TRUE(FewFormatOf(format.info)) << "kFewFormats lacks the format; without need, the plain kernel serves it";
  const FewFormat few = *FewFormatOf(format.info);
  EXPECT_EQ(RecordOf(few).bytes % 16, 0);
  for (const std::size_t rows : {1, 17, 70}) {
    for (const std::size_t cols : {1, 33, 256, 300, 600}) {
      const EncodedMatrix matrix = RandomEncoded(format, rows, FittingCols(format.info, cols), rng);
      const std::vector<std::uint8_t> bytes = PackFew(matrix.view(), few, pool);
      const FewWeight weight{few, bytes.data(), matrix.rows, matrix.cols, FewUnitOf(matrix.view(), few)};
      ASSERT_EQ(bytes.size(), weight.bytes());
      std::vector<float> want(matrix.cols), got(matrix.cols);
      for (std::size_t r = 0; r < rows; ++r) {
        DecodeRow(matrix.view(), r, want);
        DecodeFewRow(weight, r, got);
        ASSERT_EQ(got, want) << "rows " << rows << " row " << r;
      }
    }
  }
}

// Bytes of a record for each weight: at most an eighth of a bit more than those of the format.
TEST_P(CudaLayout, IsHardlyLargerThanTheFormat) {
  const FormatInfo& info = GetParam()->info;
  const FewWeight weight{*FewFormatOf(info), nullptr, 64, 4096};
  const double few_bits = static_cast<double>(weight.bytes()) * 8 / (64 * 4096);
  const double own_bits = static_cast<double>(SizeOfEncoded(info, 64, 4096).total()) * 8 / (64 * 4096);
  EXPECT_LE(few_bits, own_bits + 0.126);
  RecordProperty("bits", std::to_string(few_bits));
}

// Factors and results of the kernel for many tokens fit fp16, and the largest use its range.
TEST_P(CudaLayout, DividesByAPowerThatFitsHalves) {
  const FewFormat format = *FewFormatOf(GetParam()->info);
  if (format.scale == FewScale::kE4m3) {
    EXPECT_EQ(ManyPowerOf(format, 0.25f, 1, 1), PowerOfMany(format.coding) / 4);
    return;
  }
  for (const float scale : {0x1p-24f, 0x1p-14f, 0.003f, 0.9999f, 1.0f, 3.0f, 1000.0f}) {
    for (const float steps : {0.0f, 7.0f, 31.0f, 129.0f}) {
      const float number = scale * steps, power = ManyPowerOf(format, 1, number, scale);
      const ManyFactors factors = FactorsOf(format.coding, power);
      EXPECT_EQ(std::exp2(std::log2(power)), power);
      EXPECT_LT(scale * factors.scale, 0x1p15f) << scale;
      EXPECT_LT(number / power, 0x1p15f) << scale;
      if (scale >= 0x1p-14f) {
        EXPECT_GE(std::max(scale * factors.scale, number / power), 0x1p14f) << scale << " steps " << steps;
      }
      if (format.biased) {
        EXPECT_EQ(HalfToFloat(static_cast<std::uint16_t>(factors.biases)), 1 / power);
      }
      if (format.scale == FewScale::kE8m0) continue;
      const float product = HalfToFloat(static_cast<std::uint16_t>(factors.scales[0])) *
                            HalfToFloat(static_cast<std::uint16_t>(factors.scales[1]));
      EXPECT_EQ(product, factors.scale);
    }
  }
}

// Numbers that are not there, or are no numbers, do not matter.
TEST(ManyPower, IsThatOfNumbersWhereThereAreNone) {
  const FewFormat format = {FewCoding::kFp4, FewScale::kHalf, 32};
  for (const float scale : {0.0f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    EXPECT_EQ(ManyPowerOf(format, 1, 0, scale), PowerOfMany(format.coding));
  }
}

std::vector<const FormatRow*> FormatsWithGroups() {
  std::vector<const FormatRow*> out;
  for (const FormatRow& format : Formats()) {
    if (HasGroups(format.info)) out.push_back(&format);
  }
  return out;
}

INSTANTIATE_TEST_SUITE_P(AllFormats, CudaLayout, testing::ValuesIn(FormatsWithGroups()), [](const auto& tested) {
  std::string name(tested.param->info.name);
  for (char& c : name) c = c == '-' ? '_' : c;
  return name;
});

}  // namespace
}  // namespace marlin::cuda
