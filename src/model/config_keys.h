// The keys of config.json that no family reads and that have no effect. They come from the configuration classes of
// Hugging Face transformers (common to all models, Llama, Qwen2; of 2023 to 2026) and from published models.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <string_view>

#include "base/result.h"
#include "files/accepted_names.h"

namespace marlin {

// Every key with another value than null. `read` are those that the family read; `where` names the file. Errors:
// kUnsupported, naming the first key that is neither read nor harmless.
Status CheckConfigKeys(const nlohmann::json& config, const std::set<std::string, std::less<>>& read,
                       std::string_view where, AcceptedNames& accepted);

}  // namespace marlin
