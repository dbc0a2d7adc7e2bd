// Lists of the keys that this program knows, one list for each kind of file: GGUF metadata, config.json,
// tokenizer.json. A key is used, harmless with any value, or harmless with some values; everything else is an error
// that names it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "files/accepted_names.h"

namespace marlin {

// Values with which a key changes no number.
struct HarmlessValues {
  bool (*holds)(const nlohmann::json& value);
  const char* words;  // for messages: "0 or 1"
};

extern const HarmlessValues kZero;           // 0, false
extern const HarmlessValues kOne;            // 1
extern const HarmlessValues kZeroOrOne;      // 0 = not set, 1 = multiply by one
extern const HarmlessValues kFalse;          // false, 0
extern const HarmlessValues kTrue;           // true, 1
extern const HarmlessValues kEmpty;          // "", [], {}
extern const HarmlessValues kFullAttention;  // a list of "full_attention"

struct KnownKey {
  std::string_view name;                   // a star at the end stands for any ending
  const HarmlessValues* values = nullptr;  // null: used by this program, or harmless whatever its value is
};

// The row of a name; nullptr = not in the list.
const KnownKey* FindKnownKey(std::span<const KnownKey> list, std::string_view name);

// One key of a file. `row`: what is known of it, nullptr = nothing. `full_name` is what the user would accept.
// Errors: kUnsupported, naming file, key, value, and the way out.
Status CheckKey(const KnownKey* row, std::string_view full_name, const nlohmann::json& value, std::string_view where,
                AcceptedNames& accepted);

// A value for a message, on one line and not longer than a line.
std::string ShortValue(const nlohmann::json& value);

}  // namespace marlin
