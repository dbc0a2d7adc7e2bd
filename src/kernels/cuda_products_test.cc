// Products and embeddings of CUDA for every format x edge shapes, against double.
#include <gtest/gtest.h>

#include <array>
#include <cctype>
#include <cmath>
#include <ostream>
#include <span>
#include <string>

#include "base/half.h"
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
    const EncodedMatrix matrix = Random(n, wanted_k);
    const std::size_t k = matrix.cols;
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

  // y is x * matrix^T + bias, a row of numbers or null, as the kernel rounds it.
  void Expect(const EncodedMatrix& matrix, std::string_view kernel, const Matrix& x, const float* bias,
              const Matrix& y) {
    const std::size_t m = x.view.rows, n = matrix.rows, k = matrix.cols;
    const std::size_t most_in_slices = kernel.starts_with("cuda/w") ? 48 : 16;  // more: with decoded weights
    const bool rounds_tokens = kernel != "cuda/plain" && (m > 16 || kernel != "cuda/plain-fp16");
    Matrix rounded(x);
    std::vector<float> weights(n * k);
    for (std::size_t t = 0; rounds_tokens && t < m; ++t) RoundToHalves(rounded.view.Row(t));
    for (std::size_t r = 0; r < n; ++r) DecodeRow(matrix.view(), r, std::span(weights).subspan(r * k, k));
    const bool is_16_bit = kernel == "cuda/cublas-fp16";
    if (kernel != "cuda/plain" && (m > most_in_slices || is_16_bit)) RoundToHalves(weights);
    for (std::size_t r = 0; r < n; ++r) {
      const std::span<const float> row = std::span(weights).subspan(r * k, k);
      for (std::size_t t = 0; t < m; ++t) {
        double want = bias != nullptr ? bias[r] : 0, size = std::abs(want);
        for (std::size_t i = 0; i < k; ++i) {
          const double product = static_cast<double>(row[i]) * static_cast<double>(rounded.view.Row(t)[i]);
          want += product;
          size += std::abs(product);
        }
        // One rounding for each product and sum in a chain; chains are far shorter than k.
        ASSERT_NEAR(y.view.Row(t)[r], want, size * static_cast<double>(k / 32 + 40) * 0x1p-24)
            << "token " << t << " row " << r;
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
  Check(5, 33024, 256, true);  // many tiles for each block
  Check(16, 17000, 300, false);
}

// Some kernels multiply several matrices with one input.
TEST_P(CudaProducts, OfSeveralMatricesAgreeWithDouble) {
  constexpr std::size_t kRows[] = {192, 64, 7};
  for (const std::size_t m : {1, 5, 16}) {
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
