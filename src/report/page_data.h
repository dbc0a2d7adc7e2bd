// What the charts of the HTML page show, as JSON. The numbers are those of the tables, with six digits.
#pragma once

#include <string>

#include "records/analysis.h"

namespace marlin {

// One line of JSON without the character <, so that it may stand inside a <script>. Texts are on one line as in tables.
//
// {"models": [name], "commands": [text], "groups": [group]}
//   group   {"model": index, "text": what was measured, "kl": ranked by KL, "floor": nats or null, "rows": [row],
//            "timings": [timing], "mixed": [pair], "calibration": [texts], "plans": [plan]}
//   row     {"records": [ids, that of its quality first], "name", "config", "type", "method", "baseline", "imported",
//            "best", "rank", "tied", "few", "indistinguishable", "kl", "ppl", "bits", "ratio", "bytes", "command"};
//            kl and ppl are [mean, low, high], in nats and in percent
//   timing  {"label", "about", "rows": [[row, prefill, decode]]}, each speed [tok/s, p5, p95, unstable]
//   pair    {"bits": of the budget, "uniform": row or null, "mixed": row}
//   texts   {"name": configuration and method, "rows": [[text, row]]}
//   plan    {"row", "about", "units": [name], "cells": [[layer, unit, nats, format]]}
// What was not measured is null.
std::string PageData(const Analysis& analysis);

}  // namespace marlin
