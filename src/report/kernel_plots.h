// Plots of kernel timings, as gnuplot scripts. Pure functions.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "report/gnuplot.h"
#include "report/speed_tables.h"

namespace marlin {

// A limit of the machine that is a rate of operations.
struct ComputeLimit {
  std::string name;  // "fp32 FMA (avx512)"
  double gflops = 0;
};

struct KernelPlotInput {
  std::vector<KernelSpeed> speeds;
  std::string setting;   // "2 threads, AMD EPYC; protocol 15/100"
  double read_gbps = 0;  // 0 = not measured
  std::vector<ComputeLimit> peaks;
};

// GFLOP/s against FLOP per byte, both logarithmic, below the lines that read bandwidth and peaks draw. Empty without a
// speed.
std::optional<Figure> RooflineFigure(const KernelPlotInput& input);

// Time(m) / time(1) against the tokens m, both logarithmic, a panel per layer, a curve per format, and dashed the least
// that arithmetic alone allows: max(1, 2 m n k / peak / time(1)). Empty unless a format was timed on one layer at m = 1
// and at another m.
std::optional<Figure> TokensFigure(const KernelPlotInput& input);

}  // namespace marlin
