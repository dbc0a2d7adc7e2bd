#include "study/kernel_speeds.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/statistics.h"
#include "report/figures.h"

namespace marlin {
namespace {
using nlohmann::json;

template <class T>
json NumberOrNull(const std::optional<T>& x) {
  return x ? json(*x) : json(nullptr);
}

// "1980 of 1980 MHz"
std::string OfMost(const std::optional<double>& x, const std::optional<double>& most, const char* unit) {
  if (!x) return kNotMeasured;
  return most ? fmt::format("{:.0f} of {:.0f} {}", *x, *most, unit) : fmt::format("{:.0f} {}", *x, unit);
}

std::string_view OnOrOff(const std::optional<bool>& x) {
  if (!x) return kNotMeasured;
  return *x ? "on" : "off";
}

}  // namespace

KernelSpeed SpeedOf(const KernelTiming& timing, const MachineLimits& limits, std::string_view reference, bool busy) {
  const TimingSummary summary = SummarizeTimings(timing.samples_ns);
  KernelSpeed speed;
  speed.set = timing.shape.set;
  speed.m = timing.shape.m;
  speed.n = timing.shape.n;
  speed.k = timing.shape.k;
  speed.format = timing.format->info.name;
  speed.kernel = timing.kernel;
  speed.us = summary.mean / 1e3;
  speed.flops = static_cast<double>(timing.flops);
  speed.bytes = static_cast<double>(timing.bytes_moved);
  speed.peak_gflops = ComputePeak(limits, timing.activation);
  if (const auto least = LeastTimeOf(limits, timing.activation, speed.flops, speed.bytes)) {
    const std::string limit = least->by_memory ? "read bandwidth" : fmt::format("{} peak", timing.activation);
    speed.limit = LimitShare{least->ns / summary.mean, limit};
  }
  speed.max_error = timing.max_error;
  speed.in_cache = timing.in_cache;
  speed.unstable = summary.unstable();
  speed.busy = busy;
  speed.reference = reference;
  speed.launched = !reference.empty() && !timing.replayed;
  if (timing.reference_ns.empty()) return speed;
  const TimingSummary other = SummarizeTimings(timing.reference_ns);
  speed.reference_us = other.mean / 1e3;
  speed.reference_unstable = other.unstable();
  return speed;
}

json ToJson(const KernelTiming& timing, const KernelSpeed& speed) {
  const TimingSummary summary = SummarizeTimings(timing.samples_ns);
  json row = {{"set", speed.set},
              {"m", speed.m},
              {"n", speed.n},
              {"k", speed.k},
              {"format", speed.format},
              {"kernel", speed.kernel},
              {"activation", timing.activation},
              {"mean_ns", summary.mean},
              {"median_ns", summary.median},
              {"cv", summary.cv},
              {"unstable", speed.unstable},
              {"busy", speed.busy},
              {"gflops", speed.gflops()},
              {"gbps", speed.gbps()},
              {"limit_share", speed.limit ? json(speed.limit->share) : json(nullptr)},
              {"limit", speed.limit ? json(speed.limit->limit) : json(nullptr)},
              {"max_error", speed.max_error},
              {"checked_outputs", timing.checked_outputs},
              {"in_cache", speed.in_cache},
              {"samples_ns", timing.samples_ns}};
  if (speed.reference.empty()) return row;
  row["products_per_sample"] = timing.products;
  row["replayed"] = timing.replayed;
  json reference = {{"name", speed.reference}};
  if (speed.reference_us) {
    const TimingSummary other = SummarizeTimings(timing.reference_ns);
    reference.update({{"mean_ns", other.mean},
                      {"median_ns", other.median},
                      {"cv", other.cv},
                      {"unstable", speed.reference_unstable},
                      {"times_as_fast", *speed.times_as_fast()},
                      {"samples_ns", timing.reference_ns}});
  }
  row["reference"] = reference;
  return row;
}

std::string DescribeState(const DeviceState& state) {
  return fmt::format("driver {}; SM clock {}, memory clock {}; power {}; temperature {}; ECC {}",
                     state.driver.value_or(kNotMeasured), OfMost(state.clock_mhz, state.most_clock_mhz, "MHz"),
                     OfMost(state.memory_clock_mhz, state.most_memory_clock_mhz, "MHz"),
                     OfMost(state.power_w, state.power_limit_w, "W"), OfMost(state.temperature_c, {}, "C"),
                     OnOrOff(state.ecc));
}

json ToJson(const DeviceState& state) {
  return {{"driver", NumberOrNull(state.driver)},
          {"clock_mhz", NumberOrNull(state.clock_mhz)},
          {"most_clock_mhz", NumberOrNull(state.most_clock_mhz)},
          {"memory_clock_mhz", NumberOrNull(state.memory_clock_mhz)},
          {"most_memory_clock_mhz", NumberOrNull(state.most_memory_clock_mhz)},
          {"power_w", NumberOrNull(state.power_w)},
          {"power_limit_w", NumberOrNull(state.power_limit_w)},
          {"temperature_c", NumberOrNull(state.temperature_c)},
          {"ecc", NumberOrNull(state.ecc)}};
}

}  // namespace marlin
