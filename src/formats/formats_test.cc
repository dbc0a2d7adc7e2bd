// Properties of every format of the list, and bytes computed by hand from the definitions.
#include "formats/formats.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <vector>

#include "base/rng.h"
#include "formats/encoded_matrix.h"

namespace marlin {
namespace {

std::vector<float> RandomWeights(std::size_t count, std::uint64_t seed) {
  Rng rng(seed);
  std::vector<float> weights(count);
  for (float& w : weights) w = static_cast<float>(rng.Normal() * 0.05);
  return weights;
}

// Row lengths: divided by every group, by none (576 by 128, 172 by any, 7, 1), odd.
constexpr std::size_t kLengths[] = {1, 2, 7, 32, 33, 64, 127, 172, 256, 257, 576};

class FormatProperties : public testing::TestWithParam<const FormatRow*> {};

TEST_P(FormatProperties, RoundIsNearest) {
  const FormatRow& format = *GetParam();
  const std::vector<float> weights = RandomWeights(64, 1);
  if (format.info.code_bits == 32) {  // too many codes to enumerate, and none is needed: every weight is a code
    const EncodedMatrix exact = Encode(format, {weights.data(), 1, weights.size()});
    std::vector<float> decoded(weights.size(), NAN);
    DecodeRow(exact.view(), 0, decoded);
    EXPECT_EQ(decoded, weights);
    return;
  }
  const GroupParams params = format.fit(weights, {});
  std::vector<std::uint32_t> all(std::size_t{1} << format.info.code_bits);
  for (std::uint32_t c = 0; c < all.size(); ++c) all[c] = c;
  std::vector<float> values(all.size());
  format.decode(all, params, values);
  std::vector<std::uint32_t> codes(weights.size());
  format.round(weights, params, codes);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    float best = INFINITY;
    for (const float v : values) best = std::min(best, std::abs(v - weights[i]));
    EXPECT_LE(std::abs(values[codes[i]] - weights[i]), best * (1 + 1e-5f)) << weights[i];
  }
}

TEST_P(FormatProperties, EncodingDecodedWeightsAgainChangesNothing) {
  const FormatRow& format = *GetParam();
  for (const std::size_t cols : kLengths) {
    const std::vector<float> weights = RandomWeights(3 * cols, cols);
    const EncodedMatrix once = Encode(format, {weights.data(), 3, cols});
    std::vector<float> decoded(cols, NAN);
    for (std::size_t r = 0; r < 3; ++r) {
      DecodeRow(once.view(), r, decoded);
      std::vector<std::uint32_t> codes(cols);
      std::vector<float> again(cols, NAN);
      const auto group = static_cast<std::size_t>(format.info.group == 0 ? static_cast<int>(cols) : format.info.group);
      for (std::size_t g = 0, begin = 0; begin < cols; ++g, begin += group) {
        const std::size_t size = std::min(group, cols - begin);
        const GroupParams params = GetParams(once.view(), r, g);
        format.round(std::span(decoded).subspan(begin, size), params, std::span(codes).subspan(begin, size));
        format.decode(std::span(codes).subspan(begin, size), params, std::span(again).subspan(begin, size));
      }
      EXPECT_EQ(again, decoded) << cols;
    }
  }
}

TEST_P(FormatProperties, ErrorStaysBelowHalfAStep) {
  const FormatRow& format = *GetParam();
  for (const std::size_t cols : kLengths) {
    const std::vector<float> weights = RandomWeights(cols, 7 + cols);
    const EncodedMatrix matrix = Encode(format, {weights.data(), 1, cols});
    std::vector<float> decoded(cols, NAN);
    DecodeRow(matrix.view(), 0, decoded);
    for (std::size_t i = 0; i < cols; ++i) {
      float step = std::abs(weights[i]) * 0x1p-7f;  // bf16 keeps 8 significant bits, the coarsest dense format
      if (format.info.group > 0) {
        const GroupParams params = GetParams(matrix.view(), 0, i / static_cast<std::size_t>(format.info.group));
        step = std::abs(HalfToFloat(params.scale)) * (format.info.family == "fp4" ? 2.0f : 1.0f);
      }
      // INT4's rounded zero point can move an end of the range by up to another half step, and the far end of symmetric
      // INT4 lacks one. The peak of MXFP4 lies below 8, its largest value is 6.
      const bool is_cut = format.info.family == "int4" || format.info.scale_type == ScaleType::kE8m0;
      const float allowed = is_cut ? step * 1.01f : step * 0.51f;
      EXPECT_LE(std::abs(decoded[i] - weights[i]), allowed) << "cols " << cols << " i " << i;
    }
  }
}

TEST_P(FormatProperties, ZeroIsExactAndExtremesAreFinite) {
  const FormatRow& format = *GetParam();
  const std::vector<std::vector<float>> rows = {{0, 0, 0},          {-0.0f, 0, 1},      {1e-30f, -1e-30f, 0},
                                                {3e38f, -3e38f, 0}, {1e-7f, 0, -1e-7f}, {5, 6, 0}};
  for (const auto& row : rows) {
    if (format.info.name == "fp16" && std::abs(row[0]) > kHalfMax) continue;  // fp16 itself has no such value
    const EncodedMatrix matrix = Encode(format, {row.data(), 1, row.size()});
    std::vector<float> decoded(row.size(), NAN);
    DecodeRow(matrix.view(), 0, decoded);
    for (std::size_t i = 0; i < row.size(); ++i) {
      EXPECT_TRUE(std::isfinite(decoded[i])) << row[i];
      if (row[i] == 0) {
        EXPECT_EQ(decoded[i], 0);
      }
    }
  }
}

TEST_P(FormatProperties, SizesAreCountedExactly) {
  const FormatRow& format = *GetParam();
  for (const std::size_t rows : {1u, 7u, 8u, 9u}) {
    for (const std::size_t cols : kLengths) {
      const EncodedMatrix matrix(format, rows, cols);
      const EncodedSize size = SizeOfEncoded(format.info, rows, cols);
      EXPECT_EQ(matrix.codes.size(), size.code_bytes);
      EXPECT_EQ(matrix.scales.size(), size.scale_bytes);
      EXPECT_EQ(matrix.zero_points.size(), size.zero_point_bytes);
    }
  }
}

TEST_P(FormatProperties, CodesAndParamsComeBackFromTheirBytes) {
  const FormatRow& format = *GetParam();
  Rng rng(3);
  for (const std::size_t cols : kLengths) {
    EncodedMatrix matrix(format, 9, cols);
    std::vector<std::vector<std::uint32_t>> codes(9, std::vector<std::uint32_t>(cols));
    std::vector<std::vector<GroupParams>> params(9);
    for (std::size_t r = 0; r < 9; ++r) {
      for (auto& c : codes[r]) c = static_cast<std::uint32_t>(rng.Next() >> (64 - format.info.code_bits));
      SetCodes(matrix, r, 0, codes[r]);
      for (std::size_t g = 0; g < GroupsPerRow(format.info, cols); ++g) {
        const auto zero = static_cast<std::uint8_t>(format.info.zero_point_bits == 0 ? format.info.fixed_zero_point
                                                                                     : static_cast<int>(rng.Below(16)));
        const float wanted = HalfToFloat(static_cast<std::uint16_t>(rng.Below(0x7c00)));
        params[r].push_back({format.round_scale(r % 2 == 0 ? wanted : -wanted), zero});
        SetParams(matrix, r, g, params[r].back());
      }
    }
    for (std::size_t r = 0; r < 9; ++r) {
      std::vector<std::uint32_t> read(cols, 0xdeadbeef);
      GetCodes(matrix.view(), r, 0, read);
      EXPECT_EQ(read, codes[r]);
      for (std::size_t g = 0; g < params[r].size(); ++g) {
        EXPECT_EQ(GetParams(matrix.view(), r, g).scale, params[r][g].scale);
        EXPECT_EQ(GetParams(matrix.view(), r, g).zero_point, params[r][g].zero_point);
      }
    }
  }
}

TEST_P(FormatProperties, ProposalsBeginWithFitAndAreFinite) {
  const FormatRow& format = *GetParam();
  const std::vector<std::vector<float>> groups = {{0, 0, 0}, {1e-30f, -1e-30f, 0}, {3e38f, -3e38f, 1}, {-1, -2, -3},
                                                  {5},       RandomWeights(32, 4)};
  for (const auto& weights : groups) {
    std::array<GroupParams, kMaxProposals> proposals;
    proposals.fill({0x7e00, 99});
    const std::size_t count = format.propose(weights, proposals);
    ASSERT_GE(count, 1u);
    ASSERT_LE(count, kMaxProposals);
    const GroupParams fit = format.fit(weights, {});
    EXPECT_EQ(proposals[0].scale, fit.scale);
    EXPECT_EQ(proposals[0].zero_point, fit.zero_point);
    for (std::size_t i = 0; i < count; ++i) {
      const float scale = HalfToFloat(proposals[i].scale);
      EXPECT_TRUE(std::isfinite(scale)) << scale;
      EXPECT_TRUE(scale >= 0 || format.round_scale(-1) != 0) << scale;
      EXPECT_EQ(proposals[i].scale, HasGroups(format.info) ? format.round_scale(scale) : 0) << "is stored as it is";
      if (format.info.zero_point_bits == 0) {
        EXPECT_EQ(proposals[i].zero_point, format.info.fixed_zero_point);
      }
      EXPECT_LT(proposals[i].zero_point, 16);
    }
  }
}

// What the search of scales relies on.
TEST_P(FormatProperties, DecodedWeightsAreProportionalToTheScale) {
  const FormatRow& format = *GetParam();
  if (format.info.group == 0) GTEST_SKIP() << "no scale";
  std::vector<std::uint32_t> codes(std::size_t{1} << format.info.code_bits);
  for (std::uint32_t c = 0; c < codes.size(); ++c) codes[c] = c;
  const auto zero = static_cast<std::uint8_t>(format.info.zero_point_bits == 0 ? format.info.fixed_zero_point : 6);
  std::vector<float> units(codes.size(), NAN);
  std::vector<float> values(codes.size(), NAN);
  format.decode(codes, {FloatToHalf(1.0f), zero}, units);
  format.decode(codes, {FloatToHalf(0.375f), zero}, values);
  for (std::size_t c = 0; c < codes.size(); ++c) EXPECT_EQ(values[c], 0.375f * units[c]);
}

TEST_P(FormatProperties, ErrorIsTheWeightedSumOfSquares) {
  const FormatRow& format = *GetParam();
  const std::vector<float> weights = RandomWeights(32, 12);
  std::vector<float> importance = RandomWeights(32, 13);
  for (float& x : importance) x = std::abs(x);
  const GroupParams params = format.fit(weights, {});
  std::vector<std::uint32_t> codes(32);
  std::vector<float> decoded(32, NAN);
  format.round(weights, params, codes);
  format.decode(codes, params, decoded);
  double want = 0;
  for (std::size_t i = 0; i < 32; ++i) want += importance[i] * std::pow(double{weights[i]} - decoded[i], 2);
  EXPECT_NEAR(format.error(weights, importance, params), want, 1e-6 * want);
}

std::vector<const FormatRow*> AllRows() {
  std::vector<const FormatRow*> rows;
  for (const FormatRow& row : Formats()) rows.push_back(&row);
  return rows;
}

std::string TestName(const testing::TestParamInfo<const FormatRow*>& info) {
  std::string name(info.param->info.name);
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(AllFormats, FormatProperties, testing::ValuesIn(AllRows()), TestName);

using Bytes = std::vector<std::uint8_t>;

TEST(GoldenBytes, Fp4) {
  // Peak 3: scale 0.5 = fp16 0x3800. In steps of 0.5: 6, -6, 1, 0.5 (code 1), -0.2 (to 0), 2.5 (tie, to 2: code 4),
  // 5 (tie, to 4: code 6).
  const float weights[] = {3.0f, -3.0f, 0.5f, 0.25f, -0.1f, 1.25f, 2.5f};
  const EncodedMatrix matrix = Encode(*FindFormat("fp4-g32"), {weights, 1, 7});
  EXPECT_EQ(matrix.codes, (Bytes{0xf7, 0x12, 0x40, 0x06}));
  EXPECT_EQ(matrix.scales, (Bytes{0x00, 0x38}));
  EXPECT_TRUE(matrix.zero_points.empty());
}

TEST(GoldenBytes, Int4) {
  // Range -1 .. 2.75: scale 0.25 = fp16 0x3400, zero point 4. Codes 0, 15, 4, 6 (tie at 2.5 steps, to 2), 3.
  const float weights[] = {-1.0f, 2.75f, 0.0f, 0.625f, -0.25f};
  const EncodedMatrix matrix = Encode(*FindFormat("int4-g64"), {weights, 1, 5});
  EXPECT_EQ(matrix.codes, (Bytes{0xf0, 0x64, 0x03}));
  EXPECT_EQ(matrix.scales, (Bytes{0x00, 0x34}));
  EXPECT_EQ(matrix.zero_points, (Bytes{0x04, 0, 0, 0}));
}

TEST(GoldenBytes, Int4ZeroPointsOfNineRows) {
  EncodedMatrix matrix(*FindFormat("int4-g64"), 9, 65);  // two groups a row
  for (std::size_t r = 0; r < 9; ++r) {
    SetParams(matrix, r, 0, {0, static_cast<std::uint8_t>(r)});
    SetParams(matrix, r, 1, {0, static_cast<std::uint8_t>(15 - r)});
  }
  EXPECT_EQ(matrix.zero_points, (Bytes{0x10, 0x32, 0x54, 0x76, 0xef, 0xcd, 0xab, 0x89,  //
                                       0x08, 0, 0, 0, 0x07, 0, 0, 0}));
}

TEST(GoldenBytes, Int8) {
  // Peak 12.7: scale fp16(0.1) = 0x2e66 = 0.0999756; -1.3 is -13.003 steps.
  const float weights[] = {12.7f, -12.7f, -1.3f};
  const EncodedMatrix matrix = Encode(*FindFormat("int8-g128"), {weights, 1, 3});
  EXPECT_EQ(matrix.codes, (Bytes{0x7f, 0x81, 0xf3}));
  EXPECT_EQ(matrix.scales, (Bytes{0x66, 0x2e}));
}

TEST(GoldenBytes, Mxfp4) {
  // Peak 3: exponent floor(log2 3) - 2 = -1, byte 126; in steps of 0.5 as in Fp4. Peak 3.9 has the same scale: 7.8 is
  // cut off to 6.
  const float weights[] = {3.0f, -3.0f, 0.5f, 0.25f, -0.1f, 1.25f, 3.9f};
  const EncodedMatrix matrix = Encode(*FindFormat("mxfp4"), {weights, 1, 7});
  EXPECT_EQ(matrix.codes, (Bytes{0xf7, 0x12, 0x40, 0x07}));
  EXPECT_EQ(matrix.scales, (Bytes{126}));
}

TEST(GoldenBytes, Q4_0) {
  // The peak -2 gets code 0: scale 0.25 = fp16 0x3400. Codes 0, 12, 8, 10 (tie at 2.5 steps, to 2), 15 (8 steps, cut
  // off).
  const float weights[] = {-2.0f, 1.0f, 0.0f, 0.625f, 2.0f};
  const EncodedMatrix matrix = Encode(*FindFormat("q4_0"), {weights, 1, 5});
  EXPECT_EQ(matrix.codes, (Bytes{0xc0, 0xa8, 0x0f}));
  EXPECT_EQ(matrix.scales, (Bytes{0x00, 0x34}));
  EXPECT_TRUE(matrix.zero_points.empty());
  // A positive peak makes the scale negative.
  const float other[] = {2.0f, -1.0f};
  EXPECT_EQ(Encode(*FindFormat("q4_0"), {other, 1, 2}).codes, (Bytes{0xc0}));
  EXPECT_EQ(Encode(*FindFormat("q4_0"), {other, 1, 2}).scales, (Bytes{0x00, 0xb4}));
}

TEST(Scales, PowersOfTwoAreRoundedToTheNearer) {
  for (int exponent = kLeastScaleExponent; exponent <= kLargestScaleExponent; ++exponent) {
    const float power = std::ldexp(1.0f, exponent);
    const std::uint16_t half = HalfOfExponent(exponent);
    EXPECT_EQ(HalfToFloat(half), power);
    EXPECT_EQ(E8m0ToHalf(HalfToE8m0(half)), half);
    for (const float factor : {0.76f, 1.0f, 1.49f}) {
      EXPECT_EQ(RoundScaleToE8m0(factor * power), half) << power << " " << factor;
    }
  }
  EXPECT_EQ(RoundScaleToE8m0(0x1p-26f), 0);
  EXPECT_EQ(RoundScaleToE8m0(1e9f), HalfOfExponent(kLargestScaleExponent));
  for (const float none : {0.0f, -1.0f, NAN}) EXPECT_EQ(RoundScaleToE8m0(none), 0);
  EXPECT_FALSE(IsE8m0InRange(255));
  EXPECT_EQ(E8m0ToHalf(0), 0);
}

TEST(GoldenBytes, Dense) {
  const float weights[] = {1.0f, -2.5f};
  EXPECT_EQ(Encode(*FindFormat("fp32"), {weights, 1, 2}).codes, (Bytes{0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0}));
  EXPECT_EQ(Encode(*FindFormat("fp16"), {weights, 1, 2}).codes, (Bytes{0, 0x3c, 0, 0xc1}));
  EXPECT_EQ(Encode(*FindFormat("bf16"), {weights, 1, 2}).codes, (Bytes{0x80, 0x3f, 0x20, 0xc0}));
}

TEST(BitsPerWeight, AsTheMethodologySays) {
  const auto bits = [](const char* name, std::size_t cols) {
    return static_cast<double>(SizeOfEncoded(FindFormat(name)->info, 64, cols).total()) * 8 /
           (64.0 * static_cast<double>(cols));
  };
  EXPECT_DOUBLE_EQ(bits("fp4-g32", 1024), 4.5);
  EXPECT_DOUBLE_EQ(bits("fp4-g64", 1024), 4.25);
  EXPECT_DOUBLE_EQ(bits("fp4-g128", 1024), 4.125);
  EXPECT_DOUBLE_EQ(bits("fp4-g256", 1024), 4.0625);
  EXPECT_DOUBLE_EQ(bits("int4-g64", 1024), 4.3125);
  EXPECT_DOUBLE_EQ(bits("int4-g128", 1024), 4.15625);
  EXPECT_NEAR(bits("fp4-g128", 576), 4.139, 5e-4);
  EXPECT_NEAR(bits("fp4-g256", 576), 4.083, 5e-4);
  EXPECT_NEAR(bits("int4-g128", 576), 4.174, 5e-4);
}

TEST(ParseFormat, UnknownNameListsTheKnown) {
  const auto format = ParseFormat("fp4-g512");
  ASSERT_FALSE(format.ok());
  EXPECT_EQ(format.error().code, ErrorCode::kUsage);
  EXPECT_NE(format.error().message.find("fp4-g128"), std::string::npos);
}

}  // namespace
}  // namespace marlin
