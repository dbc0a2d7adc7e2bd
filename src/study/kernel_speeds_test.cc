#include "study/kernel_speeds.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "formats/formats.h"

namespace marlin {
namespace {
using nlohmann::json;

// A product of 2 us and 2 MB on a device that reads 2000 GB/s.
KernelTiming ExampleTiming() {
  KernelTiming timing;
  timing.shape = {"gpu", 1, 1024, 4096};
  timing.format = FindFormat("fp4-g128");
  timing.kernel = "cuda/w4-fp16";
  timing.activation = "fp16";
  timing.samples_ns = std::vector<double>(10, 2000.0);
  timing.flops = 8000000;
  timing.bytes_moved = 2000000;
  timing.products = 512;
  timing.replayed = true;
  timing.reference_ns = std::vector<double>(10, 7000.0);
  return timing;
}

MachineLimits ExampleLimits() {
  MachineLimits limits;
  limits.read_gbps = 2000;
  limits.fp16_gflops = 500000;
  return limits;
}

TEST(KernelSpeeds, OfFewTokensAreSharesOfTheBandwidthAndOfManyOfThePeak) {
  KernelTiming timing = ExampleTiming();
  const KernelSpeed few = SpeedOf(timing, ExampleLimits(), "cuBLAS FP16", false);
  ASSERT_TRUE(few.limit.has_value());
  EXPECT_DOUBLE_EQ(few.limit->share, 0.5);
  EXPECT_EQ(few.limit->limit, "read bandwidth");
  EXPECT_DOUBLE_EQ(*few.reference_us, 7);
  EXPECT_DOUBLE_EQ(*few.times_as_fast(), 3.5);
  EXPECT_FALSE(few.launched);
  timing.replayed = false;
  EXPECT_TRUE(SpeedOf(timing, ExampleLimits(), "cuBLAS FP16", false).launched);
  EXPECT_FALSE(SpeedOf(timing, ExampleLimits(), "", false).launched)
      << "a product at a time is what a host is timed by";
  timing.flops = 800000000;
  const KernelSpeed many = SpeedOf(timing, ExampleLimits(), "cuBLAS FP16", false);
  EXPECT_DOUBLE_EQ(many.limit->share, 0.8);
  EXPECT_EQ(many.limit->limit, "fp16 peak");
}

TEST(KernelSpeeds, AReferenceThatJumpsIsMarkedByItself) {
  KernelTiming timing = ExampleTiming();
  for (std::size_t i = 0; i < timing.reference_ns.size(); i += 2) timing.reference_ns[i] *= 2;
  const KernelSpeed speed = SpeedOf(timing, ExampleLimits(), "cuBLAS FP16", false);
  EXPECT_FALSE(speed.unstable);
  EXPECT_TRUE(speed.reference_unstable);
}

TEST(KernelSpeeds, JsonHasTheReferenceWhereThereIsOne) {
  KernelTiming timing = ExampleTiming();
  json row = ToJson(timing, SpeedOf(timing, ExampleLimits(), "cuBLAS FP16", false));
  EXPECT_EQ(row["products_per_sample"], 512);
  EXPECT_EQ(row["replayed"], true);
  EXPECT_EQ(row["reference"]["name"], "cuBLAS FP16");
  EXPECT_EQ(row["reference"]["times_as_fast"], 3.5);
  EXPECT_EQ(row["reference"]["samples_ns"].size(), 10u);
  EXPECT_EQ(row["reference"]["unstable"], false);
  EXPECT_EQ(row["limit"], "read bandwidth");

  timing.reference_ns.clear();
  row = ToJson(timing, SpeedOf(timing, ExampleLimits(), "cuBLAS FP16", false));
  EXPECT_EQ(row["reference"], json({{"name", "cuBLAS FP16"}})) << "not measured";

  row = ToJson(timing, SpeedOf(timing, ExampleLimits(), "", true));
  EXPECT_FALSE(row.contains("reference"));
  EXPECT_FALSE(row.contains("products_per_sample"));
  EXPECT_EQ(row["busy"], true);
}

TEST(DeviceState, SaysWhatWasNotMeasured) {
  EXPECT_EQ(DescribeState({}),
            "driver not measured; SM clock not measured, memory clock not measured; power not measured; temperature "
            "not measured; ECC not measured");
  const json nothing = ToJson(DeviceState());
  for (const auto& [name, value] : nothing.items()) EXPECT_TRUE(value.is_null()) << name;
  DeviceState state;
  state.driver = "580.65.06";
  state.clock_mhz = 1755;
  state.most_clock_mhz = 1980;
  state.memory_clock_mhz = 3201;
  state.power_w = 612.4;
  state.power_limit_w = 700;
  state.temperature_c = 48;
  state.ecc = true;
  EXPECT_EQ(DescribeState(state),
            "driver 580.65.06; SM clock 1755 of 1980 MHz, memory clock 3201 MHz; power 612 of 700 W; temperature 48 C; "
            "ECC on");
  const json written = ToJson(state);
  EXPECT_EQ(written["driver"], "580.65.06");
  EXPECT_EQ(written["power_w"], 612.4);
  EXPECT_EQ(written["ecc"], true);
  EXPECT_TRUE(written["most_memory_clock_mhz"].is_null());
}

}  // namespace
}  // namespace marlin
