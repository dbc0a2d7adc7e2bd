// What GGUF wants to know of a model and its configuration may leave out: the numbers of its description, under the
// keys of the tables in files/gguf_names.h.
#pragma once

#include <nlohmann/json.hpp>

#include "files/gguf_families.h"
#include "model/description.h"

namespace marlin {

// Of a model whose blocks have attention and a feed-forward part, as all that run have.
ModelFacts FactsOf(const Description& description);

// The configuration with every key of the tables that the description has a number for. A window counts only where a
// block has it.
nlohmann::json CompleteConfig(const nlohmann::json& config, const Description& description);

}  // namespace marlin
