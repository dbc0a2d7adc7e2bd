// config.json as programs on MLX read it.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "model/description.h"

namespace marlin {

// mlx-lm reads the settings of rotary positions under the keys that transformers had before its version 5, and has
// defaults of its own where a key is missing. Both sets of keys then say the same.
nlohmann::json MlxConfig(const nlohmann::json& config, const Description& description);

}  // namespace marlin
