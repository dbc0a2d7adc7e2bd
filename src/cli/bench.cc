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

}  // namespace marlin
