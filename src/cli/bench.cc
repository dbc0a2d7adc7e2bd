// bench: comparison, throughput of models, kernels.

#include "cli/bench.h"

#include <fmt/format.h>

#include "base/thread_pool.h"
#include "cli/program_info.h"
#include "study/machine.h"

namespace marlin {
namespace {

constexpr double kQuietLoad = 0.25;  // per core

}  // namespace

void RegisterBench(Verb parent) {
  Verb bench = parent.AddGroup("bench", "Measure quality, size and speed, or speed alone",
                               "metal-marlin bench comparison --model ./SmolLM2-135M --samples 100");
  RegisterBenchComparison(bench);
  RegisterBenchThroughput(bench);
  RegisterBenchKernels(bench);
}

bool WarnOfLoad(Console& console) {
  const std::optional<double> load = ObserveMachine().load;
  if (!load || *load < kQuietLoad * AvailableThreads()) return false;
  console.Warn(fmt::format("the load average of the last minute is {:.1f}: other programs slow this timing", *load));
  return true;
}

void WarnOfFewCores(const MachineLimits& limits, int threads, Console& console) {
  if (threads > AvailableThreads()) {
    return console.Warn(
        fmt::format("{} threads share {} cores: fewer threads are faster", threads, AvailableThreads()));
  }
  if (!ThreadsLackCores(limits, threads)) return;
  console.Warn(
      fmt::format("{} threads reach {:.0f} GFLOP/s together, one alone {:.0f}: another program runs, or the threads "
                  "share cores; the measured limits are too low, and shares of them too high",
                  threads, limits.fma_gflops, limits.alone_gflops));
}

nlohmann::json DescribeRun(int threads) {
  const ProgramInfo& program = GetProgramInfo();
  return {{"version", program.version},
          {"commit", program.commit},
          {"cpu", DescribeMachine(threads).cpu},
          {"threads", threads}};
}

nlohmann::json ToJson(const MachineLimits& limits) {
  return {{"read_gbps", limits.read_gbps},
          {"fma_gflops", limits.fma_gflops},
          {"bf16_gflops", limits.bf16_gflops},
          {"int16_gops", limits.int16_gops},
          {"int8_gops", limits.int8_gops}};
}

}  // namespace marlin
