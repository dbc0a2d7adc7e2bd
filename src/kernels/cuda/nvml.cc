#include "kernels/cuda/nvml.h"

#include <dlfcn.h>

#include <type_traits>

namespace marlin::cuda {
namespace {

// The library's interface, as nvml.h declares it. The header is no part of every CUDA installation.
using Code = int;
constexpr Code kSuccess = 0;
using DeviceHandle = void*;
constexpr int kSmClock = 1;      // NVML_CLOCK_SM
constexpr int kMemoryClock = 2;  // NVML_CLOCK_MEM
constexpr int kGpuSensor = 0;    // NVML_TEMPERATURE_GPU

std::optional<double> Number(Code code, unsigned value, double unit) {
  return code == kSuccess ? std::optional<double>(value * unit) : std::nullopt;
}

}  // namespace

// All but the first three may be missing.
struct Nvml::Functions {
  Code (*init)() = nullptr;
  Code (*shutdown)() = nullptr;
  Code (*by_pci_bus)(const char*, DeviceHandle*) = nullptr;
  Code (*driver)(char*, unsigned) = nullptr;
  Code (*clock)(DeviceHandle, int, unsigned*) = nullptr;
  Code (*most_clock)(DeviceHandle, int, unsigned*) = nullptr;
  Code (*power)(DeviceHandle, unsigned*) = nullptr;
  Code (*power_limit)(DeviceHandle, unsigned*) = nullptr;
  Code (*temperature)(DeviceHandle, int, unsigned*) = nullptr;
  Code (*ecc)(DeviceHandle, int*, int*) = nullptr;
};

std::unique_ptr<Nvml> Nvml::Open(const std::string& pci_bus) {
  std::unique_ptr<Nvml> out(new Nvml());
  out->library_ = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  if (out->library_ == nullptr) return nullptr;
  out->functions_ = std::make_unique<Functions>();
  Functions& functions = *out->functions_;
  const auto find = [&](auto& function, const char* symbol) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(out->library_, symbol));
  };
  find(functions.init, "nvmlInit_v2");
  find(functions.shutdown, "nvmlShutdown");
  find(functions.by_pci_bus, "nvmlDeviceGetHandleByPciBusId_v2");
  find(functions.driver, "nvmlSystemGetDriverVersion");
  find(functions.clock, "nvmlDeviceGetClockInfo");
  find(functions.most_clock, "nvmlDeviceGetMaxClockInfo");
  find(functions.power, "nvmlDeviceGetPowerUsage");
  find(functions.power_limit, "nvmlDeviceGetEnforcedPowerLimit");
  find(functions.temperature, "nvmlDeviceGetTemperature");
  find(functions.ecc, "nvmlDeviceGetEccMode");
  if (functions.init == nullptr || functions.shutdown == nullptr || functions.by_pci_bus == nullptr) return nullptr;
  out->started_ = functions.init() == kSuccess;
  if (!out->started_ || functions.by_pci_bus(pci_bus.c_str(), &out->device_) != kSuccess) return nullptr;
  return out;
}

Nvml::~Nvml() {
  if (started_) functions_->shutdown();
  if (library_ != nullptr) dlclose(library_);
}

DeviceState Nvml::State() const {
  const Functions& functions = *functions_;
  DeviceState state;
  char driver[96] = {};
  if (functions.driver != nullptr && functions.driver(driver, sizeof driver) == kSuccess) state.driver = driver;
  unsigned value = 0;
  const auto ask = [&](auto function, double unit, auto... which) -> std::optional<double> {
    if (function == nullptr) return std::nullopt;
    const Code code = function(device_, which..., &value);
    return Number(code, value, unit);
  };
  constexpr double kMilli = 1e-3;
  state.clock_mhz = ask(functions.clock, 1, kSmClock);
  state.memory_clock_mhz = ask(functions.clock, 1, kMemoryClock);
  state.most_clock_mhz = ask(functions.most_clock, 1, kSmClock);
  state.most_memory_clock_mhz = ask(functions.most_clock, 1, kMemoryClock);
  state.power_w = ask(functions.power, kMilli);
  state.power_limit_w = ask(functions.power_limit, kMilli);
  state.temperature_c = ask(functions.temperature, 1, kGpuSensor);
  int current = 0, pending = 0;
  if (functions.ecc != nullptr && functions.ecc(device_, &current, &pending) == kSuccess) state.ecc = current != 0;
  return state;
}

}  // namespace marlin::cuda
