#include "files/gguf_metadata.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

namespace marlin {
using nlohmann::json;

double ShortestDecimal(double value) {
  const float single = static_cast<float>(value);
  if (static_cast<double>(single) != value) return value;
  char text[32];
  const auto end = std::to_chars(text, text + sizeof(text), single).ptr;
  std::from_chars(text, end, value);
  return value;
}

Error GgufMetadata::Bad(const std::string& what) const {
  return {ErrorCode::kInput, fmt::format("{}: {}", gguf_->file.path().string(), what)};
}

Error GgufMetadata::Unsupported(const std::string& what) const {
  return {ErrorCode::kUnsupported, fmt::format("{}: {}", gguf_->file.path().string(), what)};
}

std::string GgufMetadata::Name(std::string_view suffix) const { return fmt::format("{}.{}", architecture_, suffix); }

const GgufValue* GgufMetadata::Find(std::string_view suffix) const {
  read_.emplace(suffix);
  const auto found = gguf_->metadata.find(Name(suffix));
  return found == gguf_->metadata.end() ? nullptr : &found->second;
}

Result<std::optional<json>> GgufMetadata::Number(std::string_view suffix) const {
  const GgufValue* const value = Find(suffix);
  if (value == nullptr) return std::optional<json>();
  const std::string key = Name(suffix);
  if (const auto* flag = std::get_if<bool>(value)) return std::optional<json>(*flag ? 1 : 0);
  if (const auto* integer = std::get_if<std::int64_t>(value)) return std::optional<json>(*integer);
  if (const auto* real = std::get_if<double>(value)) {
    if (!std::isfinite(*real)) return Bad(fmt::format("metadata \"{}\" is {}, want a number", key, *real));
    return std::optional<json>(ShortestDecimal(*real));
  }
  if (std::holds_alternative<GgufNumbers>(*value)) {
    return Unsupported(fmt::format("metadata \"{}\" differs from layer to layer, which is not supported", key));
  }
  return Bad(fmt::format("metadata \"{}\" is not a number", key));
}

Result<std::optional<std::string>> GgufMetadata::Text(std::string_view suffix) const {
  const GgufValue* const value = Find(suffix);
  if (value == nullptr) return std::optional<std::string>();
  if (const auto* text = std::get_if<std::string_view>(value)) return std::optional(Printable(*text));
  return Bad(fmt::format("metadata \"{}\" is not a text", Name(suffix)));
}

Result<std::optional<std::vector<double>>> GgufMetadata::Numbers(std::string_view suffix, std::size_t blocks) const {
  const GgufValue* const value = Find(suffix);
  if (value == nullptr) return std::optional<std::vector<double>>();
  const auto* list = std::get_if<GgufNumbers>(value);
  if (list == nullptr) {
    const auto number = Number(suffix);
    if (!number) return number.error();
    return std::optional(std::vector<double>(blocks, (*number)->get<double>()));
  }
  if (list->size != blocks) {
    return Bad(fmt::format("metadata \"{}\" has {} numbers, want one for each of {} blocks", Name(suffix), list->size,
                           blocks));
  }
  std::vector<double> out;
  for (std::size_t i = 0; i < blocks; ++i) {
    out.push_back(list->is_integer() ? static_cast<double>(list->Integer(i)) : list->Number(i));
  }
  return std::optional(std::move(out));
}

Result<double> GgufMetadata::Positive(std::string_view suffix, double otherwise) const {
  const auto number = Number(suffix);
  if (!number) return number.error();
  if (!*number) return otherwise;
  const double value = (*number)->get<double>();
  if (value > 0) return value;
  return Bad(fmt::format("metadata \"{}\" is {}, want a positive number", Name(suffix), value));
}

}  // namespace marlin
