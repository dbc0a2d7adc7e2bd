// For tests of what runs on backends: the backends of their cases. ctest runs those programs twice. The second time
// they find MARLIN_TEST_DEVICE=glass in the environment, and every backend is a GlassBackend. With
// MARLIN_TEST_DEVICE=cuda the production backend is that of CUDA.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"
#include "kernels/cpu_backend.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/glass_backend.h"
#include "kernels/reference_backend.h"

namespace marlin {

inline bool TestsCuda() {
  const char* const device = std::getenv("MARLIN_TEST_DEVICE");
  return device != nullptr && std::string_view(device) == "cuda";
}

inline std::unique_ptr<Backend> OnTestDevice(std::unique_ptr<Backend> backend) {
  const char* const device = std::getenv("MARLIN_TEST_DEVICE");
  if (device == nullptr || TestsCuda()) return backend;
  MARLIN_CHECK(std::string_view(device) == "glass", "MARLIN_TEST_DEVICE is glass, cuda or not set");
  return std::make_unique<GlassBackend>(std::move(backend));
}

inline std::unique_ptr<Backend> TestCpu(int threads = 0) {
  auto backend = TestsCuda() ? MakeCudaBackend(0, threads) : MakeCpuBackend({threads, {}, {}});
  MARLIN_CHECK(backend.ok(), "the backend of a test");
  return OnTestDevice(std::move(*backend));
}
inline std::unique_ptr<Backend> TestReference() { return OnTestDevice(MakeReferenceBackend()); }

// The device of a case that is named "glass" or "cuda". Null: this machine has none.
inline std::unique_ptr<Backend> DeviceOfCase(std::string_view name) {
  if (name == "glass") return std::make_unique<GlassBackend>(MakeReferenceBackend());
  if (CountCudaDevices() == 0) return nullptr;
  auto backend = MakeCudaBackend(0, 1);
  MARLIN_CHECK(backend.ok(), "the device of a test");
  return *std::move(backend);
}

// What lies on the device.
inline std::vector<float> Values(Device& device, const DeviceTensor& tensor) {
  std::vector<float> values(tensor.rows * tensor.cols);
  MARLIN_CHECK(device.Read(tensor, values).ok(), "what a test reads");
  return values;
}

// The same numbers, where a device computes rows alone as it does together with others: the same bits. CUDA takes other
// kernels for many rows.
inline void ExpectSameNumbers(const std::vector<float>& got, const std::vector<float>& want) {
  if (!TestsCuda()) {
    EXPECT_EQ(got, want);
    return;
  }
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], 2e-5 * (1 + std::abs(want[i]))) << i;
}

}  // namespace marlin
