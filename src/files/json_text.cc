#include "files/json_text.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/json_depth.h"

namespace marlin {
namespace {
using nlohmann::json;

// Notices a key that one object has twice: the second would silently win.
class DuplicateKeys {
 public:
  bool operator()(int, json::parse_event_t event, const json& parsed) {
    if (event == json::parse_event_t::object_start) open_.emplace_back();
    if (event == json::parse_event_t::object_end) open_.pop_back();
    if (event == json::parse_event_t::key && !open_.back().insert(parsed.get_ref<const std::string&>()).second) {
      found_ = parsed.get<std::string>();
    }
    return true;
  }
  const std::optional<std::string>& found() const { return found_; }

 private:
  std::vector<std::set<std::string>> open_;
  std::optional<std::string> found_;
};

}  // namespace

Result<json> ParseJson(std::string_view text, std::string_view where) {
  if (JsonDepth(text) > kDeepestJson) {
    return Error{ErrorCode::kInput,
                 fmt::format("{}: nested deeper than {} levels, which no model file is", where, kDeepestJson)};
  }
  DuplicateKeys duplicates;
  try {
    json value = json::parse(text, std::ref(duplicates));
    if (duplicates.found()) {
      return Error{ErrorCode::kInput, fmt::format("{}: the key \"{}\" appears twice", where, *duplicates.found())};
    }
    return value;
  } catch (const json::exception& e) {
    return Error{ErrorCode::kInput, fmt::format("{} is not valid JSON: {}", where, e.what())};
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::kResource, fmt::format("{}: not enough memory to read it", where)};
  }
}

}  // namespace marlin
