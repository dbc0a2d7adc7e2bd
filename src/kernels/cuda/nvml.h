// What NVIDIA's management library tells of a device. It is loaded when a program asks: it belongs to the driver.
#pragma once

#include <memory>
#include <string>

#include "kernels/device.h"

namespace marlin::cuda {

class Nvml {
 public:
  // pci_bus: "0000:3b:00.0". Null where the library or the device is not there.
  static std::unique_ptr<Nvml> Open(const std::string& pci_bus);
  ~Nvml();
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  // What the library does not tell is empty.
  DeviceState State() const;

 private:
  struct Functions;
  Nvml() = default;

  void* library_ = nullptr;
  std::unique_ptr<Functions> functions_;
  void* device_ = nullptr;
  bool started_ = false;
};

}  // namespace marlin::cuda
