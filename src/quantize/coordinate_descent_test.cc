#include "quantize/coordinate_descent.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/half.h"
#include "formats/formats.h"
#include "quantize/gptq.h"
#include "quantize/hessian.h"
#include "quantize/random_layer.h"

namespace marlin {
namespace {

using test::CodesOf;
using test::Layer;
using test::RandomLayer;

constexpr int kUntilNothingChanges = 1000;

// e H e^T of one row, e = weights - values, in double.
double RowError(const Layer& layer, const std::vector<float>& hessian, std::size_t r, std::span<const float> values) {
  double sum = 0;
  for (std::size_t i = 0; i < layer.k; ++i) {
    double along = 0;
    for (std::size_t j = 0; j < layer.k; ++j) {
      along += double{hessian[i * layer.k + j]} * (double{layer.weights[r * layer.k + j]} - values[j]);
    }
    sum += along * (double{layer.weights[r * layer.k + i]} - values[i]);
  }
  return sum;
}

double ErrorUnder(const Layer& layer, const std::vector<float>& hessian, const EncodedMatrix& matrix) {
  double sum = 0;
  std::vector<float> row(layer.k, NAN);
  for (std::size_t r = 0; r < layer.n; ++r) {
    DecodeRow(matrix.view(), r, row);
    sum += RowError(layer, hessian, r, row);
  }
  return sum;
}

std::size_t Length(const FormatRow& format, std::size_t k) {
  return format.info.group == 0 ? k : static_cast<std::size_t>(format.info.group);
}

// The params with the next scale, or the next bias, that the format can store, up and down.
std::vector<GroupParams> NeighboursOf(const FormatRow& format, const GroupParams& own) {
  std::vector<GroupParams> neighbours;
  for (const double side : {1.0, -1.0}) {
    GroupParams next = own;
    for (double step = 1e-5; step < 1 && next.scale == own.scale; step *= 1.5) {
      next.scale = format.round_scale(static_cast<float>(own.scale * (1 + side * step)), own);
    }
    if (next.scale != own.scale && next.scale != 0) neighbours.push_back(next);
    next = own;
    for (double step = 1e-5; step < 1 && next.bias == own.bias; step *= 1.5) {
      next.bias = format.round_bias(static_cast<float>(own.bias * (1 + side * step)), own);
    }
    if (next.bias != own.bias) neighbours.push_back(next);
  }
  return neighbours;
}

// How much changing one code of the row, or the scale or bias of one group to its neighbour, would lower the error at
// most.
double BestSingleStep(const Layer& layer, const std::vector<float>& hessian, const EncodedMatrix& matrix,
                      std::size_t r) {
  const FormatRow& format = *matrix.format;
  std::vector<float> row(layer.k, NAN);
  DecodeRow(matrix.view(), r, row);
  const double now = RowError(layer, hessian, r, row);
  double best = 0;
  for (std::size_t j = 0; j < layer.k; ++j) {
    const float old = row[j];
    const GroupParams params = GetParams(matrix.view(), r, j / Length(format, layer.k));
    for (std::uint32_t code = 0; code < (1u << format.info.code_bits); ++code) {
      format.decode({&code, 1}, params, {&row[j], 1});
      best = std::max(best, now - RowError(layer, hessian, r, row));
    }
    row[j] = old;
  }
  for (std::size_t g = 0; g < matrix.view().groups(); ++g) {
    for (const GroupParams& neighbour : NeighboursOf(format, GetParams(matrix.view(), r, g))) {
      EncodedMatrix other = matrix;
      SetParams(other, r, g, neighbour);
      std::vector<float> changed(layer.k, NAN);
      DecodeRow(other.view(), r, changed);
      best = std::max(best, now - RowError(layer, hessian, r, changed));
    }
  }
  return best;
}

TEST(CoordinateDescent, EndsWhereNoSingleStepHelps) {
  ThreadPool pool(2);
  const Layer layer = RandomLayer(3, 75, 200, 61);
  const std::vector<float> hessian = DampedHessian(layer.stats, kDamping, pool);
  for (const char* name : {"fp4-g32", "fp4-g64", "int4-g64", "nvfp4", "q4_1", "q5_0", "iq4_nl", "mlx4-g32"}) {
    EncodedMatrix matrix = Encode(*FindFormat(name), layer.view());
    DescendByCoordinates(layer.view(), hessian, kUntilNothingChanges, matrix, pool);
    const double error = ErrorUnder(layer, hessian, matrix);
    for (std::size_t r = 0; r < layer.n; ++r) {
      EXPECT_LT(BestSingleStep(layer, hessian, matrix, r), 1e-5 * error) << name << ", row " << r;
    }
  }
}

TEST(CoordinateDescent, NeverRaisesTheErrorAndImprovesGptq) {
  ThreadPool pool(2);
  struct Shape {
    std::size_t cols;
    bool dead;
  };
  for (const auto& [cols, dead] : {Shape{290, false}, Shape{290, true}, Shape{512, false}}) {
    const Layer layer = RandomLayer(21, cols, 600, dead ? 62 : 63, dead);
    const std::vector<float> hessian = DampedHessian(layer.stats, kDamping, pool);
    const auto factor = FactorHessian(layer.stats, pool);
    ASSERT_TRUE(factor.ok());
    for (const FormatRow& format : Formats()) {
      if (format.info.code_bits > 8 || FitsRows(format.info, 290) != (cols == 290)) continue;
      EncodedMatrix matrix = EncodeGptq(format, layer.view(), *factor, pool);
      const double gptq = ErrorUnder(layer, hessian, matrix);
      double last = gptq;
      for (int sweep = 0; sweep < 3; ++sweep) {
        DescendByCoordinates(layer.view(), hessian, 1, matrix, pool);
        const double error = ErrorUnder(layer, hessian, matrix);
        EXPECT_LE(error, last * (1 + 1e-6)) << format.info.name;
        last = error;
      }
      EXPECT_LT(last, 0.995 * gptq) << format.info.name;
    }
  }
}

TEST(CoordinateDescent, FormatsWithoutGroupsAreServedToo) {
  ThreadPool pool(1);
  const Layer layer = RandomLayer(5, 150, 300, 64);
  const std::vector<float> hessian = DampedHessian(layer.stats, kDamping, pool);
  EncodedMatrix matrix = Encode(*FindFormat("bf16"), layer.view());
  const double before = ErrorUnder(layer, hessian, matrix);
  DescendByCoordinates(layer.view(), hessian, kDescentSweeps, matrix, pool);
  EXPECT_LT(ErrorUnder(layer, hessian, matrix), before);
}

TEST(CoordinateDescent, ThreadsDoNotChangeABit) {
  const Layer layer = RandomLayer(45, 290, 400, 65);
  ThreadPool one(1);
  const EncodedMatrix start = Encode(*FindFormat("int4-g128"), layer.view());
  EncodedMatrix want = start;
  DescendByCoordinates(layer.view(), DampedHessian(layer.stats, kDamping, one), kDescentSweeps, want, one);
  EXPECT_NE(want.codes, start.codes);
  EXPECT_NE(want.scales, start.scales);
  for (const int threads : {2, 3, 7}) {
    ThreadPool pool(threads);
    EncodedMatrix got = start;
    DescendByCoordinates(layer.view(), DampedHessian(layer.stats, kDamping, pool), kDescentSweeps, got, pool);
    EXPECT_EQ(got.codes, want.codes);
    EXPECT_EQ(got.scales, want.scales);
    EXPECT_EQ(got.zero_points, want.zero_points);
  }
}

TEST(CoordinateDescent, RowsOfZerosStay) {
  ThreadPool pool(1);
  Layer layer = RandomLayer(9, 64, 100, 66);
  std::fill_n(layer.weights.begin(), 64, 0.0f);
  EncodedMatrix matrix = Encode(*FindFormat("fp4-g64"), layer.view());
  DescendByCoordinates(layer.view(), DampedHessian(layer.stats, kDamping, pool), kDescentSweeps, matrix, pool);
  std::vector<float> row(64, NAN);
  DecodeRow(matrix.view(), 0, row);
  EXPECT_EQ(std::ranges::count(row, 0.0f), 64);
}

}  // namespace
}  // namespace marlin
