// config.json as programs on MLX read it.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "model/description.h"

namespace marlin {

// mlx-lm reads the settings of rotary positions of most families under the keys that transformers had before its
// version 5, and takes defaults of its own where they are missing. So these keys are added where the family has them
// and they leave the model what it is.
nlohmann::json MlxConfig(const nlohmann::json& config, const Description& description);

}  // namespace marlin
