// Parses untrusted JSON with limits: no exceptions, no deep recursion, no duplicate keys.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "base/result.h"

namespace marlin {

// `where` names the file in messages. Errors: kInput (not JSON: says where; nested deeper than 64, a key twice in one
// object).
Result<nlohmann::json> ParseJson(std::string_view text, std::string_view where);

}  // namespace marlin
