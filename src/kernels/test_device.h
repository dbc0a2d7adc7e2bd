// For tests of what runs on backends: the backends of their cases. ctest runs those programs twice. The second time
// they find MARLIN_TEST_DEVICE=glass in the environment, and every backend is a GlassBackend.
#pragma once

#include <cstdlib>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"
#include "kernels/cpu_backend.h"
#include "kernels/glass_backend.h"
#include "kernels/reference_backend.h"

namespace marlin {

inline std::unique_ptr<Backend> OnTestDevice(std::unique_ptr<Backend> backend) {
  const char* const device = std::getenv("MARLIN_TEST_DEVICE");
  if (device == nullptr) return backend;
  MARLIN_CHECK(std::string_view(device) == "glass", "MARLIN_TEST_DEVICE is glass or not set");
  return std::make_unique<GlassBackend>(std::move(backend));
}

inline std::unique_ptr<Backend> TestCpu(int threads = 0) {
  auto backend = MakeCpuBackend({threads, {}, {}});
  MARLIN_CHECK(backend.ok(), "the backend of a test");
  return OnTestDevice(std::move(*backend));
}
inline std::unique_ptr<Backend> TestReference() { return OnTestDevice(MakeReferenceBackend()); }

// What lies on the device.
inline std::vector<float> Values(Device& device, const DeviceTensor& tensor) {
  std::vector<float> values(tensor.rows * tensor.cols);
  MARLIN_CHECK(device.Read(tensor, values).ok(), "what a test reads");
  return values;
}

}  // namespace marlin
