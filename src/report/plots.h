// The figures of the report, as gnuplot scripts. Pure functions.
#pragma once

#include <optional>
#include <span>

#include "records/analysis.h"
#include "report/gnuplot.h"

namespace marlin {

// Perplexity delta against compression: one panel per model and protocol, coloured by type of quantization, shaped by
// method, 95 % intervals as error bars; where few, points are named with their decode speeds, unstable ones marked. Of
// rows that differ in their calibration text the first. Empty when no row has a delta.
std::optional<Figure> ScatterFigure(const Analysis& analysis);

// Mean KL, on a logarithmic axis, against the bits per weight of the quantized tensors: panels and series likewise,
// with the Pareto line and the noise floor; of rows that differ in their calibration text the first. Empty when no row
// has a KL above 0.
std::optional<Figure> KlFigure(const Analysis& analysis);

// The best single configuration and the mixed plan of each budget, joined by a bar, with their paired difference: mean
// KL, or perplexity delta where rows are ranked by that. Empty when no mixed plan has a partner.
std::optional<Figure> MixedFigure(const Analysis& analysis);

// A line per configuration that was calibrated on two texts or more, a dot per text; likewise. Empty without one.
std::optional<Figure> CalibrationFigure(const Analysis& analysis);

// A heat map per model and mixed plan: a line per layer, a column per unit, coloured by the KL that the unit alone
// costs in the probe's format, with the format it was given. Empty without a plan.
std::optional<Figure> SensitivityFigure(const Analysis& analysis);

// Prefill and decode speed, side by side: one line of panels per model and timing setting, a bar per configuration,
// 5th to 95th percentile as error bars. Empty when nothing was timed.
std::optional<Figure> ThroughputFigure(const Analysis& analysis);

// One figure of the page: plots/NAME.png and plots/NAME.svg.
struct Plot {
  const char* name;
  const char* title;
  const char* needs;  // what an analysis without this figure lacks
  std::optional<Figure> (*figure)(const Analysis&);
};

// All of them, in the order of the page.
std::span<const Plot> Plots();

}  // namespace marlin
