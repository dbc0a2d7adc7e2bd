// Compares the CPU backend of every instruction set with the reference backend, and tests its further guarantees.
#include "kernels/cpu_backend.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "base/half.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/glass_backend.h"
#include "kernels/test_cpu.h"

namespace marlin {

namespace {

// Rows 0, n, 2 n, ... with their gaps.
Matrix EveryNth(const Matrix& from, std::size_t n) {
  Matrix some((from.view.rows + n - 1) / n, from.view.cols);
  for (std::size_t r = 0; r < some.view.rows; ++r) {
    std::copy_n(from.data.data() + r * n * from.stride, from.stride, some.data.data() + r * some.stride);
  }
  return some;
}

// x as rows of integers take it: 128 k share a scale, whose largest becomes `most`.
void RoundToIntegers(std::span<float> x, float most) {
  for (std::size_t begin = 0; begin < x.size(); begin += kScaleLength) {
    const std::span<float> group = x.subspan(begin, std::min(kScaleLength, x.size() - begin));
    float peak = 0;
    for (const float value : group) peak = std::max(peak, std::abs(value));
    for (float& value : group) value = std::nearbyint(value * (most / peak)) * (peak / most);
  }
}

class CpuBackendTest : public CpuTest {
 protected:
  // The reference's product of x, rounded first.
  Matrix Wanted(const EncodedMatrix& matrix, const Matrix& x, Activations activations) {
    Matrix rounded(x);
    for (std::size_t t = 0; t < x.view.rows; ++t) {
      if (activations == Activations::kInt8) RoundToIntegers(rounded.view.Row(t), 127);
      if (activations == Activations::kInt16) RoundToIntegers(rounded.view.Row(t), kMostInt16);
      if (activations == Activations::kBf16) {
        for (float& value : rounded.view.Row(t)) value = Bf16ToFloat(FloatToBf16(value));
      }
    }
    const auto weight = *reference_->Pack(matrix.view());
    Matrix out(x.view.rows, matrix.rows);
    reference_->Matmul(std::array<const Weight*, 1>{weight.get()}, {}, rounded.view, std::array{out.view});
    return out;
  }
  // Of those in `all`, the ones that lead to different kernels for these matrices.
  static std::vector<Activations> Different(const std::vector<Activations>& all,
                                            std::initializer_list<const EncodedMatrix*> matrices) {
    std::vector<Activations> different;
    std::set<std::vector<std::string>> seen;
    for (const Activations allowed : all) {
      const auto backend = Make(1, allowed);
      std::vector<std::string> kernels;
      for (const EncodedMatrix* matrix : matrices) kernels.emplace_back((*backend->Pack(matrix->view()))->kernel());
      if (seen.insert(kernels).second) different.push_back(allowed);
    }
    return different;
  }
};

TEST_P(CpuBackendTest, MatmulOfSeveralWeightsWithBiases) {
  const EncodedMatrix a = RandomEncoded(*FindFormat("fp4-g128"), 192, 172, rng_);
  const EncodedMatrix b = RandomEncoded(*FindFormat("int4-g64"), 65, 172, rng_);
  const std::vector<float> bias(65, 0.5f);
  for (const std::size_t m : {1, 4, 40, 600}) {
    const Matrix x = RandomValues(m, 172, rng_);
    std::vector<Matrix> results;
    for (HostOperations* backend : {cpu_.get(), reference_.get()}) {
      const auto weight_a = *backend->Pack(a.view());
      const auto weight_b = *backend->Pack(b.view());
      Matrix out_a(m, 192);
      Matrix out_b(m, 65);
      backend->Matmul(std::array<const Weight*, 2>{weight_a.get(), weight_b.get()},
                      std::array<const float*, 2>{nullptr, bias.data()}, x.view, std::array{out_a.view, out_b.view});
      results.push_back(out_a);
      results.push_back(out_b);
    }
    ExpectNear(results[0], results[2], 1e-4);
    ExpectNear(results[1], results[3], 1e-4);
  }
}

TEST_P(CpuBackendTest, TheNumberOfThreadsDoesNotChangeABit) {
  const EncodedMatrix weights = RandomEncoded(*FindFormat("fp4-g32"), 200, 172, rng_);
  for (const std::size_t m : {1, 130}) {
    const Matrix x = RandomValues(m, 172, rng_);
    std::vector<Matrix> products;
    for (const int threads : {1, 2, 3, 8}) {
      const auto backend = Make(threads);
      const auto weight = *backend->Pack(weights.view());
      products.emplace_back(m, 200);
      backend->Matmul(std::array<const Weight*, 1>{weight.get()}, {}, x.view, std::array{products.back().view});
    }
    for (std::size_t i = 1; i < products.size(); ++i) EXPECT_TRUE(SameBits(products[i], products[0]));
  }
}

TEST_P(CpuBackendTest, ProductsMayRoundActivations) {
  if (GetParam().cuda) GTEST_SKIP() << "of CPUs alone";
  const EncodedMatrix a = RandomEncoded(*FindFormat("fp4-g32"), 200, 172, rng_);
  const EncodedMatrix c = RandomEncoded(*FindFormat("bf16"), 70, 172, rng_);  // to bf16 at most
  const EncodedMatrix b = RandomEncoded(*FindFormat("fp16"), 65, 172, rng_);  // no kernel rounds for it
  for (const Activations allowed :
       Different({Activations::kInt16, Activations::kBf16, Activations::kInt8}, {&a, &b, &c})) {
    for (const std::size_t m : {1, 7, 130, 530}) {
      const Matrix x = RandomValues(m, 172, rng_);
      const Matrix some = EveryNth(x, m / 60 + 1);
      std::vector<Matrix> products;
      std::vector<Matrix> wants;
      for (const int threads : {1, 2, 8}) {
        const auto backend = Make(threads, allowed);
        std::vector<std::unique_ptr<Weight>> weights;
        std::vector<const Weight*> pointers;
        std::vector<MatrixView<float>> outs;
        products.reserve(9);
        for (const EncodedMatrix* matrix : {&a, &b, &c}) {
          weights.push_back(*backend->Pack(matrix->view()));
          pointers.push_back(weights.back().get());
          products.emplace_back(m, matrix->rows);
          outs.push_back(products.back().view);
          if (threads == 1) wants.push_back(Wanted(*matrix, some, FindKernel(weights.back()->kernel())->activations));
        }
        EXPECT_EQ(FindKernel(weights[1]->kernel())->activations, Activations::kFp32);
        backend->Matmul(pointers, {}, x.view, outs);
      }
      for (std::size_t i = 3; i < products.size(); ++i) EXPECT_TRUE(SameBits(products[i], products[i % 3]));
      for (std::size_t i = 0; i < 3; ++i) ExpectNear(EveryNth(products[i], m / 60 + 1), wants[i], 1e-4);
    }
  }
}

TEST_P(CpuBackendTest, EmbedDecodesRows) {
  const EncodedMatrix table = RandomEncoded(*FindFormat("int8-g128"), 130, 172, rng_);
  const std::int32_t tokens[] = {129, 0, 64, 63, 64};
  std::vector<Matrix> results;
  for (HostOperations* backend : {cpu_.get(), reference_.get()}) {
    const auto weight = *backend->Pack(table.view());
    EXPECT_EQ(weight->rows(), 130u);
    EXPECT_EQ(weight->cols(), 172u);
    EXPECT_EQ(weight->format().name, "int8-g128");
    EXPECT_GE(weight->resident_bytes(), 130u * 172u);
    results.emplace_back(5, 172);
    backend->Embed(*weight, tokens, results.back().view);
  }
  EXPECT_TRUE(SameBits(results[0], results[1]));
}

// Of weights that one input serves, and of weights that round it differently.
TEST_P(CpuBackendTest, NormsOnTheWayToAProductAreThoseBeforeIt) {
  const EncodedMatrix a = RandomEncoded(*FindFormat("fp4-g128"), 130, 172, rng_);
  const EncodedMatrix b = RandomEncoded(*FindFormat("int4-g64"), 65, 172, rng_);
  const EncodedMatrix c = RandomEncoded(*FindFormat("fp16"), 70, 172, rng_);
  const Matrix scales = RandomValues(1, 172, rng_);
  const Matrix shifts = RandomValues(1, 172, rng_);
  for (const Activations allowed :
       Different({Activations::kFp32, Activations::kInt16, Activations::kBf16, Activations::kInt8}, {&a, &b, &c})) {
    for (const bool mixed : {false, true}) {
      const auto backend = Make(3, allowed);
      const auto weight_a = *backend->Pack(a.view());
      const auto weight_b = *backend->Pack((mixed ? c : b).view());
      const std::array<const Weight*, 2> weights{weight_a.get(), weight_b.get()};
      for (const std::size_t m : {1, 7, 130, 530}) {
        const Matrix x = RandomValues(m, 172, rng_);
        const bool layer = m % 2 != 0;
        std::vector<Matrix> results;
        for (const bool at_once : {false, true}) {
          Matrix normed(m, 172);
          Matrix out_a(m, 130);
          Matrix out_b(m, weight_b->rows());
          HostOperations::NormOf norm{x.view, scales.data.data(), 1e-5f, normed.view};
          if (layer) norm.kind = NormKind::kLayer;
          if (m == 7) norm.bias = shifts.data.data();
          if (m == 130) norm.weight = nullptr;
          const std::array outs{out_a.view, out_b.view};
          if (at_once) {
            backend->NormMatmul(norm, weights, {}, outs);
          } else {
            backend->Norm(norm);
            backend->Matmul(weights, {}, normed.view, outs);
          }
          for (const Matrix& result : {normed, out_a, out_b}) results.push_back(result);
        }
        for (std::size_t i = 0; i < 3; ++i) EXPECT_TRUE(SameBits(results[i], results[i + 3])) << i << " m " << m;
      }
    }
  }
}

// Outputs of megabytes are written past the caches: the same bits as those of one token.
TEST_P(CpuBackendTest, LargeOutputsHaveTheBitsOfSmallOnes) {
  if (GetParam().cuda) GTEST_SKIP() << "of CPUs alone";
  constexpr std::size_t kTokens = 512;
  constexpr std::size_t kRows = 1088;
  constexpr std::size_t kCols = 48;
  const Matrix x = RandomValues(kTokens, kCols, rng_);
  const EncodedMatrix matrix = RandomEncoded(*FindFormat("fp4-g32"), kRows, kCols, rng_);
  const std::vector<float> bias(kRows, 0.25f);
  std::vector<Activations> all;
  for (const ActivationsName& mode : kActivations) all.push_back(mode.value);
  for (const Activations allowed : Different(all, {&matrix})) {
    const auto backend = Make(2, allowed);
    const auto weight = *backend->Pack(matrix.view());
    std::vector<float> memory(kTokens * kRows);
    const MatrixView<float> out(memory.data(), kTokens, kRows);
    for (const float* added : {static_cast<const float*>(nullptr), bias.data()}) {
      std::fill_n(out.data, kTokens * kRows, kNan);
      backend->Matmul(std::array<const Weight*, 1>{weight.get()}, std::array{added}, x.view, std::array{out});
      for (const std::size_t t : {0, 1, 300, 511}) {
        Matrix alone(1, kRows);
        backend->Matmul(std::array<const Weight*, 1>{weight.get()}, std::array{added}, x.view.Rows(t, 1),
                        std::array{alone.view});
        ASSERT_EQ(std::memcmp(alone.data.data(), out.Row(t).data(), kRows * sizeof(float)), 0)
            << NameOf(allowed) << " token " << t;
      }
    }
  }
}

TEST_P(CpuBackendTest, AKernelThatRoundsMoreThanAllowedNamesTheOption) {
  if (GetParam().cuda) GTEST_SKIP() << "of CPUs alone";
  for (const KernelRow& row : Kernels()) {
    if ((row.needs & ~GetParam().bits) != 0 || row.activations == Activations::kFp32) continue;
    const std::string name(row.name);
    EXPECT_TRUE(MakeCpuBackend({1, GetParam().bits, name, row.activations}).ok()) << name;
    const auto refused = UsableKernels({1, GetParam().bits, name, Activations::kFp32});
    ASSERT_FALSE(refused.ok()) << name;
    EXPECT_NE(refused.error().message.find("--activations " + std::string(NameOf(row.activations))), std::string::npos)
        << refused.error().message;
  }
}

INSTANTIATE_TEST_SUITE_P(AllLevels, CpuBackendTest, testing::ValuesIn(TestedBackends()),
                         [](const auto& level) { return std::string(level.param.name); });

TEST(MakeCpuBackend, RefusesWhatItCannotDo) {
  EXPECT_EQ(MakeCpuBackend({-1, {}, ""}).error().code, ErrorCode::kUsage);
  EXPECT_EQ(MakeCpuBackend({100000, {}, ""}).error().code, ErrorCode::kUsage);
  const auto unknown = MakeCpuBackend({1, {}, "avx512/fp5"});
  ASSERT_FALSE(unknown.ok());
  EXPECT_EQ(unknown.error().code, ErrorCode::kUsage);
  EXPECT_NE(unknown.error().message.find("scalar/any"), std::string::npos);
  const auto lacking = MakeCpuBackend({1, HostIsa() | 1u << 30, ""});
  ASSERT_FALSE(lacking.ok());
  EXPECT_EQ(lacking.error().code, ErrorCode::kUnsupported);
}

TEST(MakeCpuBackend, AForcedKernelServes) {
  Rng rng(3);
  const EncodedMatrix matrix = RandomEncoded(*FindFormat("fp4-g64"), 3, 5, rng);
  const auto backend = *MakeCpuBackend({1, {}, "scalar/any"});
  EXPECT_EQ((*backend->Pack(matrix.view()))->kernel(), "scalar/any");
  EXPECT_EQ(backend->threads(), 1);
}

TEST(MakeCpuBackend, AllocatesUploadsAndDownloads) {
  for (const auto& backend : {*MakeCpuBackend({1, {}, ""}), MakeReferenceBackend()}) {
    const auto buffer = *backend->Allocate(1000);
    ASSERT_EQ(buffer->bytes(), 4000u);
    const std::vector<float> from(1000, 2.5f);
    std::vector<float> to(1000, kNan);
    backend->Upload(from, View(buffer, 10, 100));
    EXPECT_TRUE(backend->Read(View(buffer, 1, 1000), to).ok());
    EXPECT_EQ(from, to);
    EXPECT_EQ(backend->Allocate(SIZE_MAX).error().code, ErrorCode::kResource);
  }
}

TEST(MakeBackend, ClearsAPartOfAMatrix) {
  std::vector<std::unique_ptr<Backend>> backends;
  backends.push_back(*MakeCpuBackend({1, {}, ""}));
  backends.push_back(MakeReferenceBackend());
  backends.push_back(std::make_unique<GlassBackend>(MakeReferenceBackend()));
  if (CountCudaDevices() > 0) backends.push_back(*MakeCudaBackend(0, 1));
  for (const auto& backend : backends) {
    SCOPED_TRACE(backend->name());
    const auto buffer = *backend->Allocate(6);
    const DeviceTensor all = View(buffer, 2, 3);
    backend->Upload(std::vector<float>{1, 2, 3, 4, 5, 6}, all);
    backend->Clear({all.buffer, 1, all.type, 2, 2, all.stride});
    std::vector<float> got(6, kNan);
    ASSERT_TRUE(backend->Read(all, got).ok());
    EXPECT_EQ(got, (std::vector<float>{1, 0, 0, 4, 0, 0}));
  }
}

TEST(MakeCpuBackendDeathTest, ObjectsOfAnotherBackendAreRefused) {
  const auto one = *MakeCpuBackend({1, {}, ""});
  const auto other = MakeReferenceBackend();
  const auto buffer = *one->Allocate(4);
  const std::vector<float> values(4, 1.0f);
  EXPECT_DEATH(other->Upload(values, View(buffer, 1, 4)), "another device");
  EXPECT_DEATH(one->Upload(values, View(buffer, 1, 5)), "bytes to upload");
  EXPECT_DEATH(one->Upload(values, DeviceTensor{buffer.get(), 1, ElementType::kF32, 1, 4, 4}),
               "ends beyond its buffer");
  EXPECT_DEATH(one->Add(View(buffer, 1, 4), View(buffer, 1, 4, ElementType::kI32)), "type of a tensor");
}

}  // namespace
}  // namespace marlin
