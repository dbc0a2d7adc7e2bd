// bench: the comparison sweep, models by themselves, and kernels by themselves.

#include "cli/bench.h"

namespace marlin {

void RegisterBench(CLI::App& parent, Selection& selection) {
  CLI::App* bench = parent.add_subcommand("bench", "Measure quality, size and speed together, or speeds alone");
  bench->require_subcommand(1);
  RegisterBenchComparison(*bench, selection);
  RegisterBenchThroughput(*bench, selection);
  RegisterBenchKernels(*bench, selection);
}

nlohmann::json ToJson(const MachineLimits& limits) {
  return {{"read_gbps", limits.read_gbps},
          {"fma_gflops", limits.fma_gflops},
          {"bf16_gflops", limits.bf16_gflops},
          {"int8_gops", limits.int8_gops}};
}

}  // namespace marlin
