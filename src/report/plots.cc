#include "report/plots.h"

#include <array>

namespace marlin {

std::span<const Plot> Plots() {
  static constexpr std::array<Plot, 6> kPlots = {{
      {"ppl_vs_compression", "Perplexity delta against compression", "at least one row with a perplexity delta",
       ScatterFigure},
      {"kl_vs_bpw", "KL from the baseline against bits per weight", "at least one row with a divergence", KlFigure},
      {"uniform_vs_mixed", "Uniform and mixed precision under the same bytes",
       "a mixed plan and a single configuration of the same method within its budget", MixedFigure},
      {"layer_sensitivity", "What each layer loses when it alone is quantized, and the format it was given",
       "a mixed plan with its sensitivities", SensitivityFigure},
      {"calibration_effect", "Effect of the calibration text", "one configuration calibrated on two texts",
       CalibrationFigure},
      {"throughput_comparison", "Throughput by model and configuration", "at least one row with a throughput",
       ThroughputFigure},
  }};
  return kPlots;
}

}  // namespace marlin
