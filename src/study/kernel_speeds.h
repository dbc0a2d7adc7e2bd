// What `bench kernels` shows and writes of its timings, and of the device that they were made on.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "bench/device_limits.h"
#include "bench/kernel_throughput.h"
#include "report/speed_tables.h"

namespace marlin {

// reference: the name of Yardsticks::product, where the timing has reference_ns. busy: other programs ran just before.
KernelSpeed SpeedOf(const KernelTiming& timing, const MachineLimits& limits, std::string_view reference, bool busy);

// For --json. speed: of the timing.
nlohmann::json ToJson(const KernelTiming& timing, const KernelSpeed& speed);

// "driver 580.65.06; SM clock 1980 of 1980 MHz, memory clock 3201 of 3201 MHz; power 612 of 700 W; temperature 48 C;
// ECC on". What the device does not tell reads "not measured".
std::string DescribeState(const DeviceState& state);

// null = not measured.
nlohmann::json ToJson(const DeviceState& state);

}  // namespace marlin
