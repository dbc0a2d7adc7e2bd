// Reading keys of a config.json: the value, its default, or an error that names the key.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <variant>

#include "base/result.h"

namespace marlin {

// Errors about config.json: kInput, kUnsupported.
Error BadConfig(const std::string& what);
Error UnsupportedConfig(const std::string& what);

// Whether the object has the key with another value than null.
bool HasKey(const nlohmann::json& object, const char* key);

// A positive integer below 2^31. Errors: kInput, also where the key is missing and has no default.
Result<std::size_t> SizeOf(const nlohmann::json& object, const char* key, std::optional<std::size_t> otherwise = {});
// A positive number. Errors: kInput.
Result<double> RealOf(const nlohmann::json& object, const char* key, double otherwise);
// Errors: kInput.
Result<bool> FlagOf(const nlohmann::json& object, const char* key, bool otherwise);

// A setting and where it goes. Where the key is missing, its variable keeps its value.
struct Field {
  const char* key;
  std::variant<std::size_t*, double*, float*, bool*> variable;
  bool may_be_missing = false;  // of a size; numbers and flags always may
};
// Reads one field after the other. Errors: that of the first wrong one.
Status ReadFields(const nlohmann::json& object, std::initializer_list<Field> fields);

}  // namespace marlin
