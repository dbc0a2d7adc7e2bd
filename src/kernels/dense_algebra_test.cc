// Dense algebra of devices against double: the glass device, which computes on the host, and CUDA.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "base/rng.h"
#include "kernels/host_buffer.h"
#include "kernels/test_device.h"

namespace marlin {
namespace {

class DenseAlgebraOf : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    device_ = DeviceOfCase(GetParam());
    if (device_ == nullptr) GTEST_SKIP() << "this machine has no CUDA device";
  }

  DenseAlgebra& algebra() { return *device_->dense_algebra(); }

  // A matrix in the middle of a larger one, all of which is `values`.
  template <class T>
  DeviceTensor Inner(std::size_t rows, std::size_t cols, const std::vector<T>& values) {
    buffers_.push_back(*device_->Allocate(values.size(), TypeOfElement<T>()));
    const std::size_t stride = cols + kGap;
    EXPECT_EQ(values.size(), (rows + 1) * stride);
    device_->Upload(values, View(buffers_.back(), rows + 1, stride, TypeOfElement<T>()));
    return {buffers_.back().get(), stride + 1, TypeOfElement<T>(), rows, cols, stride};
  }
  template <class T>
  std::vector<T> RandomFor(std::size_t rows, std::size_t cols) {
    std::vector<T> values((rows + 1) * (cols + kGap));
    for (T& value : values) value = static_cast<T>(rng_.Normal());
    return values;
  }
  template <class T>
  static T At(const std::vector<T>& values, std::size_t cols, std::size_t i, std::size_t j) {
    return values[(i + 1) * (cols + kGap) + 1 + j];
  }

  template <class T>
  void CheckProduct(std::size_t m, std::size_t n, std::size_t l, bool transposed, bool adds) {
    SCOPED_TRACE(testing::Message() << m << " x " << n << " x " << l << (transposed ? " transposed" : "")
                                    << (adds ? " adds" : "") << (sizeof(T) == 8 ? " fp64" : " fp32"));
    const std::size_t a_rows = transposed ? l : m, a_cols = transposed ? m : l;
    const auto a = RandomFor<T>(a_rows, a_cols), b = RandomFor<T>(l, n);
    auto before = RandomFor<T>(m, n);
    if (!adds) before.assign(before.size(), static_cast<T>(NAN));
    const double factor = -0.5;
    std::vector<T> got[2];
    for (auto& run : got) {
      const DeviceTensor c = Inner(m, n, before);
      algebra().MultiplyDense({Inner(a_rows, a_cols, a), Inner(l, n, b), c, transposed, adds, factor});
      run.resize(before.size());
      const DeviceTensor all = {c.buffer, 0, c.type, m + 1, c.stride, c.stride};
      ASSERT_TRUE(device_->Read(all, run).ok());
    }
    const double epsilon = sizeof(T) == 8 ? 1e-15 : 3e-7;
    for (std::size_t i = 0; i < m; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        double want = adds ? At(before, n, i, j) : 0, size = std::abs(want);
        for (std::size_t s = 0; s < l; ++s) {
          const double term =
              factor * (transposed ? At(a, a_cols, s, i) : At(a, a_cols, i, s)) * double{At(b, n, s, j)};
          want += term;
          size += std::abs(term);
        }
        ASSERT_NEAR(At(got[0], n, i, j), want, epsilon * static_cast<double>(l) * size) << i << ", " << j;
        ASSERT_EQ(At(got[0], n, i, j), At(got[1], n, i, j)) << "another run gives other bits";
      }
    }
    for (std::size_t i = 0; adds && i < before.size(); ++i) {
      const std::size_t row = i / (n + kGap), column = i % (n + kGap);
      if (row > 0 && column >= 1 && column <= n) continue;
      ASSERT_EQ(got[0][i], before[i]) << "a gap was written";
    }
  }

  template <class T>
  void CheckSymmetric(std::size_t k, bool ordered) {
    auto upper = RandomFor<float>(k, k);
    for (std::size_t i = 0; i < k; ++i) {
      for (std::size_t j = 0; j < i; ++j) upper[(i + 1) * (k + kGap) + 1 + j] = NAN;
    }
    std::vector<std::int32_t> places(k);
    for (std::size_t i = 0; i < k; ++i) {
      places[i] = static_cast<std::int32_t>(ordered ? (i * 7 + 3) % k : i);
    }
    buffers_.push_back(*device_->Allocate(k, ElementType::kI32));
    const DeviceTensor order = View(buffers_.back(), k, 1, ElementType::kI32);
    device_->Upload(places, order);
    buffers_.push_back(*device_->Allocate(k * k, TypeOfElement<T>()));
    const DeviceTensor out = View(buffers_.back(), k, k, TypeOfElement<T>());
    const double factor = 2.0 / 700;
    algebra().Symmetrize(Inner(k, k, upper), ordered ? order : DeviceTensor(), factor, out);
    std::vector<T> got(k * k);
    ASSERT_TRUE(device_->Read(out, got).ok());
    for (std::size_t i = 0; i < k; ++i) {
      for (std::size_t j = 0; j < k; ++j) {
        const auto row = static_cast<std::size_t>(places[i]), column = static_cast<std::size_t>(places[j]);
        const std::size_t low = std::min(row, column), high = std::max(row, column);
        ASSERT_EQ(got[i * k + j], static_cast<T>(factor * double{At(upper, k, low, high)})) << i << ", " << j;
      }
    }
  }

  template <class T>
  void CheckDiagonal(std::size_t k) {
    buffers_.push_back(*device_->Allocate(k * k, TypeOfElement<T>()));
    const DeviceTensor all = View(buffers_.back(), k, k, TypeOfElement<T>());
    const DeviceTensor diagonal = {all.buffer, 0, all.type, k, 1, k + 1};
    std::vector<T> zeros(k * k), values(k), got(k), whole(k * k);
    for (T& value : values) value = static_cast<T>(1 + rng_.Normal());
    device_->Upload(zeros, all);
    device_->Upload(values, diagonal);
    ASSERT_TRUE(device_->Read(diagonal, got).ok());
    EXPECT_EQ(got, values);
    ASSERT_TRUE(device_->Read(all, whole).ok());
    for (std::size_t i = 0; i < k; ++i) zeros[i * k + i] = values[i];
    EXPECT_EQ(whole, zeros);
  }

  static constexpr std::size_t kGap = 5;
  Rng rng_{71};
  std::unique_ptr<Backend> device_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
};

INSTANTIATE_TEST_SUITE_P(Devices, DenseAlgebraOf, testing::Values("glass", "cuda"),
                         [](const auto& device) { return std::string(device.param); });

TEST_P(DenseAlgebraOf, ProductsAreThoseOfDouble) {
  struct Shape {
    std::size_t m, n, l;
  };
  for (const auto& [m, n, l] : {Shape{1, 1, 1}, Shape{128, 37, 128}, Shape{35, 256, 129}, Shape{3, 200, 290}}) {
    for (const bool transposed : {false, true}) {
      for (const bool adds : {false, true}) {
        CheckProduct<float>(m, n, l, transposed, adds);
        CheckProduct<double>(m, n, l, transposed, adds);
      }
    }
  }
}

TEST_P(DenseAlgebraOf, TheUpperHalfGivesTheWholeMatrixInAnyOrder) {
  for (const std::size_t k : {1u, 40u, 300u}) {
    for (const bool ordered : {false, true}) {
      CheckSymmetric<float>(k, ordered);
      CheckSymmetric<double>(k, ordered);
    }
  }
}

TEST_P(DenseAlgebraOf, DiagonalsAreCopiedAsTensors) {
  for (const std::size_t k : {1u, 300u, 1000u}) {
    CheckDiagonal<float>(k);
    CheckDiagonal<double>(k);
  }
}

}  // namespace
}  // namespace marlin
