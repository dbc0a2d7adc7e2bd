#include "text/jinja.h"

#include <fmt/format.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "text/jinja_evaluator.h"
#include "text/jinja_lexer.h"
#include "text/jinja_parser.h"
#include "text/unicode.h"

namespace marlin {
namespace {

constexpr std::size_t kLongestTemplate_bytes = std::size_t{4} << 20;

jinja::Value FromJson(jinja::Run& run, const nlohmann::ordered_json& from) {
  using jinja::Value;
  if (!run.Step()) return {};
  switch (from.type()) {
    case nlohmann::json::value_t::boolean:
      return Value::Bool(from.get<bool>());
    case nlohmann::json::value_t::number_integer:
      return Value::Int(from.get<std::int64_t>());
    case nlohmann::json::value_t::number_unsigned:
      if (from.get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max()) {
        return run.Unsupported("an integer beyond 64 bits among the variables");
      }
      return Value::Int(from.get<std::int64_t>());
    case nlohmann::json::value_t::number_float:
      return Value::Float(from.get<double>());
    case nlohmann::json::value_t::string:
      return run.MakeText(from.get_ref<const std::string&>());
    case nlohmann::json::value_t::array: {
      jinja::Items items;
      for (const auto& item : from) items.push_back(FromJson(run, item));
      return run.MakeList(std::move(items));
    }
    case nlohmann::json::value_t::object: {
      std::vector<std::pair<Value, Value>> entries;
      for (const auto& [key, value] : from.items()) entries.emplace_back(run.MakeText(key), FromJson(run, value));
      return run.MakeDict(std::move(entries));
    }
    default:
      return Value::None();
  }
}

}  // namespace

struct JinjaTemplate::Impl {
  std::string source, where;
  jinja::Statements body;
};

JinjaTemplate::JinjaTemplate(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
JinjaTemplate::JinjaTemplate(JinjaTemplate&&) noexcept = default;
JinjaTemplate& JinjaTemplate::operator=(JinjaTemplate&&) noexcept = default;
JinjaTemplate::~JinjaTemplate() = default;

Result<JinjaTemplate> JinjaTemplate::Parse(std::string_view source, std::string_view where) {
  if (source.size() > kLongestTemplate_bytes) {
    return Error{ErrorCode::kUnsupported, fmt::format("{}: the template has {} bytes, more than {}", where,
                                                      source.size(), kLongestTemplate_bytes)};
  }
  if (const auto bad = FindInvalidUtf8(source)) {
    return Error{ErrorCode::kInput, fmt::format("{}: the template is not UTF-8 at byte {}", where, *bad)};
  }
  auto impl = std::make_unique<Impl>();
  impl->source = jinja::NormalizeLines(source);
  impl->where = where;
  auto body = jinja::ParseTemplate(impl->source, impl->where, JinjaLimits().deepest);
  if (!body) return body.error();
  impl->body = std::move(*body);
  return JinjaTemplate(std::move(impl));
}

Result<std::string> JinjaTemplate::Render(const nlohmann::ordered_json& variables, const std::tm& now,
                                          const JinjaLimits& limits) const {
  jinja::Run run(impl_->source, impl_->where, now, limits);
  const jinja::Value values = FromJson(run, variables);
  if (!run.failed()) jinja::Evaluate(run, impl_->body, values.dict());
  if (run.failed()) return run.error();
  return run.EndBlock();
}

}  // namespace marlin
