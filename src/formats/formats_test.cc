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

// Those that the format can store, and whole blocks.
std::vector<std::size_t> LengthsFor(const FormatRow& format) {
  std::vector<std::size_t> lengths;
  for (const std::size_t cols : kLengths) {
    if (FitsRows(format.info, cols)) lengths.push_back(cols);
  }
  if (!format.info.fallback.empty()) lengths.push_back(3 * static_cast<std::size_t>(format.info.block));
  return lengths;
}

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
  for (const std::size_t cols : LengthsFor(format)) {
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

// Of column i of the first row, which was rounded to nearest.
float AllowedError(const FormatRow& format, const EncodedMatrix& matrix, std::size_t i, float weight) {
  const FormatInfo& info = format.info;
  if (info.group == 0) return std::abs(weight) * 0x1p-7f * 0.51f;  // bf16 keeps 8 significant bits
  const GroupParams params = GetParams(matrix.view(), 0, i / static_cast<std::size_t>(info.group));
  const float widest = info.family == "fp4" ? 2.0f : info.family == "iq4" ? 24.0f : 1.0f;  // between two codes
  const float step = std::abs(params.scale) * widest;
  // A rounded zero point or scale moves an end of the range, and the far end of symmetric formats lacks a step. The
  // peak of MXFP4 lies below 8, its largest value is 6.
  const bool is_cut = info.code_bits < 8 && !HasBias(info) && (info.family != "fp4" || info.scale_bits == 8);
  float allowed = step * (is_cut ? 1.01f : HasBias(info) ? 0.6f : 0.51f);
  if (info.unit_scope == UnitScope::kBlock) {  // scale and bias are rounded to units
    allowed += 0.51f * HalfToFloat(params.scale_unit) * static_cast<float>(1 << info.code_bits) +
               0.51f * std::abs(HalfToFloat(params.bias_unit));
  }
  return allowed;
}

TEST_P(FormatProperties, ErrorStaysBelowHalfAStep) {
  const FormatRow& format = *GetParam();
  for (const std::size_t cols : LengthsFor(format)) {
    const std::vector<float> weights = RandomWeights(cols, 7 + cols);
    const EncodedMatrix matrix = Encode(format, {weights.data(), 1, cols});
    std::vector<float> decoded(cols, NAN);
    DecodeRow(matrix.view(), 0, decoded);
    for (std::size_t i = 0; i < cols; ++i) {
      EXPECT_LE(std::abs(decoded[i] - weights[i]), AllowedError(format, matrix, i, weights[i]))
          << "cols " << cols << " i " << i;
    }
  }
}

// Not where weights have a bias, or codes a table without 0.
TEST_P(FormatProperties, ZeroIsExactAndExtremesAreFinite) {
  const FormatRow& format = *GetParam();
  std::vector<std::vector<float>> rows = {{0, 0, 0},          {-0.0f, 0, 1},      {1e-30f, -1e-30f, 0},
                                          {3e38f, -3e38f, 0}, {1e-7f, 0, -1e-7f}, {5, 6, 0}};
  for (auto& row : rows) {
    if (format.info.name == "fp16" && std::abs(row[0]) > kHalfMax) continue;  // fp16 itself has no such value
    row.resize(std::max<std::size_t>(row.size(), static_cast<std::size_t>(format.info.block)), 0.0f);
    const EncodedMatrix matrix = Encode(format, {row.data(), 1, row.size()});
    std::vector<float> decoded(row.size(), NAN);
    DecodeRow(matrix.view(), 0, decoded);
    for (std::size_t i = 0; i < row.size(); ++i) {
      EXPECT_TRUE(std::isfinite(decoded[i])) << row[i];
      if (row[i] == 0 && !HasBias(format.info) && format.info.family != "iq4") {
        EXPECT_EQ(decoded[i], 0);
      }
    }
  }
}

TEST_P(FormatProperties, SizesAreCountedExactly) {
  const FormatRow& format = *GetParam();
  for (const std::size_t rows : {1u, 7u, 8u, 9u}) {
    for (const std::size_t cols : LengthsFor(format)) {
      const EncodedMatrix matrix(format, rows, cols);
      const EncodedSize size = SizeOfEncoded(format.info, rows, cols);
      std::size_t total = 0;
      for (const EncodedPart& part : kEncodedParts) {
        EXPECT_EQ((matrix.*part.owned).size(), size.*part.bytes) << part.name;
        total += size.*part.bytes;
      }
      EXPECT_EQ(total, size.total());
    }
  }
}

TEST_P(FormatProperties, CodesAndParamsComeBackFromTheirBytes) {
  const FormatRow& format = *GetParam();
  Rng rng(3);
  for (const std::size_t cols : LengthsFor(format)) {
    EncodedMatrix matrix(format, 9, cols);
    std::vector<std::vector<std::uint32_t>> codes(9, std::vector<std::uint32_t>(cols));
    const std::size_t groups = GroupsPerRow(format.info, cols);
    std::vector<GroupParams> params(9 * groups);
    for (std::size_t i = 0; i < params.size(); ++i) {
      const float wanted = HalfToFloat(static_cast<std::uint16_t>(rng.Below(0x7c00)));
      params[i].scale = format.round_scale(i % 2 == 0 ? wanted : -wanted, {});
      params[i].bias = format.round_bias(-2 * wanted, {});
      params[i].zero_point = static_cast<std::uint8_t>(
          format.info.zero_point_bits == 0 ? format.info.fixed_zero_point : static_cast<int>(rng.Below(16)));
    }
    Settle(format, cols, params);
    for (std::size_t r = 0; r < 9; ++r) {
      for (auto& c : codes[r]) c = static_cast<std::uint32_t>(rng.Next() >> (64 - format.info.code_bits));
      SetCodes(matrix, r, 0, codes[r]);
      for (std::size_t g = 0; g < groups; ++g) SetParams(matrix, r, g, params[r * groups + g]);
    }
    for (std::size_t r = 0; r < 9; ++r) {
      std::vector<std::uint32_t> read(cols, 0xdeadbeef);
      GetCodes(matrix.view(), r, 0, read);
      EXPECT_EQ(read, codes[r]);
      for (std::size_t g = 0; g < groups; ++g) {
        EXPECT_EQ(GetParams(matrix.view(), r, g), params[r * groups + g]) << cols << " " << r << " " << g;
      }
    }
  }
}

// Settled params stay as they are, and change by no more than their units.
TEST_P(FormatProperties, SettlingRoundsToUnits) {
  const FormatRow& format = *GetParam();
  if (format.info.unit_scope == UnitScope::kNone) GTEST_SKIP() << "no units";
  const std::size_t cols = 512;
  const std::vector<float> weights = RandomWeights(2 * cols, 21);
  const std::size_t groups = 2 * GroupsPerRow(format.info, cols);
  const std::size_t length = 2 * cols / groups;
  std::vector<GroupParams> wanted(groups);
  for (std::size_t g = 0; g < groups; ++g) wanted[g] = format.fit(std::span(weights).subspan(g * length, length), {});
  std::vector<GroupParams> settled = wanted;
  Settle(format, cols, settled);
  for (std::size_t g = 0; g < groups; ++g) {
    const float unit = HalfToFloat(settled[g].scale_unit);
    EXPECT_GT(unit, 0);
    const float step = format.info.scale_type == ScaleType::kE4m3 ? settled[g].scale / 8 : unit;
    EXPECT_NEAR(settled[g].scale, wanted[g].scale, 0.51f * step);
    EXPECT_EQ(format.round_scale(settled[g].scale, settled[g]), settled[g].scale);
    if (!HasBias(format.info)) continue;
    EXPECT_NEAR(settled[g].bias, wanted[g].bias, -0.51f * HalfToFloat(settled[g].bias_unit));
    EXPECT_EQ(format.round_bias(settled[g].bias, settled[g]), settled[g].bias);
  }
}

TEST_P(FormatProperties, ProposalsBeginWithFitAndAreFinite) {
  const FormatRow& format = *GetParam();
  const std::vector<std::vector<float>> groups = {{0, 0, 0}, {1e-30f, -1e-30f, 0}, {3e38f, -3e38f, 1}, {-1, -2, -3},
                                                  {5},       RandomWeights(32, 4)};
  for (const auto& weights : groups) {
    std::array<GroupParams, kMaxProposals> proposals;
    proposals.fill({.scale = NAN, .zero_point = 99});
    const std::size_t count = format.propose(weights, proposals);
    ASSERT_GE(count, 1u);
    ASSERT_LE(count, kMaxProposals);
    const GroupParams fit = format.fit(weights, {});
    EXPECT_EQ(proposals[0], fit);
    for (std::size_t i = 0; i < count; ++i) {
      const float scale = proposals[i].scale;
      EXPECT_TRUE(std::isfinite(scale)) << scale;
      EXPECT_TRUE(std::isfinite(proposals[i].bias)) << proposals[i].bias;
      EXPECT_TRUE(scale >= 0 || format.round_scale(-1, {}) != 0) << scale;
      EXPECT_EQ(scale, HasGroups(format.info) ? format.round_scale(scale, {}) : 0) << "is stored as it is";
      EXPECT_EQ(proposals[i].bias, format.round_bias(proposals[i].bias, {})) << "is stored as it is";
      if (HasBias(format.info) && proposals[i].bias != 0) {
        EXPECT_NE(scale, 0) << "kernels divide by it";
      }
      if (format.info.zero_point_bits == 0) {
        EXPECT_EQ(proposals[i].zero_point, format.info.fixed_zero_point);
      }
      EXPECT_LE(proposals[i].zero_point, std::max(15, format.info.fixed_zero_point));
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
  const float bias = HasBias(format.info) ? -0.25f : 0.0f;
  format.decode(codes, {.scale = 1, .zero_point = zero}, units);
  format.decode(codes, {.scale = 0.375f, .bias = bias, .zero_point = zero}, values);
  for (std::size_t c = 0; c < codes.size(); ++c) EXPECT_EQ(values[c], 0.375f * units[c] + bias);
}

// The sum has one order, so it is exact; with a limit it may end early, never below the limit.
TEST_P(FormatProperties, ErrorIsTheWeightedSumOfSquares) {
  const FormatRow& format = *GetParam();
  for (const std::size_t size : {1, 31, 32, 33, 77, 256}) {
    std::vector<float> weights = RandomWeights(size, 12);
    weights[size / 2] = -0.0f;
    std::vector<float> importance = RandomWeights(size, 13);
    for (float& x : importance) x = std::abs(x);
    std::array<GroupParams, kMaxProposals> proposals;
    const std::size_t count = format.propose(weights, proposals);
    for (std::size_t p = 0; p < count; ++p) {
      std::vector<std::uint32_t> codes(size);
      std::vector<float> decoded(size, NAN);
      format.round(weights, proposals[p], codes);
      format.decode(codes, proposals[p], decoded);
      double want = 0;
      for (std::size_t i = 0; i < size; ++i) {
        const double error = weights[i] - decoded[i];
        want += static_cast<double>(importance[i]) * (error * error);
      }
      ASSERT_EQ(format.error(weights, importance, proposals[p], kNoLimit), want) << "proposal " << p << " of " << size;
      for (const double limit : {want / 3, want, 2 * want}) {
        const double error = format.error(weights, importance, proposals[p], limit);
        if (want < limit) {
          ASSERT_EQ(error, want);
        } else {
          ASSERT_GE(error, limit);
        }
      }
    }
  }
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
    SetParams(matrix, r, 0, {.zero_point = static_cast<std::uint8_t>(r)});
    SetParams(matrix, r, 1, {.zero_point = static_cast<std::uint8_t>(15 - r)});
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

TEST(GoldenBytes, Nvfp4) {
  // Peaks 3 and 0.75 in groups of 16: scales 0.5 and 0.125. The unit is the least, 2^-15: 0.5 is 2^14 of it, more than
  // 448; 2^-9 of 0.5 is 256 = 0x78, and 0.125 is 64 = 0x68.
  std::vector<float> weights(32, 0.0f);
  weights[0] = 3.0f;
  weights[1] = -0.25f;
  weights[16] = 0.75f;
  const EncodedMatrix matrix = Encode(*FindFormat("nvfp4"), {weights.data(), 1, 32});
  EXPECT_EQ(matrix.codes[0], 0x97);
  EXPECT_EQ(matrix.codes[8], 0x07);
  const float global = 1 / GetParams(matrix.view(), 0, 0).scale * E4m3ToFloat(matrix.scales[0]);
  EXPECT_EQ(global, 512) << "448 * 2^-9 is the least maximum above 0.5";
  EXPECT_EQ(matrix.scales, (Bytes{0x78, 0x68}));
  EXPECT_EQ(matrix.units, (Bytes{0x00, 0x00, 0x00, 0x44})) << "512 in fp32";
  const EncodedMatrix mlx = Encode(*FindFormat("mlx-nvfp4"), {weights.data(), 1, 32});
  EXPECT_EQ(mlx.scales, (Bytes{0x30, 0x20}));
  EXPECT_TRUE(mlx.units.empty());
}

TEST(GoldenBytes, Affine) {
  // Range 1 .. 4.75: scale 0.25, bias 1. Codes 0, 15, 6 (tie at 6.5 steps, to 6), 4.
  const float weights[] = {1.0f, 4.75f, 2.625f, 2.0f};
  for (const char* name : {"q4_1", "mlx4-g32"}) {
    const EncodedMatrix matrix = Encode(*FindFormat(name), {weights, 1, 4});
    EXPECT_EQ(matrix.codes, (Bytes{0xf0, 0x46}));
    EXPECT_EQ(matrix.scales, (Bytes{0x00, 0x34}));
    EXPECT_EQ(matrix.biases, (Bytes{0x00, 0x3c}));
  }
}

TEST(GoldenBytes, FiveBitsAreAdjacent) {
  // The peak -4 gets code 0: scale 0.25. Codes 0, 31 (cut off), 16, 17, 14: bits 00000 11111 00001 10001 01110, each
  // from its lowest.
  const float weights[] = {-4.0f, 4.0f, 0.0f, 0.25f, -0.5f};
  const EncodedMatrix matrix = Encode(*FindFormat("q5_0"), {weights, 1, 5});
  EXPECT_EQ(matrix.codes, (Bytes{0xe0, 0xc3, 0xe8, 0x00}));
  EXPECT_EQ(matrix.scales, (Bytes{0x00, 0x34}));
}

TEST(GoldenBytes, SuperBlocks) {
  // Group 0 spans -7.5 .. 7.5 (scale 1, bias -7.5), group 1 0 .. 7.5 (scale 0.5), the others are zeros. The units are
  // fp16(1 / 63) = 0x2410 and fp16(7.5 / 63) = 0x2f9e, negative for the bias. Scales 63 and 32 (31.5 or more), biases
  // 63 and 0.
  std::vector<float> weights(256, 0.0f);
  weights[0] = -7.5f;
  weights[1] = 7.5f;
  weights[32] = 7.5f;
  const EncodedMatrix matrix = Encode(*FindFormat("q4_k"), {weights.data(), 1, 256});
  EXPECT_EQ(matrix.units, (Bytes{0x10, 0x24, 0x9e, 0xaf}));
  EXPECT_EQ(matrix.scales, (Bytes{63, 32 >> 2, 0, 0, 0, 0}));
  EXPECT_EQ(matrix.biases, (Bytes{63, 0, 0, 0, 0, 0}));
  EXPECT_EQ(matrix.codes[0], 0xf0);
  EXPECT_EQ(matrix.codes[16], 0x0f);
}

TEST(GoldenBytes, Iq4Nl) {
  // The peak 12.7 gets -127: scale -0.1 = fp16 0xae66. -8.9 is 89.02, code 14; 0.1 lies between -10 and 1, code 8.
  const float weights[] = {12.7f, -8.9f, 0.1f, 0.0f};
  const EncodedMatrix matrix = Encode(*FindFormat("iq4_nl"), {weights, 1, 4});
  EXPECT_EQ(matrix.codes, (Bytes{0xe0, 0x88}));
  EXPECT_EQ(matrix.scales, (Bytes{0x66, 0xae}));
}

TEST(Scales, PowersOfTwoAreRoundedToTheNearer) {
  for (int exponent = kLeastScaleExponent; exponent <= kLargestScaleExponent; ++exponent) {
    const float power = std::ldexp(1.0f, exponent);
    EXPECT_EQ(PowerOfTwo(exponent), power);
    EXPECT_EQ(HalfToFloat(FloatToHalf(power)), power);
    EXPECT_EQ(E8m0ToFloat(FloatToE8m0(power)), power);
    for (const float factor : {0.76f, 1.0f, 1.49f}) {
      EXPECT_EQ(RoundScaleToE8m0(factor * power), power) << power << " " << factor;
    }
  }
  EXPECT_EQ(RoundScaleToE8m0(0x1p-26f), 0);
  EXPECT_EQ(RoundScaleToE8m0(1e9f), PowerOfTwo(kLargestScaleExponent));
  for (const float none : {0.0f, -1.0f, NAN}) EXPECT_EQ(RoundScaleToE8m0(none), 0);
  EXPECT_FALSE(IsE8m0InRange(255));
  EXPECT_EQ(E8m0ToFloat(0), 0);
}

// By the definition: 4 exponent bits with the bias 7, 3 mantissa bits.
TEST(Scales, E4m3) {
  EXPECT_EQ(E4m3ToFloat(0), 0);
  EXPECT_EQ(E4m3ToFloat(1), 0x1p-9f);
  EXPECT_EQ(E4m3ToFloat(8), 0x1p-6f);
  EXPECT_EQ(E4m3ToFloat(0x38), 1);
  EXPECT_EQ(E4m3ToFloat(kE4m3MaxByte), 448);
  for (int byte = 0; byte <= kE4m3MaxByte; ++byte) {
    const auto own = static_cast<std::uint8_t>(byte);
    EXPECT_EQ(FloatToE4m3(E4m3ToFloat(own)), own);
    if (byte == kE4m3MaxByte) continue;
    const float next = E4m3ToFloat(static_cast<std::uint8_t>(byte + 1));
    const float middle = (E4m3ToFloat(own) + next) / 2;
    EXPECT_EQ(FloatToE4m3(std::nextafter(middle, 0.0f)), own);
    EXPECT_EQ(FloatToE4m3(std::nextafter(middle, 1e9f)), byte + 1);
    EXPECT_EQ(FloatToE4m3(middle), byte % 2 == 0 ? byte : byte + 1) << "ties to even";
  }
  for (const float none : {0.0f, -1.0f, NAN}) EXPECT_EQ(FloatToE4m3(none), 0);
  EXPECT_EQ(FloatToE4m3(1e9f), kE4m3MaxByte);
}

TEST(Scales, SignificantBits) {
  EXPECT_EQ(RoundToBits(1.0f + 0x1p-7f, 8), 1.0f + 0x1p-7f);
  EXPECT_EQ(RoundToBits(1.0f + 0x1p-8f, 8), 1.0f) << "a tie, to even";
  EXPECT_EQ(RoundToBits(-1.0f - 0x1.8p-7f, 8), -1.0f - 0x1p-6f) << "a tie, to even";
  EXPECT_EQ(RoundToBitsInHalf(1e9f, 8), 65280.0f);
  EXPECT_EQ(RoundToBitsInHalf(-1e9f, 11), -kHalfMax);
  Rng rng(9);
  for (int i = 0; i < 20000; ++i) {
    // The product with every zero point is a number of fp16, also where fp16 is subnormal.
    const float scale = RoundToBitsInHalf(static_cast<float>(std::exp(rng.Uniform() * 20 - 17)), 7);
    for (const float zero : {1.0f, 7.0f, 13.0f, 15.0f}) {
      const float product = scale * zero;
      if (product < kHalfMax) {
        EXPECT_EQ(HalfToFloat(FloatToHalf(product)), product);
      }
    }
    const float bf16 = RoundToBitsInHalf(static_cast<float>(rng.Normal()), 8);
    EXPECT_EQ(Bf16ToFloat(FloatToBf16(bf16)), bf16);
    EXPECT_EQ(HalfToFloat(FloatToHalf(bf16)), bf16);
  }
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
  EXPECT_DOUBLE_EQ(bits("mxfp4", 1024), 4.25);
  EXPECT_NEAR(bits("nvfp4", 1024), 4.5, 1e-3);
  EXPECT_DOUBLE_EQ(bits("q4_0", 1024), 4.5);
  EXPECT_DOUBLE_EQ(bits("q4_1", 1024), 5.0);
  EXPECT_DOUBLE_EQ(bits("q5_0", 1024), 5.5);
  EXPECT_DOUBLE_EQ(bits("q5_1", 1024), 6.0);
  EXPECT_DOUBLE_EQ(bits("q8_0", 1024), 8.5);
  EXPECT_DOUBLE_EQ(bits("q4_k", 1024), 4.5);
  EXPECT_DOUBLE_EQ(bits("q5_k", 1024), 5.5);
  EXPECT_DOUBLE_EQ(bits("q6_k", 1024), 6.5625);
  EXPECT_DOUBLE_EQ(bits("iq4_nl", 1024), 4.5);
  EXPECT_DOUBLE_EQ(bits("mlx4-g64", 1024), 4.5);
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
