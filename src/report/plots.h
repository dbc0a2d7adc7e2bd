// The two figures of the report, as gnuplot scripts. Pure functions.
#pragma once

#include <optional>

#include "report/analysis.h"
#include "report/gnuplot.h"

namespace marlin {

// Perplexity delta against compression: one panel per model and protocol, one series per type of quantization, 95 %
// intervals as error bars, every point named with its decode speed, unstable ones marked. Empty when no row has a
// delta.
std::optional<Figure> ScatterFigure(const Analysis& analysis);

// Prefill and decode speed, side by side: one line of panels per model and timing setting, a bar per configuration,
// 5th to 95th percentile as error bars. Empty when nothing was timed.
std::optional<Figure> ThroughputFigure(const Analysis& analysis);

}  // namespace marlin
