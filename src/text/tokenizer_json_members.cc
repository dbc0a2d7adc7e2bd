#include "text/tokenizer_json_members.h"

#include <fmt/format.h>

#include <limits>

#include "text/vocabulary.h"

namespace marlin {
using nlohmann::json;

Error UnsupportedPart(std::string_view where, std::string_view what) {
  return {ErrorCode::kUnsupported, fmt::format("{}: {} is not supported", where, what)};
}

const json* MemberOf(const json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

Result<bool> FlagOf(const json& object, const char* key, bool absent, std::string_view where) {
  const json* value = MemberOf(object, key);
  if (value == nullptr) return absent;
  if (!value->is_boolean())
    return BrokenTokenizer(where, fmt::format("\"{}\" is {}, not true or false", key, value->type_name()));
  return value->get<bool>();
}

Result<std::string> TextOf(const json& object, const char* key, std::string_view where) {
  const json* value = MemberOf(object, key);
  if (value == nullptr) return BrokenTokenizer(where, fmt::format("\"{}\" is missing", key));
  if (!value->is_string())
    return BrokenTokenizer(where, fmt::format("\"{}\" is {}, not a string", key, value->type_name()));
  return value->get<std::string>();
}

Result<const json*> ArrayOf(const json& object, const char* key, std::string_view where) {
  const json* value = MemberOf(object, key);
  if (value == nullptr || !value->is_array()) return BrokenTokenizer(where, fmt::format("\"{}\" is not an array", key));
  return value;
}

Result<int> CountOf(const json& object, const char* key, int absent, int most, std::string_view where) {
  const json* value = MemberOf(object, key);
  if (value == nullptr) return absent;
  if (!value->is_number_unsigned() || value->get<std::uint64_t>() > static_cast<std::uint64_t>(most)) {
    return BrokenTokenizer(
        where, fmt::format("\"{}\" is {}, want a whole number from 0 to {}", key, ShortValue(*value), most));
  }
  return static_cast<int>(value->get<std::uint64_t>());
}

Result<std::int32_t> IdOf(const json& value, std::string_view what, std::string_view where) {
  const bool fits =
      value.is_number_unsigned() && value.get<std::uint64_t>() <= std::numeric_limits<std::int32_t>::max();
  if (!fits)
    return BrokenTokenizer(where, fmt::format("the id of \"{}\" is not a whole number from 0 to 2^31 - 1", what));
  return static_cast<std::int32_t>(value.get<std::uint64_t>());
}

Status CheckMembers(const json& object, std::span<const KnownKey> known, std::string_view what,
                    std::string_view where) {
  if (!object.is_object()) return {};
  for (const auto& [key, value] : object.items()) {
    if (value.is_null() || FindKnownKey(known, key) != nullptr) continue;
    return Error{ErrorCode::kUnsupported,
                 fmt::format("{}: {} has the member \"{}\" ({}), which this program does not know and which could "
                             "change tokens",
                             where, what, key, ShortValue(value))};
  }
  return {};
}

}  // namespace marlin
