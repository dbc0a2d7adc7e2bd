#include "records/import_fields.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <utility>

namespace marlin {
ImportFields::ImportFields(const nlohmann::json& json, std::string where, Status& status)
    : json_(&json), where_(std::move(where)), status_(&status) {
  if (json.is_object() || !ok()) return;
  status = Error{ErrorCode::kInput, fmt::format("{}: this is {}, an object was wanted", where_, json.type_name())};
}

const nlohmann::json* ImportFields::Find(std::string_view name) const {
  if (!json_->is_object()) return nullptr;
  const auto found = json_->find(std::string(name));
  return found == json_->end() || found->is_null() ? nullptr : &*found;
}

void ImportFields::Refuse(std::string_view name, const std::string& what) {
  if (ok()) *status_ = Error{ErrorCode::kInput, fmt::format("{}: field \"{}\" {}", where_, name, what)};
}

void ImportFields::Want(std::string_view name, const nlohmann::json* value, std::string_view wanted) {
  Refuse(name, value == nullptr ? fmt::format("is missing, {} was wanted", wanted)
                                : fmt::format("is {}, {} was wanted", value->type_name(), wanted));
}

std::string ImportFields::Text(std::string_view name) {
  const nlohmann::json* const value = Find(name);
  if (value == nullptr || !value->is_string()) {
    Want(name, value, "a string");
    return "";
  }
  const std::string& text = value->get_ref<const std::string&>();
  if (text.empty()) Refuse(name, "is empty");
  if (text.size() > kLongestImportText) {
    Refuse(name, fmt::format("has {} bytes, at most {} were wanted", text.size(), kLongestImportText));
    return "";
  }
  return text;
}

std::uint64_t ImportFields::Count(std::string_view name) {
  constexpr std::uint64_t kMost = std::uint64_t{1} << 53;
  const nlohmann::json* const value = Find(name);
  if (value == nullptr || !value->is_number_unsigned()) {
    Want(name, value, "an integer of at least 0");
    return 0;
  }
  const auto count = value->get<std::uint64_t>();
  if (count > kMost) Refuse(name, fmt::format("is {}, at most {} was wanted", count, kMost));
  return count;
}

double ImportFields::Number(std::string_view name, double low, double high) {
  const nlohmann::json* const value = Find(name);
  if (value == nullptr || !value->is_number()) {
    Want(name, value, "a number");
    return 0;
  }
  const auto x = value->get<double>();
  if (!(x >= low && x <= high)) Refuse(name, fmt::format("is {}, a number from {} to {} was wanted", x, low, high));
  return x;
}

std::vector<double> ImportFields::Numbers(std::string_view name, double low, double high) {
  const nlohmann::json* const list = Find(name);
  if (list == nullptr || !list->is_array() || list->empty()) {
    Want(name, list, "an array of at least one number");
    return {};
  }
  std::vector<double> numbers;
  for (const nlohmann::json& value : *list) {
    const std::string element = fmt::format("{}[{}]", name, numbers.size());
    const double x = value.is_number() ? value.get<double>() : 0;
    if (!value.is_number()) Want(element, &value, "a number");
    if (!(x >= low && x <= high)) {
      Refuse(element, fmt::format("is {}, a number from {} to {} was wanted", x, low, high));
    }
    numbers.push_back(x);
  }
  return numbers;
}

const nlohmann::json* ImportFields::Object(std::string_view name) {
  const nlohmann::json* const value = Find(name);
  if (value != nullptr && value->is_object()) return value;
  Want(name, value, "an object");
  return nullptr;
}

std::string ImportFields::Scalar(std::string_view name) {
  const nlohmann::json* const value = Find(name);
  if (value != nullptr && value->is_string()) return Text(name);
  if (value != nullptr && (value->is_number() || value->is_boolean())) return value->dump();
  Want(name, value, "a string, a number or a boolean");
  return "";
}

std::optional<std::string> ImportFields::TextIf(std::string_view name) {
  const nlohmann::json* const value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_string() && value->get_ref<const std::string&>().empty()) return std::nullopt;
  return Text(name);
}

std::optional<std::string> ImportFields::ScalarIf(std::string_view name) {
  if (!Has(name)) return std::nullopt;
  if (Find(name)->is_string()) return TextIf(name);
  return Scalar(name);
}

std::string WithoutPath(std::string_view path) {
  while (path.size() > 1 && (path.ends_with('/') || path.ends_with('\\'))) path.remove_suffix(1);
  return std::string(path.substr(path.find_last_of("/\\") + 1));
}

std::string JoinWords(const std::vector<std::string>& words) { return fmt::format("{}", fmt::join(words, ", ")); }

}  // namespace marlin
