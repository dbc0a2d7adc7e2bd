#include "text/end_tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "base/file.h"
#include "base/open_file.h"
#include "files/checkpoint.h"
#include "files/json_text.h"
#include "text/tokenizer.h"

namespace marlin {
namespace fs = std::filesystem;
namespace {
using nlohmann::json;

constexpr const char* kKey = "eos_token_id";
constexpr std::size_t kMostBytes = std::size_t{16} << 20;

// Null where the folder has no such file.
Result<json> ReadCompanion(const fs::path& path) {
  if (!IsListed(path)) return json();
  const auto text = ReadFile(path, kMostBytes);
  if (!text) return text.error();
  auto value = ParseJson(*text, path.string());
  if (value.ok() && !value->is_object()) {
    return Error{ErrorCode::kInput, fmt::format("{}: not a JSON object", path.string())};
  }
  return value;
}

// Negative ids stand for "no token" in some configurations.
Status AddIds(const fs::path& file, const json& config, std::set<std::int32_t>& ids) {
  if (!config.is_object() || !config.contains(kKey) || config[kKey].is_null()) return {};
  const json& value = config[kKey];
  for (const json& id : value.is_array() ? value : json::array({value})) {
    if (!id.is_number_integer() || id.get<double>() > std::numeric_limits<std::int32_t>::max()) {
      return Error{ErrorCode::kInput, fmt::format("{}: {} is {}, want a token's number or a list of them",
                                                  file.string(), kKey, value.dump(-1, ' ', true).substr(0, 80))};
    }
    if (id.get<std::int64_t>() >= 0) ids.insert(id.get<std::int32_t>());
  }
  return {};
}

// "eos_token": "</s>" or {"content": "</s>"}. A token that the vocabulary lacks ends nothing.
void AddNamed(const json& map, const Tokenizer& tokenizer, std::set<std::int32_t>& ids) {
  if (!map.is_object() || !map.contains("eos_token")) return;
  const json* value = &map["eos_token"];
  if (value->is_object() && value->contains("content")) value = &(*value)["content"];
  if (!value->is_string()) return;
  const auto encoded = tokenizer.Encode(value->get<std::string>(), true);
  if (encoded && encoded->size() == 1) ids.insert(encoded->front());
}

// Of the configurations.
Status AddConfigured(const Checkpoint& checkpoint, std::set<std::int32_t>& ids) {
  const bool folder = checkpoint.container == Container::kSafetensors;
  const fs::path config = folder ? checkpoint.path / "config.json" : checkpoint.path;
  if (auto status = AddIds(config, checkpoint.config, ids); !status) return status;
  if (!folder) return {};
  const fs::path path = checkpoint.path / "generation_config.json";
  const auto generation = ReadCompanion(path);
  return generation ? AddIds(path, *generation, ids) : generation.error();
}

}  // namespace

Status CheckEndTokens(const Checkpoint& checkpoint) {
  std::set<std::int32_t> ids;
  return AddConfigured(checkpoint, ids);
}

Result<std::vector<std::int32_t>> EndTokens(const Checkpoint& checkpoint, const Tokenizer& tokenizer) {
  std::set<std::int32_t> ids;
  if (tokenizer.eos() >= 0) ids.insert(tokenizer.eos());
  if (auto status = AddConfigured(checkpoint, ids); !status) return status.error();
  if (checkpoint.container == Container::kSafetensors) {
    const auto map = ReadCompanion(checkpoint.path / "special_tokens_map.json");
    if (!map) return map.error();
    AddNamed(*map, tokenizer, ids);
  }
  return std::vector<std::int32_t>(ids.begin(), ids.end());
}

}  // namespace marlin
