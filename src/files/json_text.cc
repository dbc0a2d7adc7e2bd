#include "files/json_text.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "base/json_depth.h"

namespace marlin {
namespace {
using nlohmann::json;

// Notices a key that one object has twice: the second would silently win. A pass of its own: the library's callbacks
// while it builds a value take quadratic time on long arrays.
class DuplicateKeys : public nlohmann::json_sax<json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override {
    open_.emplace_back();
    return true;
  }
  bool key(string_t& name) override {
    const bool is_new = open_.back().insert(name).second;
    if (!is_new) found_ = name;
    return is_new;
  }
  bool end_object() override {
    open_.pop_back();
    return true;
  }
  bool start_array(std::size_t) override { return true; }
  bool end_array() override { return true; }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override { return false; }

  const std::optional<std::string>& found() const { return found_; }

 private:
  std::vector<std::unordered_set<std::string>> open_;
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
    json::sax_parse(text, &duplicates);
    if (duplicates.found()) {
      return Error{ErrorCode::kInput, fmt::format("{}: the key \"{}\" appears twice", where, *duplicates.found())};
    }
    return json::parse(text);
  } catch (const json::exception& e) {
    return Error{ErrorCode::kInput, fmt::format("{} is not valid JSON: {}", where, e.what())};
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::kResource, fmt::format("{}: not enough memory to read it", where)};
  }
}

}  // namespace marlin
