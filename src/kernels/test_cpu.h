// For tests of backends: matrices with poisoned gaps, and the backend of every instruction set, and of CUDA, beside the
// reference.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "kernels/cpu_backend.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/host_operations.h"
#include "kernels/kernel.h"
#include "kernels/print_isa.h"
#include "kernels/random_matrix.h"
#include "kernels/reference_backend.h"

namespace marlin {

inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
inline constexpr float kInfinity = std::numeric_limits<float>::infinity();

// A matrix of its own with rows further apart than they are long; the gaps are poisoned.
struct Matrix {
  Matrix(std::size_t rows, std::size_t cols, float fill = kNan) : stride(cols + 5), data(rows * stride, kNan) {
    view = {data.data(), rows, cols, stride};
    for (std::size_t r = 0; r < rows; ++r) std::fill_n(view.Row(r).data(), cols, fill);
  }
  Matrix(const Matrix& other) : stride(other.stride), data(other.data), view(other.view) { view.data = data.data(); }
  Matrix& operator=(const Matrix&) = delete;
  std::size_t stride;
  std::vector<float> data;
  MatrixView<float> view;
};

inline Matrix RandomValues(std::size_t rows, std::size_t cols, Rng& rng, double size = 1) {
  Matrix matrix(rows, cols);
  for (std::size_t r = 0; r < rows; ++r) {
    for (float& value : matrix.view.Row(r)) value = static_cast<float>(size * RandomValue(rng));
  }
  return matrix;
}

inline void ExpectNear(const Matrix& got, const Matrix& want, double tolerance) {
  for (std::size_t r = 0; r < want.view.rows; ++r) {
    for (std::size_t c = 0; c < want.view.cols; ++c) {
      const double limit = tolerance * (1 + std::abs(want.view.Row(r)[c]));
      ASSERT_NEAR(got.view.Row(r)[c], want.view.Row(r)[c], limit) << "row " << r << " column " << c;
    }
    for (std::size_t c = got.view.cols; c < got.stride; ++c) ASSERT_TRUE(std::isnan(got.data[r * got.stride + c]));
  }
}

inline bool SameBits(const Matrix& a, const Matrix& b) {
  return std::memcmp(a.data.data(), b.data.data(), a.data.size() * sizeof(float)) == 0;
}

// An instruction set of the CPU backend, or CUDA, which has none.
struct TestedBackend : IsaLevel {
  bool cuda = false;
};

inline std::vector<TestedBackend> TestedBackends() {
  std::vector<TestedBackend> all;
  for (const IsaLevel& level : IsaLevels()) all.push_back({level, false});
  if (BuiltWithCuda()) all.push_back({{"cuda", 0}, true});
  return all;
}

class CpuTest : public testing::TestWithParam<TestedBackend> {
 protected:
  void SetUp() override {
    if (GetParam().cuda && CountCudaDevices() == 0) GTEST_SKIP() << "this machine has no CUDA device";
    if (const IsaSet missing = GetParam().bits & ~HostIsa(); missing != 0) {
      GTEST_SKIP() << "this machine lacks " << IsaNames(missing);
    }
    cpu_ = Make(2);
  }
  static std::unique_ptr<HostOperations> Make(int threads, Activations allowed = Activations::kFp32) {
    Result<std::unique_ptr<Backend>> backend = GetParam().cuda
                                                   ? MakeCudaBackend(0, threads, allowed)
                                                   : MakeCpuBackend({threads, GetParam().bits, "", allowed});
    EXPECT_TRUE(backend.ok()) << backend.error().message;
    return std::make_unique<HostOperations>(*std::move(backend));
  }
  std::unique_ptr<HostOperations> cpu_;
  std::unique_ptr<HostOperations> reference_ = std::make_unique<HostOperations>(MakeReferenceBackend());
  Rng rng_{11};
};

}  // namespace marlin
