// Rotary frequencies from a config.json: theta and the scaling, in the old spelling ("rope_scaling" beside
// "rope_theta") and in the new one ("rope_parameters"). Every setting in them is used or refused.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "base/result.h"

namespace marlin {

// [head_dim / 2] radians per position. Errors: kInput (a setting that is missing, impossible, or contradicts another),
// kUnsupported (a kind of scaling or a setting that this program does not compute); each names the key.
Result<std::vector<float>> RopeFrequencies(const nlohmann::json& config, std::size_t head_dim);

}  // namespace marlin
