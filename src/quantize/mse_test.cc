#include "quantize/mse.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/half.h"
#include "base/rng.h"
#include "formats/formats.h"
#include "kernels/random_matrix.h"
#include "kernels/test_device.h"

namespace marlin {
namespace {

struct Problem {
  std::size_t rows;
  std::size_t cols;
  std::vector<float> weights;
  std::vector<float> importance;
  MatrixView<const float> view() const { return {weights.data(), rows, cols}; }
};

// Weights with a few outliers, importance over several magnitudes.
Problem RandomProblem(std::size_t rows, std::size_t cols, std::uint64_t seed) {
  Rng rng(seed);
  Problem p{rows, cols, std::vector<float>(rows * cols), std::vector<float>(cols)};
  for (float& w : p.weights) w = static_cast<float>(rng.Normal() * (rng.Uniform() < 0.03 ? 0.2 : 0.05));
  for (float& x : p.importance) x = static_cast<float>(std::exp(1.5 * rng.Normal()));
  return p;
}

double WeightedError(const Problem& p, const EncodedMatrix& matrix, std::span<const float> importance) {
  double sum = 0;
  std::vector<float> row(p.cols, NAN);
  for (std::size_t r = 0; r < p.rows; ++r) {
    DecodeRow(matrix.view(), r, row);
    for (std::size_t j = 0; j < p.cols; ++j) {
      const double error = double{p.weights[r * p.cols + j]} - row[j];
      sum += (importance.empty() ? 1.0 : double{importance[j]}) * error * error;
    }
  }
  return sum;
}

TEST(Mse, IsNeverWorseThanRtnAndUsuallyMuchBetter) {
  ThreadPool pool(2);
  for (const FormatRow& format : Formats()) {
    if (format.info.group == 0) continue;
    for (const std::size_t wanted : {1u, 7u, 64u, 172u, 576u}) {
      const std::size_t cols = FittingCols(format.info, wanted);
      const Problem p = RandomProblem(19, cols, cols);
      for (const std::span<const float> importance : {std::span<const float>(p.importance), std::span<const float>()}) {
        const double rtn = WeightedError(p, Encode(format, p.view()), importance);
        const double mse = WeightedError(p, EncodeMse(format, p.view(), importance, pool), importance);
        EXPECT_LE(mse, rtn * (1 + 1e-9)) << format.info.name << " " << cols;
        if (cols >= 172 && format.info.code_bits == 4) {
          const bool coarse = format.info.scale_type == ScaleType::kE8m0;  // three scales to choose from
          EXPECT_LT(mse, (coarse ? 0.99 : 0.95) * rtn) << format.info.name << " " << cols;
        }
      }
    }
  }
}

TEST(Mse, ImportanceDecidesWhatIsKept) {
  ThreadPool pool(1);
  const Problem p = RandomProblem(24, 512, 3);
  for (const char* name : {"fp4-g128", "int4-g128"}) {
    const FormatRow& format = *FindFormat(name);
    const EncodedMatrix weighted = EncodeMse(format, p.view(), p.importance, pool);
    const EncodedMatrix equal = EncodeMse(format, p.view(), {}, pool);
    EXPECT_LT(WeightedError(p, weighted, p.importance), WeightedError(p, equal, p.importance)) << name;
    EXPECT_GT(WeightedError(p, weighted, {}), WeightedError(p, equal, {})) << name;
  }
}

// Against every scale of fp16 and every zero point.
TEST(Mse, IsCloseToTheBestThereIs) {
  const Problem p = RandomProblem(12, 64, 5);
  for (const char* name : {"fp4-g64", "int4-g64"}) {
    const FormatRow& format = *FindFormat(name);
    double found = 0;
    double best = 0;
    for (std::size_t r = 0; r < p.rows; ++r) {
      const auto weights = p.view().Row(r);
      found += format.error(weights, p.importance, format.search(weights, p.importance), kNoLimit);
      double least = INFINITY;
      for (std::uint16_t bits = FloatToHalf(0.002f); bits < FloatToHalf(0.5f); ++bits) {
        const float scale = HalfToFloat(bits);
        if (format.round_scale(scale, {}) != scale) continue;
        for (std::uint8_t zero = 0; zero < (format.info.zero_point_bits == 0 ? 1 : 16); ++zero) {
          least = std::min(least, format.error(weights, p.importance, {.scale = scale, .zero_point = zero}, kNoLimit));
        }
      }
      best += least;
    }
    EXPECT_LE(best, found) << name;
    EXPECT_LT(found, 1.04 * best) << name;
  }
}

// A group on the grid of its format comes back exactly.
TEST(Mse, FindsTheGridThatWeightsLieOn) {
  const std::vector<float> weights = {0.25f, -0.5f, 0.75f, 1.0f,
                                      -1.5f, 2.0f,  0,     0.5f};  // FP4 with scale 0.5, peak on 4
  const std::vector<float> importance(8, 1.0f);
  const FormatRow& format = *FindFormat("fp4-g32");
  EXPECT_GT(format.error(weights, importance, format.fit(weights, {}), kNoLimit), 0);
  EXPECT_EQ(format.error(weights, importance, format.search(weights, importance), kNoLimit), 0);
}

TEST(Mse, ThreadsDoNotChangeABit) {
  const Problem p = RandomProblem(37, 300, 6);
  for (const char* name : {"fp4-g32", "int4-g64"}) {
    ThreadPool one(1);
    const EncodedMatrix want = EncodeMse(*FindFormat(name), p.view(), p.importance, one);
    for (const int threads : {2, 5}) {
      ThreadPool pool(threads);
      const EncodedMatrix got = EncodeMse(*FindFormat(name), p.view(), p.importance, pool);
      EXPECT_EQ(got.codes, want.codes);
      EXPECT_EQ(got.scales, want.scales);
      EXPECT_EQ(got.zero_points, want.zero_points);
    }
  }
}

TEST(Mse, ZerosExtremesAndSilentGroupsAreFinite) {
  const std::vector<float> zeros(4, 0.0f);
  const std::vector<float> ones(4, 1.0f);
  const std::vector<std::vector<float>> groups = {{0, 0, 0, 0}, {3e38f, -3e38f, 1, 0}, {1e-30f, 0, 0, -1e-30f}};
  for (const FormatRow& format : Formats()) {
    for (const auto& weights : groups) {
      for (const auto& importance : {zeros, ones}) {
        const float scale = format.search(weights, importance).scale;
        EXPECT_TRUE(std::isfinite(scale)) << format.info.name;
      }
    }
    const std::vector<float> some = {1, 2, 3, 4};
    EXPECT_EQ(format.search(some, zeros).scale, format.fit(some, {}).scale) << "nothing to choose by";
  }
}

class MseOn : public testing::TestWithParam<const char*> {};

INSTANTIATE_TEST_SUITE_P(Devices, MseOn, testing::Values("glass", "cuda"),
                         [](const auto& device) { return std::string(device.param); });

// Also of short last groups, of rows without weights, of weights too large and too small for any scale, and of channels
// that do not count.
TEST_P(MseOn, DevicesGiveTheSameBits) {
  const auto device = DeviceOfCase(GetParam());
  if (device == nullptr) GTEST_SKIP() << "this machine has no CUDA device";
  ThreadPool pool(2);
  for (const FormatRow& format : Formats()) {
    if (!HasGroups(format.info)) continue;
    for (const std::size_t wanted : {1u, 7u, 64u, 172u, 1000u}) {
      const std::size_t cols = FittingCols(format.info, wanted);
      Problem p = RandomProblem(67, cols, cols + 5);
      std::fill_n(p.weights.begin(), cols, 0.0f);
      for (std::size_t j = 0; j < cols; ++j) {
        p.weights[3 * cols + j] *= 1e9f;
        p.weights[33 * cols + j] *= 1e-9f;
      }
      p.importance[cols / 2] = 0;
      for (const std::span<const float> importance : {std::span<const float>(p.importance), std::span<const float>()}) {
        const EncodedMatrix want = EncodeMse(format, p.view(), importance, pool);
        const auto got = EncodeMseOnDevice(format, p.view(), importance, *device, pool);
        ASSERT_TRUE(got.ok()) << format.info.name << ": " << got.error().message;
        for (const EncodedPart& part : kEncodedParts) {
          EXPECT_EQ((*got).*part.owned, want.*part.owned) << format.info.name << " " << cols << ": " << part.name;
        }
      }
    }
  }
}

}  // namespace
}  // namespace marlin
