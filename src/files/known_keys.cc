#include "files/known_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace marlin {
namespace {
using nlohmann::json;

bool Is(const json& value, double number) {
  if (value.is_boolean()) return number == (value.get<bool>() ? 1 : 0);
  return value.is_number() && value.get<double>() == number;
}

bool IsFullAttention(const json& value) {
  return value.is_array() && std::ranges::all_of(value, [](const json& layer) { return layer == "full_attention"; });
}

}  // namespace

const HarmlessValues kZero = {[](const json& value) { return Is(value, 0); }, "0"};
const HarmlessValues kOne = {[](const json& value) { return Is(value, 1); }, "1"};
const HarmlessValues kZeroOrOne = {[](const json& value) { return Is(value, 0) || Is(value, 1); }, "0 or 1"};
const HarmlessValues kFalse = {[](const json& value) { return Is(value, 0); }, "false"};
const HarmlessValues kTrue = {[](const json& value) { return Is(value, 1); }, "true"};
const HarmlessValues kEmpty = {
    [](const json& value) { return value.is_string() ? value == "" : value.is_structured() && value.empty(); },
    "empty"};
const HarmlessValues kFullAttention = {IsFullAttention, "\"full_attention\" for every layer"};

std::string WayOut(std::string_view name) {
  return fmt::format("; if the model means the same without it, accept it with --accept-unknown {}", name);
}

const KnownKey* FindKnownKey(std::span<const KnownKey> list, std::string_view name) {
  const auto found = std::ranges::find_if(list, [&](const KnownKey& row) {
    if (!row.name.ends_with('*')) return row.name == name;
    return name.starts_with(row.name.substr(0, row.name.size() - 1));
  });
  return found == list.end() ? nullptr : &*found;
}

std::string ShortValue(const json& value) {
  constexpr std::size_t kLongest = 60;
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
  return text;
}

Status CheckKey(const KnownKey* row, std::string_view full_name, const json& value, std::string_view where,
                AcceptedNames& accepted) {
  if (row != nullptr && (row->values == nullptr || row->values->holds(value))) return {};
  if (accepted.Accept(full_name)) return {};
  if (row == nullptr) {
    return Error{ErrorCode::kUnsupported, fmt::format("{}: \"{}\" is {}, and this program does not know this key{}",
                                                      where, full_name, ShortValue(value), WayOut(full_name))};
  }
  return Error{ErrorCode::kUnsupported,
               fmt::format("{}: \"{}\" is {}, want {}: other values change the numbers and are not computed{}", where,
                           full_name, ShortValue(value), row->values->words, WayOut(full_name))};
}

}  // namespace marlin
