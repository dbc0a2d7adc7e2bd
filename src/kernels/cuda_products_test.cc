// Products and embeddings of CUDA for every format x edge shapes, against double.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <ostream>
#include <span>
#include <string>

#include "base/half.h"
#include "kernels/cuda/few_pack.h"
#include "kernels/cuda/many.h"
#include "kernels/cuda/many_power.h"
#include "kernels/test_cpu.h"

namespace marlin {
namespace {

struct CudaCase {
  const FormatRow* format;
  Activations activations;
};

void PrintTo(const CudaCase& c, std::ostream* out) { *out << c.format->info.name << " " << NameOf(c.activations); }

// What products in fp16 leave of a token, or of a weight matrix: fp16, after it was divided by a power of two.
void RoundToHalves(std::span<float> x) {
  float most = 0;
  for (const float value : x) most = std::max(most, std::abs(value));
  int exponent = 0;
  std::frexp(most, &exponent);
  const float power = std::ldexp(1.0f, std::max(exponent - 15, -126));
  for (float& value : x) value = HalfToFloat(FloatToHalf(value / power)) * power;
}

// To the 11 bits of an fp16 number that is not subnormal.
double RoundTo11Bits(double x) {
  int exponent = 0;
  const double part = std::frexp(x, &exponent);
  return std::ldexp(std::nearbyint(std::ldexp(part, 11)), exponent - 11);
}

// What a kernel multiplies tokens with.
struct Operand {
  std::vector<double> weights;  // [n][k]
  // The same: of what is added to a sum for a token's number 1, the sizes together.
  std::vector<double> sizes;
  double lost = 0;  // error of each weight, beside a rounding that `weights` have too
};

Operand PlainOperand(const EncodedMatrix& matrix, bool rounds) {
  std::vector<float> weights(matrix.rows * matrix.cols);
  for (std::size_t r = 0; r < matrix.rows; ++r) {
    DecodeRow(matrix.view(), r, std::span(weights).subspan(r * matrix.cols, matrix.cols));
  }
  if (rounds) RoundToHalves(weights);
  Operand out;
  out.weights.assign(weights.begin(), weights.end());
  for (const double weight : out.weights) out.sizes.push_back(std::abs(weight));
  return out;
}

// The kernel for few tokens multiplies codes around a zero, as scale * code + (-scale * zero), and what has biases as
// scale * code + bias. The two parts may be far larger than the weight: their sizes are at most |weight| + twice that
// of the second one.
Operand FewOperand(const EncodedMatrix& matrix, const cuda::FewFormat& format) {
  Operand out = PlainOperand(matrix, false);
  const auto zero = static_cast<double>(cuda::ZeroOf(format.coding, format.biased));
  const auto group = static_cast<std::size_t>(format.group);
  GroupParams params;
  for (std::size_t i = 0; i < out.sizes.size(); ++i) {
    const std::size_t col = i % matrix.cols;
    if (col % group == 0) params = GetParams(matrix.view(), i / matrix.cols, col / group);
    out.sizes[i] += 2 * (format.biased ? std::abs(static_cast<double>(params.bias)) : std::abs(zero * params.scale));
  }
  return out;
}

// The kernel for many tokens rounds weights to fp16, as many_power.h says: scales and biases in units first, then each
// weight. What is below 2^-14 x `power`, fp16's smallest normal number, loses at most 2^-25 x `power` in each of three
// steps. A scale that does counts as often as the number of a code is large, a unit of biases as often as its byte.
Operand ManyOperand(const EncodedMatrix& matrix, const cuda::FewFormat& format) {
  Operand out = PlainOperand(matrix, false);
  if (format.scale == cuda::FewScale::kE4m3) return out;  // exact
  const auto group = static_cast<std::size_t>(format.group);
  const auto zero = static_cast<double>(cuda::ZeroOf(format.coding, format.biased));
  const bool units = format.scale == cuda::FewScale::kUnits, integers = format.biased || units;
  const double of_numbers = cuda::PowerOfMany(format.coding);
  std::vector<std::uint32_t> codes(matrix.cols);
  GroupParams params;
  double most = 0;
  for (std::size_t i = 0; i < out.weights.size(); ++i) {
    const std::size_t col = i % matrix.cols;
    if (col == 0) GetCodes(matrix.view(), i / matrix.cols, 0, codes);
    if (col % group == 0) params = GetParams(matrix.view(), i / matrix.cols, col / group);
    double scale = params.scale, bias = format.biased ? params.bias : 0, weight = out.weights[i];
    if (units) scale = RoundTo11Bits(scale), bias = RoundTo11Bits(bias);
    if (integers) weight = scale * (codes[col] - zero) + bias;
    out.weights[i] = RoundTo11Bits(weight);
    out.sizes[i] = std::abs(out.weights[i]);
    const double unit = std::max(std::abs(HalfToFloat(params.scale_unit)), std::abs(HalfToFloat(params.bias_unit)));
    const double largest_weight = 256 * std::abs(scale) + std::abs(bias);
    most = std::max({most, largest_weight, std::max(std::abs(scale), unit) * of_numbers});
  }
  const double steps = 3 + 256 / of_numbers + (units && format.biased ? 64 : 0);
  out.lost = steps * 0x1p-25 * (most * 0x1p-14);
  return out;
}

class CudaProducts : public testing::TestWithParam<CudaCase> {
 protected:
  void SetUp() override {
    if (CountCudaDevices() == 0) GTEST_SKIP() << "this machine has no CUDA device";
    auto backend = MakeCudaBackend(0, 1, GetParam().activations);
    ASSERT_TRUE(backend.ok()) << backend.error().message;
    cuda_ = std::make_unique<HostOperations>(*std::move(backend));
  }

  // k: of the least matrix, at least so wide, that the format can store.
  EncodedMatrix Random(std::size_t n, std::size_t k) {
    return RandomEncoded(*GetParam().format, n, FittingCols(GetParam().format->info, k), rng_);
  }

  Matrix Product(const Weight& weight, const Matrix& x, const float* bias) {
    Matrix out(x.view.rows, weight.rows());
    cuda_->Matmul(std::array<const Weight*, 1>{&weight}, std::array<const float*, 1>{bias}, x.view,
                  std::array{out.view});
    return out;
  }

  void Check(std::size_t m, std::size_t n, std::size_t wanted_k, bool biased) {
    CheckWith(Random(n, wanted_k), m, biased);
  }

  void CheckWith(const EncodedMatrix& matrix, std::size_t m, bool biased) {
    const std::size_t n = matrix.rows, k = matrix.cols;
    SCOPED_TRACE(testing::Message() << "m " << m << " n " << n << " k " << k);
    const Matrix x = RandomValues(m, k, rng_);
    const Matrix bias = RandomValues(1, n, rng_);
    const auto weight = cuda_->Pack(matrix.view());
    ASSERT_TRUE(weight.ok()) << weight.error().message;
    const Matrix y = Product(**weight, x, biased ? bias.data.data() : nullptr);
    EXPECT_TRUE(SameBits(Product(**weight, x, biased ? bias.data.data() : nullptr), y)) << "from run to run";
    const auto clone = (*weight)->Clone();
    ASSERT_TRUE(clone.ok());
    EXPECT_TRUE(SameBits(Product(**clone, x, biased ? bias.data.data() : nullptr), y));
    Expect(matrix, (*weight)->kernel(), x, biased ? bias.data.data() : nullptr, y);
  }

  static bool IsFew() {
    return GetParam().activations != Activations::kFp32 && cuda::FewFormatOf(GetParam().format->info).has_value();
  }

  // What the kernel multiplies so many tokens with.
  static Operand OperandOf(const EncodedMatrix& matrix, std::string_view kernel, std::size_t m) {
    const auto format = cuda::FewFormatOf(matrix.format->info);
    const bool few = format && kernel.starts_with("cuda/w");
    if (few && m <= 16) return FewOperand(matrix, *format);
    if (few && cuda::AreMany(m) && !kernel.ends_with("-cublas-fp16")) return ManyOperand(matrix, *format);
    return PlainOperand(matrix, kernel != "cuda/plain" && (m > 16 || kernel == "cuda/cublas-fp16"));
  }

  // y is x * matrix^T + bias, a row of numbers or null, as the kernel rounds it. Of large products some rows are
  // compared, and the last ones.
  void Expect(const EncodedMatrix& matrix, std::string_view kernel, const Matrix& x, const float* bias,
              const Matrix& y) {
    const std::size_t m = x.view.rows, n = matrix.rows, k = matrix.cols;
    const bool rounds_tokens = kernel != "cuda/plain" && (m > 16 || kernel != "cuda/plain-fp16");
    Matrix rounded(x);
    for (std::size_t t = 0; rounds_tokens && t < m; ++t) RoundToHalves(rounded.view.Row(t));
    const Operand operand = OperandOf(matrix, kernel, m);
    // One rounding for each product and sum in a chain; chains are far shorter than k, but for the kernel for many
    // tokens: its sums are cut off where fp32 numbers end, once for 16 columns.
    const bool is_chain = kernel.starts_with("cuda/w") && m > 16;
    const double roundings = static_cast<double>((is_chain ? k / 8 : k / 32) + 40) * 0x1p-24;
    const std::size_t every = m * n * k > 100'000'000 ? 61 : 1;
    for (std::size_t r = 0; r < n; r += r + 70 < n ? every : 1) {
      const double* const row = operand.weights.data() + r * k;
      const double* const sizes = operand.sizes.data() + r * k;
      for (std::size_t t = 0; t < m; ++t) {
        const float* const token = rounded.view.Row(t).data();
        double want = bias != nullptr ? bias[r] : 0, size = std::abs(want), all = 0;
        for (std::size_t i = 0; i < k; ++i) {
          const double number = token[i], of_token = std::abs(number);
          want += row[i] * number;
          size += sizes[i] * of_token;
          all += of_token;
        }
        ASSERT_NEAR(y.view.Row(t)[r], want, size * roundings + all * operand.lost) << "token " << t << " row " << r;
      }
    }
  }

  std::unique_ptr<HostOperations> cuda_;
  Rng rng_{21};
};

TEST_P(CudaProducts, AgreeWithDouble) {
  bool biased = false;
  for (const std::size_t m : {1, 2, 7, 8, 9, 16, 17, 33, 65}) {
    for (const std::size_t n : {1, 7, 65, 130}) {
      for (const std::size_t k : {1, 3, 8, 17, 64, 130, 172, 576, 2100}) {
        Check(m, n, k, biased = !biased);
        if (HasFatalFailure()) return;
      }
    }
  }
}

// Shapes that divide the work in each way, and use the places of a ring more than once.
TEST_P(CudaProducts, AgreeWithDoubleOnLargerShapes) {
  for (const std::size_t m : {1, 6, 13}) {
    Check(m, 64, 4100, true);
    Check(m, 128, 8192, false);
    if (HasFatalFailure()) return;
  }
  for (const std::size_t m : {5, 13}) Check(m, 4352, 2600, true);  // clusters of two with tiles of 128 rows
  Check(6, 9088, 2600, true);                                      // tiles of 128 rows, and blocks without work
  Check(5, 33024, 256, true);                                      // many tiles for each block
  Check(16, 17000, 300, false);
}

// More tokens than the kernel for few of them takes: weights that do not fill tiles, panels or records, rings whose
// places are used again, and columns that clusters divide.
TEST_P(CudaProducts, OfManyTokensAgreeWithDouble) {
  if (!IsFew()) GTEST_SKIP() << "another kernel multiplies many tokens";
  struct Shape {
    std::size_t m, n, k;
  };
  constexpr Shape kManyShapes[] = {
      {17, 7, 3},     {17, 300, 130},  {17, 130, 2304}, {31, 63, 256},   {31, 65, 520},    {33, 64, 4100},
      {33, 300, 256}, {33, 7, 2304},   {64, 65, 130},   {64, 130, 520},  {64, 300, 2304},  {65, 300, 3},
      {65, 64, 520},  {65, 63, 2304},  {128, 130, 3},   {128, 7, 520},   {128, 300, 256},  {128, 65, 2304},
      {129, 63, 130}, {129, 300, 520}, {129, 64, 2304}, {200, 130, 256}, {200, 300, 1100}, {200, 7, 5000},
  };
  bool biased = false;
  for (const Shape& shape : kManyShapes) {
    Check(shape.m, shape.n, shape.k, biased = !biased);
    if (HasFatalFailure()) return;
  }
}

// As many rows as there are tiles of each size for all multiprocessors.
TEST_P(CudaProducts, OfManyTokensAndRowsAgreeWithDouble) {
  if (!IsFew()) GTEST_SKIP() << "another kernel multiplies many tokens";
  const EncodedMatrix tall = Random(8500, 300);
  for (const std::size_t m : {128, 200}) CheckWith(tall, m, true);  // tiles of 64 and 128 tokens
  Check(1100, 4000, 130, false);  // several tiles for a block, of more tokens than are together
  if (GetParam().format->info.name != std::string_view("fp4-g128")) return;
  const EncodedMatrix wide = Random(8200, 2304), long_rows = Random(3800, 3400);
  for (const std::size_t m : {128, 200}) CheckWith(wide, m, true);        // tiles of 64 and 128, in clusters of two
  for (const std::size_t m : {128, 256}) CheckWith(long_rows, m, false);  // the same of four
}

// So many that weights are decoded for cuBLAS.
TEST_P(CudaProducts, OfDecodedWeightsAgreeWithDouble) {
  if (!IsFew()) GTEST_SKIP() << "weights are decoded for any number of tokens";
  Check(cuda::kFewestDecoded, 70, 130, true);
}

// to += factor * (x * weight^T + bias)
TEST_P(CudaProducts, OfManyTokensAreAdded) {
  if (!IsFew()) GTEST_SKIP() << "another kernel multiplies many tokens";
  for (const std::size_t m : {17, 70, 200}) {
    for (const std::size_t k : {130, 2304}) {
      const EncodedMatrix matrix = Random(130, k);
      const auto weight = *cuda_->Pack(matrix.view());
      const Matrix x = RandomValues(m, matrix.cols, rng_), bias = RandomValues(1, 130, rng_);
      Matrix sums(RandomValues(m, 130, rng_));
      const Matrix before(sums), product = Product(*weight, x, bias.data.data());
      cuda_->MatmulAdd(*weight, bias.data.data(), x.view, sums.view, 0.75f);
      for (std::size_t t = 0; t < m; ++t) {
        for (std::size_t r = 0; r < 130; ++r) {
          ASSERT_EQ(sums.view.Row(t)[r], std::fma(0.75f, product.view.Row(t)[r], before.view.Row(t)[r]))
              << "m " << m << " k " << k << " token " << t << " row " << r;
        }
      }
    }
  }
}

// Some kernels multiply several matrices with one input.
TEST_P(CudaProducts, OfSeveralMatricesAgreeWithDouble) {
  constexpr std::size_t kRows[] = {192, 64, 7};
  for (const std::size_t m : {1, 5, 16, 40}) {
    for (const std::size_t k : {130, 2304}) {
      std::vector<EncodedMatrix> matrices;
      std::vector<std::unique_ptr<Weight>> weights;
      std::vector<Matrix> outs;
      const Matrix bias = RandomValues(1, kRows[1], rng_);
      for (const std::size_t n : kRows) {
        matrices.push_back(Random(n, k));
        weights.push_back(*cuda_->Pack(matrices.back().view()));
        outs.emplace_back(m, n);
      }
      const Matrix x = RandomValues(m, matrices[0].cols, rng_);
      const std::array<const float*, 3> biases = {nullptr, bias.data.data(), nullptr};
      cuda_->Matmul(std::array<const Weight*, 3>{weights[0].get(), weights[1].get(), weights[2].get()}, biases, x.view,
                    std::array{outs[0].view, outs[1].view, outs[2].view});
      for (std::size_t i = 0; i < 3; ++i) {
        SCOPED_TRACE(testing::Message() << "m " << m << " k " << k << " matrix " << i);
        Expect(matrices[i], weights[i]->kernel(), x, biases[i], outs[i]);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(CudaProducts, RowsOfTheTableAreExact) {
  for (const std::size_t k : {1, 7, 64, 130, 576}) {
    const EncodedMatrix matrix = Random(70, k);
    const auto table = *cuda_->Pack(matrix.view());
    const std::vector<std::int32_t> tokens = {69, 0, 3, 3, 41};
    Matrix out(tokens.size(), matrix.cols);
    cuda_->Embed(*table, tokens, out.view);
    std::vector<float> row(matrix.cols);
    for (std::size_t t = 0; t < tokens.size(); ++t) {
      DecodeRow(matrix.view(), static_cast<std::size_t>(tokens[t]), row);
      for (std::size_t i = 0; i < row.size(); ++i) {
        // bf16 numbers are stored as fp16 ones: those far below the largest lose bits.
        const float allowed = GetParam().format->info.name == std::string_view("bf16") ? 0x1p-30f : 0.0f;
        ASSERT_NEAR(out.view.Row(t)[i], row[i], allowed) << "row " << t << " col " << i;
      }
    }
  }
}

std::vector<CudaCase> TestedFormats() {
  std::vector<CudaCase> cases;
  for (const FormatRow& format : Formats()) {
    for (const Activations activations : {Activations::kFp32, Activations::kBf16}) {
      if (BuiltWithCuda()) cases.push_back({&format, activations});
    }
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(AllFormats, CudaProducts, testing::ValuesIn(TestedFormats()), [](const auto& tested) {
  std::string name = std::string(tested.param.format->info.name) + "_" + std::string(NameOf(tested.param.activations));
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  return name;
});
// A build may be without CUDA.
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(CudaProducts);

}  // namespace
}  // namespace marlin
