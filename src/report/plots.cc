#include "report/plots.h"

#include <array>

namespace marlin {

std::span<const Plot> Plots() {
  static constexpr std::array<Plot, 3> kPlots = {{
      {"ppl_vs_compression", "Perplexity delta against compression", "at least one row with a perplexity delta",
       ScatterFigure},
      {"kl_vs_bpw", "KL from the baseline against bits per weight", "at least one row with a divergence", KlFigure},
      {"throughput_comparison", "Throughput by model and configuration", "at least one row with a throughput",
       ThroughputFigure},
  }};
  return kPlots;
}

}  // namespace marlin
