// Every row of the kernel table x every format it takes x edge shapes, against a product in double: weights, x and y
// between unreadable pages, outputs poisoned, the space between the rows of y watched.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cctype>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <ostream>
#include <vector>

#include "base/half.h"
#include "kernels/guard_memory.h"
#include "kernels/kernel.h"
#include "kernels/pack.h"
#include "kernels/random_matrix.h"

namespace marlin {
namespace {

Result<PackedMatrix> PackForTest(const EncodedMatrixView& matrix) {
  static ThreadPool pool(1);  // pack_test.cc has more
  static RegionPool memory;   // to map pages takes an emulator long
  return Pack(matrix, memory, pool);
}

struct Case {
  const KernelRow* row;
  const FormatRow* format;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.row->name << " with " << c.format->info.name; }

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const KernelRow& row : Kernels()) {
    for (const FormatRow& format : Formats()) {
      const bool served = row.family == kAnyFamily || row.family == format.info.family;
      if (served && format.info.group % row.group_multiple == 0) cases.push_back({&row, &format});
    }
  }
  return cases;
}

std::string CaseName(const testing::TestParamInfo<Case>& info) {
  std::string name = std::string(info.param.row->name) + "_" + std::string(info.param.format->info.name);
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  return name;
}

constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();
constexpr std::size_t kGap = 3;  // watched floats between the rows of y

// The words of token t of the m that are packed in `words`.
struct TokenWords {
  const std::uint32_t* first;
  std::size_t width;

  TokenWords(const std::vector<std::uint32_t>& words, std::size_t m, std::size_t t) : first(words.data()) {
    const TokenTiles tiles(m);
    std::size_t i = 0;
    while (tiles.Begin(i + 1) <= t) ++i;
    first += tiles.Begin(i) * (words.size() / m) + t - tiles.Begin(i);
    width = tiles.Width(i);
  }
  std::uint32_t operator[](std::size_t i) const { return first[i * width]; }
  // 16 bits of a pair.
  std::uint16_t Half(std::size_t k) const {
    const int column = static_cast<int>(k % kStepColumns);
    const std::uint32_t pair = (*this)[k / 8 * 4 + static_cast<std::size_t>(PairOf(column))];
    return static_cast<std::uint16_t>(pair >> (16 * HalfOf(column)));
  }
  float Bf16(std::size_t k) const { return Bf16ToFloat(Half(k)); }
  int Int16(std::size_t k, bool split) const {
    if (!split) return static_cast<std::int16_t>(Half(k));
    return 256 * ByteOf(k / 4 * 2, k) + ByteOf(k / 4 * 2 + 1, k);
  }
  float Int16Scale(std::size_t k, std::size_t cols) const {
    return std::bit_cast<float>((*this)[(cols + 7) / 8 * 4 + k / kScaleLength]);
  }
  // Column k's byte of a word of its quad.
  std::int8_t ByteOf(std::size_t word, std::size_t k) const {
    return static_cast<std::int8_t>((*this)[word] >> (8 * (k % 4)));
  }
  std::int8_t Byte(std::size_t k) const { return ByteOf(k / 4, k); }
  float ByteScale(std::size_t k, std::size_t cols) const {
    return std::bit_cast<float>((*this)[(cols + 7) / 8 * 2 + k / kScaleLength]);
  }
};

class Conformance : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (const IsaSet missing = GetParam().row->needs & ~HostIsa(); missing != 0) {
      GTEST_SKIP() << "this machine lacks " << IsaNames(missing);
    }
  }

  // x as the row takes it; nothing where it takes x as it is. The buffers it is packed between are guarded.
  static std::vector<std::uint32_t> Packed(const float* x, std::size_t m, std::size_t k, GuardSide side) {
    const PackedInput& input = GetParam().row->input;
    if (input.pack == nullptr) return {};
    GuardMemory<std::uint32_t> words(m * input.words_per_token(k), side);
    std::fill_n(words.data(), words.size(), 0x7fc07fc0u);  // NaN, as fp32 and as bf16
    PackingFor(input, m)(x, k, m, k, words.data());
    return {words.data(), words.data() + words.size()};
  }

  // What packing left of x [m][k].
  static void Unround(const std::vector<std::uint32_t>& words, std::size_t m, std::size_t k, std::vector<float>& x) {
    const PackedInput& input = GetParam().row->input;
    const bool split = input.split && !PacksMany(input, m);
    const auto value = [&](const TokenWords& token, std::size_t i) {
      switch (GetParam().row->activations) {
        case Activations::kInt8:
          return static_cast<float>(token.Byte(i)) * token.ByteScale(i, k);
        case Activations::kInt16:
          return static_cast<float>(token.Int16(i, split)) * token.Int16Scale(i, k);
        default:
          return token.Bf16(i);
      }
    };
    for (std::size_t t = 0; t < m; ++t) {
      const TokenWords token(words, m, t);
      for (std::size_t i = 0; i < k; ++i) x[t * k + i] = value(token, i);
    }
  }

  // One panel at a time, each buffer against a guard page.
  static std::vector<float> Run(const PackedMatrix& packed, MatrixView<const float> x, GuardSide side) {
    const PanelGeometry& geometry = packed.geometry;
    GuardMemory<float> x_guarded(x.rows * x.cols, side);
    for (std::size_t t = 0; t < x.rows; ++t) std::copy_n(x.Row(t).data(), x.cols, x_guarded.data() + t * x.cols);
    const std::vector<std::uint32_t> words = Packed(x_guarded.data(), x.rows, x.cols, side);
    GuardMemory<std::uint32_t> packed_x(std::max<std::size_t>(words.size(), 1), side);
    std::copy(words.begin(), words.end(), packed_x.data());
    GuardMemory<float> workspace(kMatmulWorkspace, side);
    std::fill_n(workspace.data(), workspace.size(), kPoison);
    std::vector<float> out(x.rows * geometry.rows, kPoison);
    for (std::size_t panel = 0; panel < geometry.panels; ++panel) {
      GuardMemory<std::uint8_t> weights(geometry.panel_bytes, side);
      std::memcpy(weights.data(), packed.memory.data() + panel * geometry.panel_bytes, geometry.panel_bytes);
      const std::size_t rows = std::min(kPanelRows, geometry.rows - panel * kPanelRows);
      // Against the page before it y begins with a line; where its rows do too it can be stored past the caches.
      const bool whole_lines = side == GuardSide::kBefore && rows == kPanelRows;
      const std::size_t stride = rows + (whole_lines ? 16 : kGap);
      GuardMemory<float> y((x.rows - 1) * stride + rows, side);
      std::fill_n(y.data(), y.size(), kPoison);

      MatmulTile tile{&geometry, packed.format, weights.data(), rows,   nullptr,         0,
                      nullptr,   x.rows,        y.data(),       stride, workspace.data()};
      if (GetParam().row->takes_packed()) {
        tile.packed = packed_x.data();
      } else {
        tile.x = x_guarded.data();
        tile.x_stride = x.cols;
      }
      tile.store_past_caches = side == GuardSide::kBefore;
      GetParam().row->matmul(tile);
      for (std::size_t t = 0; t < x.rows; ++t) {
        for (std::size_t r = 0; r < rows; ++r) out[t * geometry.rows + panel * kPanelRows + r] = y[t * stride + r];
        for (std::size_t gap = rows; gap < stride && t + 1 < x.rows; ++gap) {
          EXPECT_TRUE(std::isnan(y[t * stride + gap])) << "wrote between the rows of y";
        }
      }
    }
    return out;
  }

  static std::size_t Fitting(std::size_t k) { return FittingCols(GetParam().format->info, k); }

  // k: of the least matrix, at least so wide, that the format can store.
  static void Check(std::size_t m, std::size_t n, std::size_t least_k, GuardSide side, Rng& rng) {
    Check(m, RandomEncoded(*GetParam().format, n, Fitting(least_k), rng), side, rng);
  }

  static void Check(std::size_t m, const EncodedMatrix& matrix, GuardSide side, Rng& rng) {
    const std::size_t n = matrix.rows, k = matrix.cols;
    SCOPED_TRACE(testing::Message() << "m " << m << " n " << n << " k " << k);
    const Result<PackedMatrix> packed = PackForTest(matrix.view());
    ASSERT_TRUE(packed.ok());
    std::vector<float> x(m * k);
    for (float& value : x) value = static_cast<float>(RandomValue(rng));
    const std::vector<float> y = Run(*packed, {x.data(), m, k}, side);

    // What a kernel rounds x to is part of its contract and in another test; only its sums are in question here.
    if (GetParam().row->takes_packed()) Unround(Packed(x.data(), m, k, side), m, k, x);
    // One rounding per product and sum, two without FMA: (additions in a chain + folds + scale) x 2^-24 each.
    const double roundings = static_cast<double>(std::min(k, kDotBlockLength) + k / 32 + 4) * 2;
    std::vector<float> row(k);
    const std::vector<double> tokens(x.begin(), x.end());
    for (std::size_t r = 0; r < n; ++r) {
      DecodeRow(matrix.view(), r, row);
      const std::vector<double> weights(row.begin(), row.end());
      for (std::size_t t = 0; t < m; ++t) {
        // Of a large product every fifth token, so every place in a tile of 6: other tests show that a token has the
        // same bits at all places.
        if (m * n * k > std::size_t{1} << 22 && t % 5 != 0) {
          ASSERT_TRUE(std::isfinite(y[t * n + r])) << "token " << t << " row " << r;
          continue;
        }
        double want = 0;
        for (std::size_t i = 0; i < k; ++i) want += weights[i] * tokens[t * k + i];
        // The sum of |products| is at least |want|: it is needed for few outputs, and an emulator takes long for it.
        if (std::abs(y[t * n + r] - want) <= std::abs(want) * roundings * 0x1p-24) continue;
        double size = 0;
        for (std::size_t i = 0; i < k; ++i) size += std::abs(weights[i] * tokens[t * k + i]);
        ASSERT_NEAR(y[t * n + r], want, size * roundings * 0x1p-24) << "token " << t << " row " << r;
      }
    }
  }
};

TEST_P(Conformance, AgreesWithDoubleOnEdgeShapes) {
  Rng rng(7);
  constexpr std::size_t kEdges[] = {1, 3, 7, 17, 64, 65};
  std::size_t count = 0;
  for (const std::size_t m : kEdges) {
    for (const std::size_t n : kEdges) {
      for (const std::size_t k : {1, 3, 7, 17, 64, 65, 130, 172}) {
        Check(m, n, k, ++count % 2 == 0 ? GuardSide::kBefore : GuardSide::kAfter, rng);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(Conformance, AgreesWithDoubleOnLargerShapes) {
  Rng rng(8);
  for (const std::size_t m : {1, 2, 4, 5, 100}) Check(m, 129, 576, GuardSide::kAfter, rng);
  Check(kMaxTileTokens, 70, 257, GuardSide::kAfter, rng);
}

class Biases : public Conformance {};

// All weights of a group are on one side of 0, nearly as far from it as Fit allows.
TEST_P(Biases, AgreeWithDoubleFarFromZero) {
  Rng rng(14);
  for (const std::size_t m : {1, 2, 13, 50}) {
    for (const std::size_t k : {1, 3, 64, 172, 576}) {
      EncodedMatrix matrix = RandomEncoded(*GetParam().format, 70, Fitting(k), rng);
      for (std::size_t r = 0; r < matrix.rows; ++r) {
        for (std::size_t g = 0; g < matrix.view().groups(); ++g) {
          GroupParams params = GetParams(matrix.view(), r, g);
          params.bias = GetParam().format->round_bias(params.scale * (r % 2 == 0 ? -1000.0f : 985.0f), params);
          SetParams(matrix, r, g, params);
        }
      }
      Check(m, matrix, GuardSide::kAfter, rng);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(Conformance, ARowHasTheSameBitsWhateverItCameWith) {
  Rng rng(9);
  for (const std::size_t wanted : {7, 172, 576, 600}) {
    const std::size_t k = Fitting(wanted);
    const EncodedMatrix matrix = RandomEncoded(*GetParam().format, 70, k, rng);
    const Result<PackedMatrix> packed = PackForTest(matrix.view());
    ASSERT_TRUE(packed.ok());
    constexpr std::size_t kTokens = 13;
    std::vector<float> x(kTokens * k);
    for (float& value : x) value = static_cast<float>(RandomValue(rng));
    const std::vector<float> together = Run(*packed, {x.data(), kTokens, k}, GuardSide::kAfter);
    for (std::size_t m = 1; m < kTokens; ++m) {
      for (std::size_t t = 0; t + m <= kTokens; t += m) {
        const std::vector<float> part = Run(*packed, {x.data() + t * k, m, k}, GuardSide::kAfter);
        ASSERT_EQ(std::memcmp(part.data(), together.data() + t * 70, part.size() * sizeof(float)), 0)
            << "tokens " << t << " to " << t + m << " k " << k;
      }
    }
  }
}

// As above, where more tokens are packed another way.
TEST_P(Conformance, ManyTokensHaveTheBitsOfFew) {
  Rng rng(13);
  for (const std::size_t wanted : {172, 600}) {
    const std::size_t k = Fitting(wanted);
    const EncodedMatrix matrix = RandomEncoded(*GetParam().format, 70, k, rng);
    const Result<PackedMatrix> packed = PackForTest(matrix.view());
    ASSERT_TRUE(packed.ok());
    constexpr std::size_t kTokens = 85;
    std::vector<float> x(kTokens * k);
    for (float& value : x) value = static_cast<float>(RandomValue(rng));
    const std::vector<float> together = Run(*packed, {x.data(), kTokens, k}, GuardSide::kAfter);
    for (const std::size_t m : {9, 47, 48, 49}) {
      const std::vector<float> part = Run(*packed, {x.data() + (kTokens - m) * k, m, k}, GuardSide::kAfter);
      ASSERT_EQ(std::memcmp(part.data(), together.data() + (kTokens - m) * 70, part.size() * sizeof(float)), 0)
          << "the last " << m << " tokens, k " << k;
    }
  }
}

class PackedActivations : public Conformance {};

// Within half a unit of what 8 or 16 bits, or 8 bits of mantissa, can say.
TEST_P(PackedActivations, AreTheNearest) {
  Rng rng(11);
  for (const std::size_t m : {1, 5, 6, 7, 13, 50}) {
    for (const std::size_t k : {1, 8, 31, 128, 172, 300}) {
      std::vector<float> x(m * k), packed(m * k, kPoison);
      for (float& value : x) value = static_cast<float>(RandomValue(rng));
      Unround(Packed(x.data(), m, k, GuardSide::kAfter), m, k, packed);
      for (std::size_t i = 0; i < x.size(); ++i) {
        if (GetParam().row->activations == Activations::kBf16) {
          ASSERT_EQ(packed[i], Bf16ToFloat(FloatToBf16(x[i])));
          continue;
        }
        const std::size_t begin = i / k * k + i % k / kScaleLength * kScaleLength;
        float peak = 0;
        for (std::size_t j = begin; j < std::min(begin + kScaleLength, i / k * k + k); ++j) {
          peak = std::max(peak, std::abs(x[j]));
        }
        const float most = GetParam().row->activations == Activations::kInt8 ? 127 : kMostInt16;
        // Their product with the scale is rounded too.
        ASSERT_NEAR(packed[i], x[i], 0.5001 * peak / most + peak * 0x1p-23) << "token " << i / k << " column " << i % k;
      }
    }
  }
}

// The integers that products are sums of.
EncodedMatrix WithScalesOf1(EncodedMatrix matrix) {
  for (std::size_t r = 0; r < matrix.rows; ++r) {
    for (std::size_t g = 0; g < matrix.view().groups(); ++g) {
      GroupParams params = GetParams(matrix.view(), r, g);
      params.bias = 0;
      params.scale = 1;
      SetParams(matrix, r, g, params);
    }
  }
  return matrix;
}

// A token of a product of m, times a row, in the order of tile.h; `whole` is the row without its scales.
float DotOfIntegers(const KernelRow& kernel, const TokenWords& token, std::size_t m, const EncodedMatrix& matrix,
                    std::size_t row, const std::vector<float>& whole) {
  const FormatInfo& info = matrix.format->info;
  const bool bytes = kernel.activations == Activations::kInt8;
  const bool split = kernel.input.split && !PacksMany(kernel.input, m);
  const std::size_t k = matrix.cols;
  float total = 0;
  for (std::size_t begin = 0, end = 0; begin < k; begin = end) {
    const std::size_t group = begin / static_cast<std::size_t>(info.group);
    end = std::min({begin + kDotBlockLength, (group + 1) * static_cast<std::size_t>(info.group), k});
    double sum = 0;  // exact, as that of x
    double sum_of_x = 0;
    for (std::size_t i = begin; i < end; ++i) {
      const int number = bytes ? token.Byte(i) : token.Int16(i, split);
      sum += static_cast<double>(whole[i]) * number;
      sum_of_x += number;
    }
    const GroupParams params = GetParams(matrix.view(), row, group);
    const float scale = bytes ? token.ByteScale(begin, k) : token.Int16Scale(begin, k);
    if (HasBias(info)) {
      const float x = static_cast<float>(sum_of_x), product = params.bias * x;
      const float value = std::fma(params.scale, static_cast<float>(sum), product) - std::fma(-params.bias, x, product);
      total = std::fma(value, scale, total);
    } else {
      total = std::fma(params.scale, static_cast<float>(sum) * scale, total);
    }
  }
  return total;
}

class PackedIntegers : public Conformance {};

// Sums of integers are rounded once, so all instruction sets have the same bits.
TEST_P(PackedIntegers, SumsAreExact) {
  Rng rng(12);
  for (const std::size_t m : {1, 3, 13, 50}) {
    for (const std::size_t wanted : {3, 172, 600}) {
      const std::size_t k = Fitting(wanted);
      EncodedMatrix matrix = RandomEncoded(*GetParam().format, 70, k, rng);
      const std::uint32_t sign = 1u << (matrix.format->info.code_bits - 1);
      const std::uint32_t extremes[] = {sign - 1, sign, 2 * sign - 1};
      for (std::size_t r = 0; r < std::size(extremes); ++r) {
        SetCodes(matrix, r, 0, std::vector<std::uint32_t>(k, extremes[r]));
      }
      const EncodedMatrix unscaled = WithScalesOf1(matrix);
      const Result<PackedMatrix> packed = PackForTest(matrix.view());
      ASSERT_TRUE(packed.ok());
      std::vector<float> x(m * k);
      for (float& value : x) value = static_cast<float>(RandomValue(rng));
      std::fill_n(x.begin(), k, -1.0f);                    // the least integer
      if (m > 2) std::fill_n(x.begin() + 2 * k, k, 1.0f);  // the largest
      const std::vector<float> y = Run(*packed, {x.data(), m, k}, GuardSide::kAfter);
      const std::vector<std::uint32_t> words = Packed(x.data(), m, k, GuardSide::kAfter);
      std::vector<float> whole(k);
      for (std::size_t r = 0; r < 70; ++r) {
        DecodeRow(unscaled.view(), r, whole);
        for (std::size_t t = 0; t < m; ++t) {
          ASSERT_EQ(y[t * 70 + r], DotOfIntegers(*GetParam().row, TokenWords(words, m, t), m, matrix, r, whole))
              << "token " << t << " row " << r;
        }
      }
    }
  }
}

TEST_P(PackedIntegers, WhatIsTooSmallForAScaleIsZero) {
  const std::vector<float> x(40, 1e-38f);
  std::vector<float> packed(x.size(), kPoison);
  Unround(Packed(x.data(), 1, x.size(), GuardSide::kAfter), 1, x.size(), packed);
  for (const float value : packed) ASSERT_EQ(value, 0);
}

// A NaN or an infinity in x reaches its own token only, and always.
TEST_P(Conformance, NotANumberStaysInItsToken) {
  Rng rng(10);
  const std::size_t k = Fitting(172);
  const EncodedMatrix matrix = RandomEncoded(*GetParam().format, 64, k, rng);
  const Result<PackedMatrix> packed = PackForTest(matrix.view());
  ASSERT_TRUE(packed.ok());
  for (const std::size_t m : {3, 8}) {
    std::vector<float> x(m * k, 1.0f);
    x[1 * k + k - 1] = kPoison;
    const std::vector<float> y = Run(*packed, {x.data(), m, k}, GuardSide::kAfter);
    for (std::size_t t = 0; t < m; ++t) {
      for (std::size_t r = 0; r < 64; ++r) EXPECT_EQ(std::isnan(y[t * 64 + r]), t == 1) << "token " << t;
    }
  }
}

std::vector<Case> CasesWithBias() {
  std::vector<Case> cases = Cases();
  std::erase_if(cases, [](const Case& c) { return !HasBias(c.format->info); });
  return cases;
}

std::vector<Case> CasesWith(std::initializer_list<Activations> some) {
  std::vector<Case> cases = Cases();
  std::erase_if(cases, [&](const Case& c) { return std::ranges::find(some, c.row->activations) == some.end(); });
  return cases;
}

INSTANTIATE_TEST_SUITE_P(RowsThatPack, PackedActivations,
                         testing::ValuesIn(CasesWith({Activations::kInt16, Activations::kBf16, Activations::kInt8})),
                         CaseName);
INSTANTIATE_TEST_SUITE_P(RowsThatPack, PackedIntegers,
                         testing::ValuesIn(CasesWith({Activations::kInt16, Activations::kInt8})), CaseName);
// A build may have no such row.
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(PackedActivations);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(PackedIntegers);
INSTANTIATE_TEST_SUITE_P(AllRows, Biases, testing::ValuesIn(CasesWithBias()), CaseName);
INSTANTIATE_TEST_SUITE_P(AllRows, Conformance, testing::ValuesIn(Cases()), CaseName);

}  // namespace
}  // namespace marlin
