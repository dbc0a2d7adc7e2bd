// gptq and gptq-cd with the dense algebra of a device, the glass device or CUDA, against those of the host.
#include "quantize/device_gptq.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>

#include "formats/formats.h"
#include "kernels/glass_backend.h"
#include "kernels/reference_backend.h"
#include "kernels/test_device.h"
#include "quantize/gptq.h"
#include "quantize/method.h"
#include "quantize/random_layer.h"
#include "quantize/row_rounder.h"

namespace marlin {
namespace {

using test::CodesOf;
using test::Layer;
using test::RandomLayer;

class DeviceGptqOn : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    device_ = DeviceOfCase(GetParam());
    if (device_ == nullptr) GTEST_SKIP() << "this machine has no CUDA device";
  }

  DeviceGram GramOf(const Layer& layer) {
    gram_ = *device_->Allocate(layer.k * layer.k);
    const DeviceTensor gram = View(gram_, layer.k, layer.k);
    device_->Upload(layer.stats.gram, gram);
    return {device_.get(), gram};
  }
  Result<EncodedMatrix> Run(const char* method, const FormatRow& format, const Layer& layer, ThreadPool& pool) {
    InputStatistics moments = layer.stats;
    moments.gram.clear();
    const DeviceGram gram = GramOf(layer);
    return (*ParseMethod(method))->run(format, layer.view(), &moments, MethodTools(pool, gram.device, gram.gram));
  }

  ThreadPool pool_{2};
  std::unique_ptr<Backend> device_;
  std::unique_ptr<Buffer> gram_;
};

INSTANTIATE_TEST_SUITE_P(Devices, DeviceGptqOn, testing::Values("glass", "cuda"),
                         [](const auto& device) { return std::string(device.param); });

double ErrorOf(const Layer& layer, const EncodedMatrix& matrix, ThreadPool& pool) {
  return ReconstructionError(layer.view(), matrix.view(), layer.stats, pool);
}

double ShareOfEqualCodes(const EncodedMatrix& a, const EncodedMatrix& b) {
  const auto left = CodesOf(a), right = CodesOf(b);
  std::size_t same = 0;
  for (std::size_t i = 0; i < left.size(); ++i) same += left[i] == right[i] ? 1 : 0;
  return static_cast<double>(same) / static_cast<double>(left.size());
}

TEST_P(DeviceGptqOn, FactorsAreThoseOfTheHost) {
  struct Shape {
    std::size_t cols;
    bool dead;
  };
  for (const auto& [cols, dead] : {Shape{90, false}, Shape{128, false}, Shape{300, true}, Shape{512, false}}) {
    const Layer layer = RandomLayer(2, cols, 700, 81, dead);
    const auto want = FactorHessian(layer.stats, pool_);
    const auto got = FactorOnDevice(GramOf(layer), layer.stats, pool_);
    ASSERT_TRUE(want.ok() && got.ok());
    EXPECT_EQ(got->order, want->order);
    EXPECT_EQ(got->importance, want->importance);
    EXPECT_EQ(got->damping, want->damping);
    EXPECT_EQ(got->dead_columns, want->dead_columns);
    std::vector<double> root(cols * cols);
    ASSERT_TRUE(device_->Read(View(got->root, cols, cols, ElementType::kF64), root).ok());
    for (std::size_t p = 0; p < cols; ++p) {
      for (std::size_t q = 0; q < p; ++q) {
        const bool inside = p / kGptqBlock == q / kGptqBlock;
        const double value =
            inside ? got->feedback[p * kGptqBlock + q % kGptqBlock] : root[q * cols + p] / got->pivots[q];
        ASSERT_NEAR(value, want->feedback[p * cols + q], 1e-8 * (1 + std::abs(value))) << p << ", " << q;
      }
    }
  }
}

TEST_P(DeviceGptqOn, CodesAreThoseOfTheHost) {
  for (const std::size_t cols : {300u, 512u}) {
    const Layer layer = RandomLayer(24, cols, 700, 82, cols == 300);
    for (const FormatRow& format : Formats()) {
      if (!HasGroups(format.info) || !FitsRows(format.info, cols)) continue;
      if (FitsRows(format.info, 300) != (cols == 300)) continue;
      const auto want = (*ParseMethod("gptq"))->run(format, layer.view(), &layer.stats, pool_);
      const auto got = Run("gptq", format, layer, pool_);
      ASSERT_TRUE(want.ok() && got.ok());
      EXPECT_GT(ShareOfEqualCodes(*got, *want), 0.999) << format.info.name;
      EXPECT_EQ(got->scales, want->scales) << format.info.name;
      EXPECT_LE(ErrorOf(layer, *got, pool_), 1.001 * ErrorOf(layer, *want, pool_)) << format.info.name;
    }
  }
}

// Small errors lead the descent elsewhere, so codes need not be the same. Its ends are as good: the error of many rows
// together differs little, though that of one row may.
TEST_P(DeviceGptqOn, DescentEndsAsLowAsOnTheHost) {
  for (const std::size_t cols : {100u, 290u, 512u}) {
    const Layer layer = RandomLayer(64, cols, 600, 83, cols == 290);
    for (const FormatRow& format : Formats()) {
      if (!HasGroups(format.info) || !FitsRows(format.info, cols)) continue;
      if (cols == 512 && FitsRows(format.info, 290)) continue;
      const auto want = (*ParseMethod("gptq-cd"))->run(format, layer.view(), &layer.stats, pool_);
      const auto got = Run("gptq-cd", format, layer, pool_);
      ASSERT_TRUE(want.ok() && got.ok());
      EXPECT_LT(ErrorOf(layer, *got, pool_), 1.001 * ErrorOf(layer, *want, pool_)) << format.info.name << ", " << cols;
    }
  }
}

TEST_P(DeviceGptqOn, ThreadsRunsAndTheWayOfTheGramDoNotChangeABit) {
  const Layer layer = RandomLayer(45, 290, 400, 85);
  const FormatRow& format = *FindFormat("int4-g64");
  const auto want = Run("gptq-cd", format, layer, pool_);
  ASSERT_TRUE(want.ok());
  const auto expect_same = [&](const Result<EncodedMatrix>& got) {
    ASSERT_TRUE(got.ok());
    EXPECT_EQ(got->codes, want->codes);
    EXPECT_EQ(got->scales, want->scales);
    EXPECT_EQ(got->zero_points, want->zero_points);
  };
  for (const int threads : {1, 2, 7}) {
    ThreadPool pool(threads);
    expect_same(Run("gptq-cd", format, layer, pool));
    const MethodTools tools(pool, device_.get());
    expect_same((*ParseMethod("gptq-cd"))->run(format, layer.view(), &layer.stats, tools));
  }
}

TEST_P(DeviceGptqOn, DampingIsRaisedAsOnTheHost) {
  Layer layer = RandomLayer(4, 200, 300, 86);
  float* const gram = layer.stats.gram.data();
  gram[150] = 1.05f * std::sqrt(gram[0] * gram[150 * 200 + 150]);  // a correlation above 1
  const auto want = FactorHessian(layer.stats, pool_);
  const auto got = FactorOnDevice(GramOf(layer), layer.stats, pool_);
  ASSERT_TRUE(want.ok() && got.ok());
  EXPECT_GT(got->damping, kDamping);
  EXPECT_EQ(got->damping, want->damping);
}

TEST_P(DeviceGptqOn, WhatCannotBeUsedIsRefused) {
  Layer layer = RandomLayer(4, 200, 300, 87);
  layer.stats.gram[3] = NAN;
  EXPECT_EQ(FactorOnDevice(GramOf(layer), layer.stats, pool_).error().code, ErrorCode::kNumerical);
  layer.stats.tokens = 0;
  EXPECT_EQ(FactorOnDevice(GramOf(layer), layer.stats, pool_).error().code, ErrorCode::kInput);
}

TEST(DeviceGptq, ErrorsOfTheDeviceComeBack) {
  ThreadPool pool(2);
  GlassBackend device(MakeReferenceBackend());
  const Layer layer = RandomLayer(8, 200, 300, 88);
  const auto buffer = *device.Allocate(layer.k * layer.k, ElementType::kF32);
  const DeviceGram gram{&device, View(buffer, layer.k, layer.k)};
  device.Upload(layer.stats.gram, gram.gram);
  const FormatRow& format = *FindFormat("fp4-g64");
  const auto factor = FactorOnDevice(gram, layer.stats, pool);
  ASSERT_TRUE(factor.ok());
  auto matrix = DeviceMatrix::Create(format, layer.view(), factor->importance, device);
  ASSERT_TRUE(matrix.ok());
  const Error lost{ErrorCode::kResource, "the device is lost"};
  device.FailNext(lost);
  EXPECT_EQ(FactorOnDevice(gram, layer.stats, pool).error().message, lost.message);
  device.FailNext(lost);
  EXPECT_EQ(DeviceMatrix::Create(format, layer.view(), factor->importance, device).error().message, lost.message);
  device.FailNext(lost);
  EXPECT_EQ(RoundOnDevice(*factor, *matrix).error().message, lost.message);
  device.FailNext(lost);
  EXPECT_EQ(DescendOnDevice(gram, layer.stats, kDamping, 2, *matrix).error().message, lost.message);
  device.FailNext(lost);
  EXPECT_EQ(matrix->Read(pool).error().message, lost.message);
}

}  // namespace
}  // namespace marlin
