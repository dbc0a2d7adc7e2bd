// Reading members of tokenizer.json: what is missing, of another type or unknown is an error that names file and
// member.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "files/known_keys.h"

namespace marlin {

// kUnsupported: "FILE: WHAT is not supported".
Error UnsupportedPart(std::string_view where, std::string_view what);

// nullptr when the key is absent or null, or `object` is no object.
const nlohmann::json* MemberOf(const nlohmann::json& object, const char* key);

Result<bool> FlagOf(const nlohmann::json& object, const char* key, bool absent, std::string_view where);
Result<std::string> TextOf(const nlohmann::json& object, const char* key, std::string_view where);
Result<const nlohmann::json*> ArrayOf(const nlohmann::json& object, const char* key, std::string_view where);
// A whole number from 0 to `most`; `absent` when the key is absent.
Result<int> CountOf(const nlohmann::json& object, const char* key, int absent, int most, std::string_view where);
// A value as the id of `what`.
Result<std::int32_t> IdOf(const nlohmann::json& value, std::string_view what, std::string_view where);

// That every member of an object is known.
Status CheckMembers(const nlohmann::json& object, std::span<const KnownKey> known, std::string_view what,
                    std::string_view where);

}  // namespace marlin
