// Reading keys of a config.json: the value, its default, or an error that names the key.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <variant>

#include "base/result.h"

namespace marlin {

// Errors about config.json: kInput, kUnsupported.
Error BadConfig(const std::string& what);
Error UnsupportedConfig(const std::string& what);

// The settings of an object, and which of them were asked for: a setting that nobody asks for has no effect, and that
// is an error unless it is known to be harmless (CheckConfigKeys).
class Config {
 public:
  // Of an object, which outlives this.
  explicit Config(const nlohmann::json& object) : object_(&object) {}
  Config(const Config&) = delete;
  Config& operator=(const Config&) = delete;

  // Whether the object has the key with another value than null.
  bool Has(const char* key) const;
  // Whether it has the key, with null too.
  bool Names(const char* key) const;
  // The value of a key that it has.
  const nlohmann::json& operator[](const char* key) const;

  const nlohmann::json& object() const { return *object_; }
  const std::set<std::string, std::less<>>& read() const { return read_; }

 private:
  const nlohmann::json* object_;
  mutable std::set<std::string, std::less<>> read_;
};

// A positive integer below 2^31, or 0 where `least` says so. Errors: kInput, also where the key is missing and has no
// default.
Result<std::size_t> SizeOf(const Config& config, const char* key, std::optional<std::size_t> otherwise = {},
                           std::size_t least = 1);
// A positive number. Errors: kInput.
Result<double> RealOf(const Config& config, const char* key, double otherwise);
// Errors: kInput.
Result<bool> FlagOf(const Config& config, const char* key, bool otherwise);
// Errors: kInput.
Result<std::string> TextOf(const Config& config, const char* key, const std::string& otherwise);

// A setting and where it goes. Where the key is missing, its variable keeps its value; a size that is 0 must be there
// unless it may be missing.
struct Field {
  const char* key;
  std::variant<std::size_t*, double*, float*, bool*> variable;
  bool may_be_missing = false;
  bool may_be_zero = false;  // of a size
};
// Reads one field after the other. Errors: that of the first wrong one.
Status ReadFields(const Config& config, std::initializer_list<Field> fields);

}  // namespace marlin
