// Converts a measured divergence to the form of a record.
#pragma once

#include <string>
#include <vector>

#include "eval/divergence.h"
#include "records/record.h"

namespace marlin {

// `summary` belongs to `result`.
record::Divergence DivergenceRecord(const DivergenceResult& result, const DivergenceSummary& summary,
                                    const std::string& baseline_id);

// `result` is a baseline against itself; `kernels` names the two that computed it.
record::NoiseFloor NoiseFloorRecord(const DivergenceResult& result, std::vector<std::string> kernels);

}  // namespace marlin
