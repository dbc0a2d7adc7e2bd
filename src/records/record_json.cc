#include "records/record_json.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "base/json_depth.h"
#include "records/json_text.h"
#include "records/record_check.h"
#include "records/record_fields.h"

namespace marlin {
namespace {

using Json = nlohmann::ordered_json;  // written in the order of the fields
using Parsed = nlohmann::json;        // read; ordered_json takes quadratic time for an object of many fields

constexpr std::array<std::pair<record::Kind, std::string_view>, 4> kKinds = {{
    {record::Kind::kBaseline, "baseline"},
    {record::Kind::kUniform, "uniform"},
    {record::Kind::kMixed, "mixed"},
    {record::Kind::kImported, "imported"},
}};

// Fields -> JSON. Keeps the first number that JSON cannot represent.
class Writer {
 public:
  template <class T>
  void operator()(std::string_view name, const T& field) {
    const std::string outer =
        std::exchange(path_, path_.empty() ? std::string(name) : fmt::format("{}.{}", path_, name));
    Json value = ToValue(field);
    path_ = outer;
    json_[std::string(name)] = std::move(value);
  }

  Json Take() { return std::move(json_); }
  const std::string& not_finite() const { return not_finite_; }

 private:
  Json ToValue(const std::string& x) { return x; }
  Json ToValue(bool x) { return x; }
  Json ToValue(std::uint64_t x) { return x; }
  Json ToValue(double x) {
    if (!std::isfinite(x) && not_finite_.empty()) not_finite_ = path_;
    return x;
  }
  Json ToValue(record::Kind x) {
    for (const auto& [kind, name] : kKinds) {
      if (kind == x) return std::string(name);
    }
    MARLIN_CHECK(false, "every kind has a name");
  }
  template <class T>
  Json ToValue(const std::optional<T>& x) {
    return x ? ToValue(*x) : Json(nullptr);
  }
  template <class T>
  Json ToValue(const std::vector<T>& list) {
    Json array = Json::array();
    const std::string outer = path_;
    for (std::size_t i = 0; i < list.size(); ++i) {
      path_ = fmt::format("{}[{}]", outer, i);
      array.push_back(ToValue(list[i]));
    }
    path_ = outer;
    return array;
  }
  template <class T>
  Json ToValue(const T& section) {
    Json outer = std::exchange(json_, Json::object());
    VisitFields(*this, section);
    return std::exchange(json_, std::move(outer));
  }

  Json json_ = Json::object();
  std::string path_;
  std::string not_finite_;
};

// JSON -> fields. Keeps the first error; later fields are then not read.
class Reader {
 public:
  explicit Reader(const Parsed& json) : json_(&json) {}

  template <class T>
  void operator()(std::string_view name, T& field) {
    if (!problem_.empty()) return;
    const std::string outer =
        std::exchange(path_, path_.empty() ? std::string(name) : fmt::format("{}.{}", path_, name));
    const auto found = json_->find(std::string(name));
    Read(found == json_->end() ? nullptr : &*found, field);
    path_ = outer;
  }

  const std::string& problem() const { return problem_; }

 private:
  void Want(const Parsed* json, std::string_view wanted) {
    problem_ = json == nullptr ? fmt::format("field \"{}\" is missing", path_)
                               : fmt::format("field \"{}\" is {}, {} was wanted", path_, json->type_name(), wanted);
  }

  void Read(const Parsed* json, std::string& x) {
    if (json == nullptr || !json->is_string()) return Want(json, "a string");
    x = json->get<std::string>();
  }
  void Read(const Parsed* json, bool& x) {
    if (json == nullptr || !json->is_boolean()) return Want(json, "true or false");
    x = json->get<bool>();
  }
  void Read(const Parsed* json, std::uint64_t& x) {
    if (json == nullptr || !json->is_number_unsigned()) return Want(json, "an integer of at least 0");
    x = json->get<std::uint64_t>();
  }
  void Read(const Parsed* json, double& x) {
    if (json == nullptr || !json->is_number()) return Want(json, "a number");
    x = json->get<double>();
  }
  void Read(const Parsed* json, record::Kind& x) {
    std::string text;
    Read(json, text);
    for (const auto& [kind, name] : kKinds) {
      if (name == text) {
        x = kind;
        return;
      }
    }
    if (problem_.empty()) problem_ = fmt::format("field \"{}\" is none of baseline, uniform, mixed", path_);
  }
  template <class T>
  void Read(const Parsed* json, std::optional<T>& x) {
    x.reset();
    if (json == nullptr || json->is_null()) return;
    Read(json, x.emplace());
  }
  template <class T>
  void Read(const Parsed* json, std::vector<T>& list) {
    if (json == nullptr || !json->is_array()) return Want(json, "an array");
    const std::string outer = path_;
    list.clear();
    list.reserve(json->size());
    for (const Parsed& element : *json) {
      path_ = fmt::format("{}[{}]", outer, list.size());
      Read(&element, list.emplace_back());
      if (!problem_.empty()) return;
    }
    path_ = outer;
  }
  template <class T>
  void Read(const Parsed* json, T& section) {
    if (json == nullptr || !json->is_object()) return Want(json, "an object");
    const Parsed* outer = std::exchange(json_, json);
    VisitFields(*this, section);
    json_ = outer;
  }

  const Parsed* json_;
  std::string path_;
  std::string problem_;
};

// Why a JSON value is no record at all, in words; empty when it claims to be one.
std::string WhyForeign(const Parsed& json) {
  if (!json.is_object()) return fmt::format("it holds {}, not an object", json.type_name());
  if (json.contains("schema")) {
    return json["schema"] == kRecordSchema ? "" : fmt::format("its field \"schema\" is not \"{}\"", kRecordSchema);
  }
  const bool suite = json.contains("results") && json["results"].is_array();
  if (suite) return "it is a suite of finished results without measured windows, so nothing in it can be checked";
  return "it has no field \"schema\", so it carries no measured windows that could be checked";
}

Error Refusal(ErrorCode code, std::string_view where, const std::string& why) {
  return Error{code, fmt::format("{}: {}", where, why)};
}

Result<Parsed> ParseText(std::string_view text, std::string_view where) {
  if (JsonDepth(text) > kDeepestJson) {
    return Refusal(ErrorCode::kInput, where,
                   fmt::format("nested deeper than {} levels, which no record is", kDeepestJson));
  }
  Parsed json = Parsed::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return Refusal(ErrorCode::kInput, where, "this is not JSON, or it is cut off");
  return json;
}

// The versions that this program reads of a schema.
struct Schema {
  std::string_view name;
  std::uint64_t oldest;
  std::uint64_t newest;
};

constexpr Schema kResultSchema = {kRecordSchema, kOldestRecordVersion, kRecordVersion};
constexpr Schema kOfExternal = {kExternalSchema, kExternalVersion, kExternalVersion};

Status CheckVersion(const Parsed& json, const Schema& schema, std::string_view where) {
  const auto version = json.find("version");
  if (version != json.end() && version->is_number_unsigned()) {
    const auto number = version->get<std::uint64_t>();
    if (number >= schema.oldest && number <= schema.newest) return {};
  }
  return Refusal(ErrorCode::kUnsupported, where,
                 fmt::format("field \"version\" is {}; this program reads versions {} to {} of {}",
                             version == json.end() ? "missing" : version->dump().substr(0, 40), schema.oldest,
                             schema.newest, schema.name));
}

Result<ParsedRecord> ResultOf(const Parsed& json, std::string_view where) {
  if (const std::string why = WhyForeign(json); !why.empty()) {
    return Refusal(ErrorCode::kInput, where, fmt::format("not a result record: {}", why));
  }
  if (Status status = CheckVersion(json, kResultSchema, where); !status.ok()) return status.error();
  ParsedRecord parsed;
  Reader reader(json);
  VisitFields(reader, parsed.record);
  reader("summary", parsed.summary);
  if (!reader.problem().empty()) return Refusal(ErrorCode::kInput, where, reader.problem());
  if (Status status = CheckRecord(parsed.record, where); !status.ok()) return status.error();
  return parsed;
}

Result<ExternalRecord> ExternalOf(const Parsed& json, std::string_view where) {
  if (Status status = CheckVersion(json, kOfExternal, where); !status.ok()) return status.error();
  ExternalRecord record;
  Reader reader(json);
  VisitFields(reader, record);
  if (!reader.problem().empty()) return Refusal(ErrorCode::kInput, where, reader.problem());
  if (Status status = CheckRecord(record, where); !status.ok()) return status.error();
  return record;
}

}  // namespace

Result<std::string> ToJson(const Record& record) {
  Writer fields;
  VisitFields(fields, record);
  const std::string where = fmt::format("result of {} {}", record.model.name, record.config.id);
  if (!fields.not_finite().empty()) {
    return Refusal(ErrorCode::kNumerical, where,
                   fmt::format("\"{}\" is not a finite number; the row is not written", fields.not_finite()));
  }
  if (Status status = CheckRecord(record, where); !status.ok()) return status.error();
  const RecordSummary derived = Summarize(record);
  Writer summary;
  VisitFields(summary, derived);

  Json file = Json::object();
  file["schema"] = kRecordSchema;
  file["version"] = kRecordVersion;
  file["summary"] = summary.Take();
  file.update(fields.Take());
  return FormatJson(file);
}

Result<std::string> ToJson(const ExternalRecord& record) {
  Writer fields;
  VisitFields(fields, record);
  // Its ranges hold no number that is not finite.
  if (Status status = CheckRecord(record, record.source.file); !status.ok()) return status.error();
  Json file = Json::object();
  file["schema"] = kExternalSchema;
  file["version"] = kExternalVersion;
  file.update(fields.Take());
  return FormatJson(file);
}

Result<ParsedRecord> FromJson(std::string_view text, std::string_view where) {
  const Result<Parsed> json = ParseText(text, where);
  if (!json) return json.error();
  return ResultOf(*json, where);
}

Result<RecordFile> RecordFromJson(std::string_view text, std::string_view where) {
  const Result<Parsed> json = ParseText(text, where);
  if (!json) return json.error();
  if (json->is_object() && json->contains("schema") && json->at("schema") == kExternalSchema) {
    Result<ExternalRecord> record = ExternalOf(*json, where);
    if (!record) return record.error();
    return RecordFile(std::move(*record));
  }
  Result<ParsedRecord> record = ResultOf(*json, where);
  if (!record) return record.error();
  return RecordFile(std::move(*record));
}

namespace {

// The numbers of a summary, in file order.
class SummaryNumbers {
 public:
  void operator()(std::string_view name, const std::optional<double>& x) { values_.emplace_back(name, x); }
  const std::vector<std::pair<std::string_view, std::optional<double>>>& values() const { return values_; }

 private:
  std::vector<std::pair<std::string_view, std::optional<double>>> values_;
};

bool Agrees(double a, double b) { return std::abs(a - b) <= 1e-6 * std::max({1.0, std::abs(a), std::abs(b)}); }

}  // namespace

std::string DescribeMismatch(const RecordSummary& stored, const RecordSummary& computed) {
  SummaryNumbers a;
  SummaryNumbers b;
  VisitFields(a, stored);
  VisitFields(b, computed);
  for (std::size_t i = 0; i < a.values().size(); ++i) {
    const auto& [name, x] = a.values()[i];
    const std::optional<double>& y = b.values()[i].second;
    if (x && y && !Agrees(*x, *y)) return fmt::format("summary.{} is {}, the raw data give {}", name, *x, *y);
  }
  return "";
}

}  // namespace marlin
