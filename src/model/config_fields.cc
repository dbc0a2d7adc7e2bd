#include "model/config_fields.h"

#include <fmt/format.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "files/known_keys.h"

namespace marlin {
using nlohmann::json;

namespace {

Result<std::size_t> ValueOf(const Config& config, const Field& field, std::size_t now) {
  const bool has_default = field.may_be_missing || field.may_be_zero || now != 0;
  return SizeOf(config, field.key, has_default ? std::optional(now) : std::nullopt, field.may_be_zero ? 0 : 1);
}
Result<double> ValueOf(const Config& config, const Field& field, double now) { return RealOf(config, field.key, now); }
Result<bool> ValueOf(const Config& config, const Field& field, bool now) { return FlagOf(config, field.key, now); }

}  // namespace

Error BadConfig(const std::string& what) { return {ErrorCode::kInput, "config.json: " + what}; }
Error UnsupportedConfig(const std::string& what) { return {ErrorCode::kUnsupported, "config.json: " + what}; }

bool Config::Has(const char* key) const {
  read_.insert(key);
  const auto found = object_->find(key);
  return found != object_->end() && !found->is_null();
}

bool Config::Names(const char* key) const {
  read_.insert(key);
  return object_->contains(key);
}

const json& Config::operator[](const char* key) const {
  read_.insert(key);
  return object_->at(key);
}

Result<std::size_t> SizeOf(const Config& config, const char* key, std::optional<std::size_t> otherwise,
                           std::size_t least) {
  if (!config.Has(key)) {
    if (otherwise) return *otherwise;
    return BadConfig(fmt::format("\"{}\" is missing", key));
  }
  constexpr std::int64_t kLimit = std::int64_t{1} << 31;
  const json& value = config[key];
  if (!value.is_number_integer() || value.get<std::int64_t>() < static_cast<std::int64_t>(least) ||
      value.get<std::int64_t>() >= kLimit) {
    return BadConfig(
        fmt::format("\"{}\" is {}, want a positive integer{}", key, ShortValue(value), least == 0 ? " or 0" : ""));
  }
  return value.get<std::size_t>();
}

Result<double> RealOf(const Config& config, const char* key, double otherwise) {
  if (!config.Has(key)) return otherwise;
  const json& value = config[key];
  // Models compute with 32-bit numbers: what is 0 or infinite there means nothing.
  constexpr double kLeast = std::numeric_limits<float>::min();
  constexpr double kMost = std::numeric_limits<float>::max();
  if (!value.is_number() || !(value.get<double>() >= kLeast && value.get<double>() <= kMost)) {
    return BadConfig(fmt::format("\"{}\" is {}, want a positive number of 32 bits", key, ShortValue(value)));
  }
  return value.get<double>();
}

Result<bool> FlagOf(const Config& config, const char* key, bool otherwise) {
  if (!config.Has(key)) return otherwise;
  if (!config[key].is_boolean()) {
    return BadConfig(fmt::format("\"{}\" is {}, want true or false", key, ShortValue(config[key])));
  }
  return config[key].get<bool>();
}

Result<std::string> TextOf(const Config& config, const char* key, const std::string& otherwise) {
  if (!config.Has(key)) return otherwise;
  if (!config[key].is_string()) {
    return BadConfig(fmt::format("\"{}\" is {}, want a string", key, ShortValue(config[key])));
  }
  return config[key].get<std::string>();
}

Status ReadFields(const Config& config, std::initializer_list<Field> fields) {
  for (const Field& field : fields) {
    const auto read = [&](auto* variable) -> Status {
      const auto value = ValueOf(config, field, *variable);
      if (!value) return value.error();
      *variable = static_cast<std::remove_pointer_t<decltype(variable)>>(*value);
      return {};
    };
    if (auto status = std::visit(read, field.variable); !status) return status;
  }
  return {};
}

}  // namespace marlin
