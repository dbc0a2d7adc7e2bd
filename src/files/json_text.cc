#include "files/json_text.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "base/json_depth.h"
#include "base/json_error.h"

namespace marlin {
namespace {
using nlohmann::json;

// Notices what is wrong with a text: that it is no JSON, or that one object has a key twice, of which the second would
// silently win. A pass of its own: the library's callbacks while it builds a value take quadratic time on long arrays.
class Faults : public nlohmann::json_sax<json> {
 public:
  explicit Faults(std::string_view text) : text_(text) {}
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
    if (!is_new) repeated_ = name;
    return is_new;
  }
  bool end_object() override {
    open_.pop_back();
    return true;
  }
  bool start_array(std::size_t) override { return true; }
  bool end_array() override { return true; }
  bool parse_error(std::size_t read, const std::string& token, const nlohmann::detail::exception& error) override {
    no_json_ = WhyNoJson(text_, read, token, error.what());
    return false;
  }

  const std::optional<std::string>& repeated() const { return repeated_; }
  const std::optional<std::string>& no_json() const { return no_json_; }

 private:
  std::string_view text_;
  std::vector<std::unordered_set<std::string>> open_;
  std::optional<std::string> repeated_;
  std::optional<std::string> no_json_;
};

}  // namespace

Result<json> ParseJson(std::string_view text, std::string_view where) {
  if (JsonDepth(text) > kDeepestJson) {
    return Error{ErrorCode::kInput,
                 fmt::format("{}: nested deeper than {} levels, which no model file is", where, kDeepestJson)};
  }
  Faults faults(text);
  try {
    json::sax_parse(text, &faults);
    if (faults.repeated()) {
      return Error{ErrorCode::kInput, fmt::format("{}: the key \"{}\" appears twice", where, *faults.repeated())};
    }
    if (faults.no_json()) {
      return Error{ErrorCode::kInput, fmt::format("{} is not valid JSON: {}", where, *faults.no_json())};
    }
    return json::parse(text);
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::kResource, fmt::format("{}: not enough memory to read it", where)};
  }
}

}  // namespace marlin
