// The CPU backend's norms, rotations, activations and sums. Compares every instruction set, and the reference backend,
// with the textbook.
#include <array>
#include <cmath>
#include <functional>
#include <numbers>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "kernels/test_cpu.h"

namespace marlin {
namespace {

class CpuElementwiseTest : public CpuTest {
 protected:
  // The same for every number of threads, on enough rows for all of them.
  void ExpectSameBits(const Matrix& x, const std::function<void(HostOperations&, MatrixView<float>)>& operation) {
    std::vector<Matrix> results;
    for (const int threads : {1, 2, 3, 8}) {
      results.push_back(x);
      operation(*Make(threads), results.back().view);
    }
    for (const Matrix& result : results) EXPECT_TRUE(SameBits(result, results[0]));
  }
};

// A row's norm in double. Without weight or bias: as if they were ones and zeros.
std::vector<float> TextbookNorm(std::span<const float> x, NormKind kind, const float* weight, const float* bias,
                                double eps) {
  const auto n = static_cast<double>(x.size());
  const double mean = kind == NormKind::kRms ? 0 : std::accumulate(x.begin(), x.end(), 0.0) / n;
  double variance = 0;
  for (const float value : x) variance += (value - mean) * (value - mean) / n;
  std::vector<float> y;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double normed = (x[i] - mean) / std::sqrt(variance + eps);
    y.push_back(static_cast<float>(normed * (weight == nullptr ? 1.0 : weight[i]) + (bias == nullptr ? 0.0 : bias[i])));
  }
  return y;
}

struct NormCase {
  NormKind kind;
  bool weight, bias;
};
constexpr NormCase kNormCases[] = {{NormKind::kRms, true, false},   {NormKind::kRms, false, false},
                                   {NormKind::kLayer, true, true},  {NormKind::kLayer, true, false},
                                   {NormKind::kLayer, false, true}, {NormKind::kLayer, false, false}};

TEST_P(CpuElementwiseTest, Norms) {
  for (const std::size_t cols : {1, 7, 16, 172, 576}) {
    for (const NormCase& tested : kNormCases) {
      for (const float away : {0.0f, 100.0f}) {  // a mean far from 0
        Matrix x = RandomValues(70, cols, rng_, 3);
        for (std::size_t t = 0; t < 70; ++t) {
          for (float& value : x.view.Row(t)) value += away;
        }
        const Matrix weights = RandomValues(1, cols, rng_);
        const Matrix biases = RandomValues(1, cols, rng_);
        const float* const weight = tested.weight ? weights.data.data() : nullptr;
        const float* const bias = tested.bias ? biases.data.data() : nullptr;
        Matrix want(70, cols);
        for (std::size_t t = 0; t < 70; ++t) {
          std::ranges::copy(TextbookNorm(x.view.Row(t), tested.kind, weight, bias, 1e-5), want.view.Row(t).begin());
        }
        for (HostOperations* backend : {cpu_.get(), reference_.get()}) {
          Matrix got(70, cols);
          backend->Norm({x.view, weight, 1e-5f, got.view, tested.kind, bias});
          // Of a mean of 100 the distances, about 3, have 4e-6 of rounding.
          ExpectNear(got, want, away == 0 ? 2e-6 : 2e-5);
          Matrix in_place(x);
          backend->Norm({in_place.view, weight, 1e-5f, in_place.view, tested.kind, bias});
          EXPECT_TRUE(SameBits(in_place, got));
        }
      }
    }
  }
}

TEST_P(CpuElementwiseTest, NormsWithoutWeightHaveTheBitsOfOnes) {
  const Matrix x = RandomValues(40, 172, rng_, 3);
  const Matrix ones(1, 172, 1.0f), zeros(1, 172, 0.0f);
  for (const NormKind kind : {NormKind::kRms, NormKind::kLayer}) {
    Matrix got(40, 172), want(40, 172);
    cpu_->Norm({x.view, nullptr, 1e-5f, got.view, kind});
    cpu_->Norm(
        {x.view, ones.data.data(), 1e-5f, want.view, kind, kind == NormKind::kLayer ? zeros.data.data() : nullptr});
    EXPECT_TRUE(SameBits(got, want));
  }
}

TEST_P(CpuElementwiseTest, NormsOfEqualNumbers) {
  const Matrix x(1, 100, 7.0f);
  Matrix got(1, 100);
  cpu_->Norm({x.view, nullptr, 1e-5f, got.view, NormKind::kLayer});
  EXPECT_TRUE(std::ranges::all_of(got.view.Row(0), [](float value) { return value == 0; }));
  cpu_->Norm({x.view, nullptr, 1e-5f, got.view});
  for (const float value : got.view.Row(0)) EXPECT_NEAR(value, 1, 1e-6);
}

struct RopeCase {
  std::size_t dim, pairs;
};
constexpr RopeCase kRopeCases[] = {{2, 1},  {8, 4},   {20, 10}, {64, 32}, {64, 16},  {64, 7},   {12, 5},
                                   {12, 0}, {80, 13}, {96, 48}, {7, 3},   {160, 33}, {256, 64}, {512, 127}};

// Cosines and sines of angles that differ for every position and pair.
std::array<Matrix, 2> Angles(std::size_t positions, std::size_t pairs) {
  std::array<Matrix, 2> tables = {Matrix(positions, pairs), Matrix(positions, pairs)};
  for (std::size_t t = 0; t < positions; ++t) {
    for (std::size_t i = 0; i < pairs; ++i) {
      const double angle = static_cast<double>(t) / static_cast<double>(i + 1);
      tables[0].view.Row(t)[i] = static_cast<float>(std::cos(angle));
      tables[1].view.Row(t)[i] = static_cast<float>(std::sin(angle));
    }
  }
  return tables;
}

TEST_P(CpuElementwiseTest, Rope) {
  constexpr std::size_t kTokens = 40;
  for (const auto& [dim, pairs] : kRopeCases) {
    for (const bool neighbours : {false, true}) {
      SCOPED_TRACE(testing::Message() << pairs << " pairs of " << dim << (neighbours ? ", neighbours" : ", halves"));
      const Matrix x = RandomValues(kTokens, 9 * dim, rng_);
      const auto [cos, sin] = Angles(kTokens, pairs);
      Matrix want(x);
      for (std::size_t t = 0; t < kTokens; ++t) {
        for (std::size_t j = 0; j < 9 * pairs; ++j) {
          const std::size_t i = j % pairs;
          const std::size_t a = j / pairs * dim + (neighbours ? 2 * i : i);
          const std::size_t b = a + (neighbours ? 1 : pairs);
          const double c = cos.view.Row(t)[i], s = sin.view.Row(t)[i];
          const double old_a = x.view.Row(t)[a], old_b = x.view.Row(t)[b];
          want.view.Row(t)[a] = static_cast<float>(old_a * c - old_b * s);
          want.view.Row(t)[b] = static_cast<float>(old_b * c + old_a * s);
        }
      }
      for (HostOperations* backend : {cpu_.get(), reference_.get()}) {
        Matrix got(x);
        backend->Rope(got.view, dim, cos.view, sin.view, neighbours);
        ExpectNear(got, want, 1e-6);
        for (std::size_t t = 0; t < kTokens; ++t) {
          for (std::size_t i = 0; i < 9 * dim; ++i) {
            if (i % dim < 2 * pairs) continue;
            ASSERT_EQ(got.view.Row(t)[i], x.view.Row(t)[i]) << "what does not turn stays";
          }
        }
      }
    }
  }
}

// Neighbours are halves in another order, with the same bits.
TEST_P(CpuElementwiseTest, NeighboursTurnAsHalves) {
  constexpr std::size_t kPairs = 21, kDim = 50;
  const auto tables = Angles(30, kPairs);
  Matrix halves = RandomValues(30, 3 * kDim, rng_);
  Matrix neighbours(halves);
  const auto place = [](std::size_t head, std::size_t i, std::size_t part, bool as_neighbours) {
    return head * kDim + (as_neighbours ? 2 * i + part : i + part * kPairs);
  };
  const auto for_each = [&](const auto& visit) {
    for (std::size_t t = 0; t < 30; ++t) {
      for (std::size_t j = 0; j < 3 * kPairs * 2; ++j) {
        const std::size_t head = j / (2 * kPairs), i = j / 2 % kPairs;
        visit(halves.view.Row(t)[place(head, i, j % 2, false)], neighbours.view.Row(t)[place(head, i, j % 2, true)]);
      }
    }
  };
  for_each([](float half, float& neighbour) { neighbour = half; });
  cpu_->Rope(halves.view, kDim, tables[0].view, tables[1].view, false);
  cpu_->Rope(neighbours.view, kDim, tables[0].view, tables[1].view, true);
  for_each([](float half, float neighbour) { ASSERT_EQ(half, neighbour); });
}

double TextbookActivation(Activation activation, double x) {
  switch (activation) {
    case Activation::kSilu:
      return x / (1 + std::exp(-x));
    case Activation::kGeluTanh:
      return x / 2 * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
    case Activation::kGelu:
      return x / 2 * std::erfc(-x / std::numbers::sqrt2);
  }
  return NAN;
}

constexpr Activation kActivationFunctions[] = {Activation::kSilu, Activation::kGeluTanh, Activation::kGelu};

TEST_P(CpuElementwiseTest, Activations) {
  for (const std::size_t cols : {1, 17, 1536}) {
    for (const double size : {0.01, 1.0, 20.0}) {
      const Matrix gate = RandomValues(33, cols, rng_, size);
      const Matrix up = RandomValues(33, cols, rng_);
      for (const Activation activation : kActivationFunctions) {
        Matrix gated(33, cols), activated(33, cols);
        for (std::size_t t = 0; t < 33; ++t) {
          for (std::size_t i = 0; i < cols; ++i) {
            const double value = TextbookActivation(activation, gate.view.Row(t)[i]);
            activated.view.Row(t)[i] = static_cast<float>(value);
            gated.view.Row(t)[i] = static_cast<float>(value * up.view.Row(t)[i]);
          }
        }
        for (HostOperations* backend : {cpu_.get(), reference_.get()}) {
          Matrix got(gate);
          backend->GatedActivation(activation, got.view, up.view);
          ExpectNear(got, gated, 3e-6);
          Matrix alone(gate);
          backend->Activate(activation, alone.view);
          ExpectNear(alone, activated, 1e-6);
        }
      }
    }
  }
}

// Gate and up as the halves of one matrix, as one product makes them.
TEST_P(CpuElementwiseTest, GateAndUpMayBeSlicesOfOneMatrix) {
  if (GetParam().cuda) GTEST_SKIP() << "of CPUs alone";
  constexpr std::size_t kRows = 33, kCols = 37, kStride = 2 * kCols + 3;
  std::vector<float> both(kRows * kStride);
  for (float& value : both) value = static_cast<float>(RandomValue(rng_));
  const MatrixView<float> gate(both.data(), kRows, kCols, kStride), up(both.data() + kCols, kRows, kCols, kStride);
  for (const Activation activation : kActivationFunctions) {
    Matrix want(kRows, kCols), separate(kRows, kCols);
    for (std::size_t t = 0; t < kRows; ++t) {
      std::ranges::copy(gate.Row(t), want.view.Row(t).begin());
      std::ranges::copy(up.Row(t), separate.view.Row(t).begin());
    }
    cpu_->GatedActivation(activation, want.view, separate.view);
    const auto backend = *MakeCpuBackend({2, GetParam().bits, ""});
    const auto buffer = *backend->Allocate(both.size());
    backend->Upload(both, View(buffer, kRows, kStride));
    backend->GatedActivation(activation, {buffer.get(), 0, ElementType::kF32, kRows, kCols, kStride},
                             {buffer.get(), kCols, ElementType::kF32, kRows, kCols, kStride});
    std::vector<float> got(both.size(), kNan);
    ASSERT_TRUE(backend->Read(View(buffer, kRows, kStride), got).ok());
    for (std::size_t i = 0; i < got.size(); ++i) {
      const std::size_t t = i / kStride, column = i % kStride;
      ASSERT_EQ(got[i], column < kCols ? want.view.Row(t)[column] : both[i]) << "row " << t << " column " << column;
    }
  }
}

TEST_P(CpuElementwiseTest, ActivationsHaveNoTrapFarFromZero) {
  const float inputs[] = {-1e30f, -200, -90, 90, 200, 1e30f};
  for (const Activation activation : kActivationFunctions) {
    for (const bool gated : {false, true}) {
      Matrix gate(1, 7);
      std::copy_n(inputs, 6, gate.data.data());
      const Matrix up(1, 7, 1.0f);
      if (gated) cpu_->GatedActivation(activation, gate.view, up.view);
      if (!gated) cpu_->Activate(activation, gate.view);
      for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(gate.data[i], 0, 1e-30) << inputs[i];
      for (std::size_t i = 3; i < 6; ++i) EXPECT_EQ(gate.data[i], inputs[i]);
      EXPECT_TRUE(std::isnan(gate.data[6]));
    }
  }
}

// GELU and tanh against the C library in double, everywhere.
TEST_P(CpuElementwiseTest, AccuracyOfGelu) {
  Matrix x(1, 40001);
  for (std::size_t i = 0; i < x.view.cols; ++i) x.view.Row(0)[i] = (static_cast<float>(i) - 20000) * 0.00071f;
  Matrix got(x);
  cpu_->Activate(Activation::kGelu, got.view);
  for (std::size_t i = 0; i < x.view.cols; ++i) {
    const double value = x.view.Row(0)[i];
    const double want = TextbookActivation(Activation::kGelu, value);
    ASSERT_NEAR(got.view.Row(0)[i], want, value < 0 ? 1e-6 * -want + 1e-11 : 4e-7 * want) << value;
  }
}

TEST_P(CpuElementwiseTest, AccuracyOfTanh) {
  Matrix x(1, 40001);
  for (std::size_t i = 0; i < x.view.cols; ++i) x.view.Row(0)[i] = (static_cast<float>(i) - 20000) * 0.00052f;
  Matrix got(x);
  cpu_->SoftCap(got.view, 1.0f);
  for (std::size_t i = 0; i < x.view.cols; ++i) {
    const double want = std::tanh(static_cast<double>(x.view.Row(0)[i]));
    ASSERT_NEAR(got.view.Row(0)[i], want, 2e-7 * std::abs(want)) << x.view.Row(0)[i];
    ASSERT_LE(std::abs(got.view.Row(0)[i]), 1);
  }
}

TEST_P(CpuElementwiseTest, SoftCap) {
  for (const std::size_t cols : {1, 17, 500}) {
    for (const float cap : {0.5f, 30.0f}) {
      const Matrix x = RandomValues(33, cols, rng_, 20);
      Matrix want(33, cols);
      for (std::size_t t = 0; t < 33; ++t) {
        for (std::size_t i = 0; i < cols; ++i) {
          want.view.Row(t)[i] = static_cast<float>(cap * std::tanh(static_cast<double>(x.view.Row(t)[i]) / cap));
        }
      }
      for (HostOperations* backend : {cpu_.get(), reference_.get()}) {
        Matrix got(x);
        backend->SoftCap(got.view, cap);
        ExpectNear(got, want, 1e-6);
      }
    }
  }
  Matrix far(1, 5);
  const float inputs[] = {kInfinity, -kInfinity, 1e30f, -1e30f, kNan};
  std::ranges::copy(inputs, far.view.Row(0).begin());
  cpu_->SoftCap(far.view, 30);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(far.data[i], inputs[i] > 0 ? 30 : -30);
  EXPECT_TRUE(std::isnan(far.data[4]));
}

TEST_P(CpuElementwiseTest, AddAndScale) {
  for (const std::size_t cols : {1, 17, 1536}) {
    const Matrix x = RandomValues(33, cols, rng_, 20);
    const Matrix y = RandomValues(33, cols, rng_);
    for (const float factor : {1.0f, -0.37f}) {
      Matrix sum(33, cols), product(33, cols);
      for (std::size_t t = 0; t < 33; ++t) {
        for (std::size_t i = 0; i < cols; ++i) {
          const double value = x.view.Row(t)[i];
          sum.view.Row(t)[i] = static_cast<float>(value + static_cast<double>(factor) * y.view.Row(t)[i]);
          product.view.Row(t)[i] = static_cast<float>(value * factor);
        }
      }
      for (HostOperations* backend : {cpu_.get(), reference_.get()}) {
        Matrix added(x), scaled(x);
        backend->Add(added.view, y.view, factor);
        backend->Scale(scaled.view, factor);
        EXPECT_TRUE(factor != 1 || SameBits(added, sum)) << "one rounding";
        ExpectNear(added, sum, 2e-7);
        EXPECT_TRUE(SameBits(scaled, product));
      }
    }
  }
}

TEST_P(CpuElementwiseTest, TheNumberOfThreadsDoesNotChangeABit) {
  const Matrix x = RandomValues(130, 320, rng_, 3);
  const Matrix other = RandomValues(130, 320, rng_);
  const Matrix row = RandomValues(1, 320, rng_);
  const auto [cos, sin] = Angles(130, 13);
  for (const NormKind kind : {NormKind::kRms, NormKind::kLayer}) {
    ExpectSameBits(x, [&](HostOperations& cpu, MatrixView<float> to) {
      cpu.Norm({to, row.data.data(), 1e-5f, to, kind, kind == NormKind::kLayer ? row.data.data() : nullptr});
    });
  }
  for (const bool neighbours : {false, true}) {
    ExpectSameBits(x, [&, cosines = cos.view, sines = sin.view](HostOperations& cpu, MatrixView<float> to) {
      cpu.Rope(to, 64, cosines, sines, neighbours);
    });
  }
  for (const Activation activation : kActivationFunctions) {
    ExpectSameBits(x, [&](HostOperations& cpu, MatrixView<float> to) { cpu.Activate(activation, to); });
    ExpectSameBits(x,
                   [&](HostOperations& cpu, MatrixView<float> to) { cpu.GatedActivation(activation, to, other.view); });
  }
  ExpectSameBits(x, [&](HostOperations& cpu, MatrixView<float> to) { cpu.Add(to, other.view, 0.3f); });
  ExpectSameBits(x, [&](HostOperations& cpu, MatrixView<float> to) { cpu.Scale(to, 0.3f); });
  ExpectSameBits(x, [&](HostOperations& cpu, MatrixView<float> to) { cpu.SoftCap(to, 3); });
}

INSTANTIATE_TEST_SUITE_P(AllLevels, CpuElementwiseTest, testing::ValuesIn(TestedBackends()),
                         [](const auto& level) { return std::string(level.param.name); });

TEST(CpuElementwiseDeathTest, ArgumentsAreChecked) {
  HostOperations cpu(*MakeCpuBackend({1, {}, ""}));
  Matrix x(2, 12, 1.0f);
  const auto tables = Angles(2, 7);
  const auto fitting = Angles(1, 6);
  EXPECT_DEATH(cpu.Rope(x.view, 12, tables[0].view, tables[1].view), "shapes of rotary embedding");
  EXPECT_DEATH(cpu.Rope(x.view, 12, fitting[0].view, fitting[1].view), "a position beyond the table");
  EXPECT_DEATH(cpu.Norm({x.view, nullptr, 1e-5f, x.view, NormKind::kRms, x.data.data()}), "the bias of a layer norm");
  EXPECT_DEATH(cpu.SoftCap(x.view, 0), "the cap of numbers");
}

}  // namespace
}  // namespace marlin
