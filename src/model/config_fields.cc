#include "model/config_fields.h"

#include <fmt/format.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "files/known_keys.h"

namespace marlin {
using nlohmann::json;

namespace {

Result<std::size_t> ValueOf(const json& object, const Field& field, std::size_t now) {
  return SizeOf(object, field.key, field.may_be_missing ? std::optional(now) : std::nullopt);
}
Result<double> ValueOf(const json& object, const Field& field, double now) { return RealOf(object, field.key, now); }
Result<bool> ValueOf(const json& object, const Field& field, bool now) { return FlagOf(object, field.key, now); }

}  // namespace

Error BadConfig(const std::string& what) { return {ErrorCode::kInput, "config.json: " + what}; }
Error UnsupportedConfig(const std::string& what) { return {ErrorCode::kUnsupported, "config.json: " + what}; }

bool HasKey(const json& object, const char* key) { return object.contains(key) && !object[key].is_null(); }

Result<std::size_t> SizeOf(const json& object, const char* key, std::optional<std::size_t> otherwise) {
  if (!HasKey(object, key)) {
    if (otherwise) return *otherwise;
    return BadConfig(fmt::format("\"{}\" is missing", key));
  }
  constexpr std::int64_t kLimit = std::int64_t{1} << 31;
  const json& value = object[key];
  if (!value.is_number_integer() || value.get<std::int64_t>() <= 0 || value.get<std::int64_t>() >= kLimit) {
    return BadConfig(fmt::format("\"{}\" is {}, want a positive integer", key, ShortValue(value)));
  }
  return value.get<std::size_t>();
}

Result<double> RealOf(const json& object, const char* key, double otherwise) {
  if (!HasKey(object, key)) return otherwise;
  const json& value = object[key];
  // Models compute with 32-bit numbers: what is 0 or infinite there means nothing.
  constexpr double kLeast = std::numeric_limits<float>::min();
  constexpr double kMost = std::numeric_limits<float>::max();
  if (!value.is_number() || !(value.get<double>() >= kLeast && value.get<double>() <= kMost)) {
    return BadConfig(fmt::format("\"{}\" is {}, want a positive number of 32 bits", key, ShortValue(value)));
  }
  return value.get<double>();
}

Result<bool> FlagOf(const json& object, const char* key, bool otherwise) {
  if (!HasKey(object, key)) return otherwise;
  if (!object[key].is_boolean()) {
    return BadConfig(fmt::format("\"{}\" is {}, want true or false", key, ShortValue(object[key])));
  }
  return object[key].get<bool>();
}

Status ReadFields(const json& object, std::initializer_list<Field> fields) {
  for (const Field& field : fields) {
    const auto read = [&](auto* variable) -> Status {
      const auto value = ValueOf(object, field, *variable);
      if (!value) return value.error();
      *variable = static_cast<std::remove_pointer_t<decltype(variable)>>(*value);
      return {};
    };
    if (auto status = std::visit(read, field.variable); !status) return status;
  }
  return {};
}

}  // namespace marlin
