// Writes and reads plan.json. The reader reports every inconsistency.

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "base/file.h"
#include "base/statistics.h"
#include "files/json_text.h"
#include "formats/formats.h"
#include "quantize/precision_plan.h"

namespace marlin {
namespace {
using nlohmann::json;

constexpr const char* kSchema = "metal-marlin.plan";
constexpr int kVersion = 1;
constexpr const char* kBudgetKinds[] = {"bits_per_weight", "model_bytes", "max_kl"};  // BudgetKind

json OrNull(const std::optional<double>& value) { return value ? json(*value) : json(nullptr); }

json ToJson(const MeanEstimate& estimate) {
  json out = {{"mean", estimate.mean}, {"low", nullptr}, {"high", nullptr}};
  if (estimate.mean_95) {
    out["low"] = estimate.mean_95->low;
    out["high"] = estimate.mean_95->high;
  }
  return out;
}

json ToJson(const PlanUnit& unit) {
  json candidates = json::array();
  for (const PlanCandidate& candidate : unit.candidates) {
    candidates.push_back({{"format", candidate.name()},
                          {"bytes", candidate.bytes},
                          {"estimated_kl", OrNull(candidate.estimated_kl)},
                          {"measured_kl", OrNull(candidate.measured_kl)}});
  }
  return {{"tensors", unit.stems},
          {"format", unit.choice().name()},
          {"bytes", unit.choice().bytes},
          {"kl", OrNull(unit.choice().kl())},
          {"candidates", std::move(candidates)}};
}

// Where a format was both carried over and measured: how far the estimates can be trusted.
json EstimateCheck(const PrecisionPlan& plan) {
  json pairs = json::array();
  for (const PlanUnit& unit : plan.units) {
    for (const PlanCandidate& candidate : unit.candidates) {
      if (candidate.name() == plan.probe || !candidate.estimated_kl || !candidate.measured_kl) continue;
      pairs.push_back({{"tensors", unit.stems},
                       {"format", candidate.name()},
                       {"estimated_kl", *candidate.estimated_kl},
                       {"measured_kl", *candidate.measured_kl}});
    }
  }
  return pairs;
}

// The plan against the best single configuration, on windows that decided nothing.
json HeldOut(const PrecisionPlan& plan) {
  if (plan.confirmed.empty()) return nullptr;
  const std::vector<double> counts(plan.held_out_windows, static_cast<double>(plan.ctx - 1));
  json rows = json::array();
  for (const HeldOutKl& row : plan.confirmed) {
    rows.push_back({{"config", row.config},
                    {"bytes", row.bytes},
                    {"kl", ToJson(EstimateMean(row.window_kl, counts))},
                    {"window_kl", row.window_kl}});
    if (&row == &plan.confirmed[0]) continue;
    std::vector<double> difference;
    for (std::size_t w = 0; w < row.window_kl.size(); ++w) {
      difference.push_back(row.window_kl[w] - plan.confirmed[0].window_kl[w]);
    }
    rows.back()["kl_above_mixed"] = ToJson(EstimateMean(difference, counts));
  }
  return rows;
}

// Reads members and keeps the first error.
class Reader {
 public:
  explicit Reader(std::string file) : file_(std::move(file)) {}

  template <class T>
  T Get(const json& object, const std::string& place, const char* name) {
    const json* value = Member(object, name);
    if constexpr (std::is_same_v<T, std::string>) {
      if (value != nullptr && value->is_string()) return value->get<std::string>();
      Fail(fmt::format("{}\"{}\" is not a string", place, name));
    } else if constexpr (std::is_same_v<T, double>) {
      if (value != nullptr && value->is_number() && std::isfinite(value->get<double>()) && value->get<double>() >= 0) {
        return value->get<double>();
      }
      Fail(fmt::format("{}\"{}\" is not a number of at least 0", place, name));
    } else {
      if (value != nullptr && value->is_number_unsigned()) return value->get<T>();
      Fail(fmt::format("{}\"{}\" is not a whole number", place, name));
    }
    return T{};
  }
  std::optional<double> MaybeNumber(const json& object, const std::string& place, const char* name) {
    const json* value = Member(object, name);
    if (value == nullptr || value->is_null()) return std::nullopt;
    return Get<double>(object, place, name);
  }
  const json& List(const json& object, const std::string& place, const char* name) {
    static const json kNone = json::array();
    const json* value = Member(object, name);
    if (value != nullptr && value->is_array()) return *value;
    Fail(fmt::format("{}\"{}\" is not a list", place, name));
    return kNone;
  }
  static const json& Object(const json& object, const char* name) {
    static const json kNone = json::object();
    const json* value = Member(object, name);
    return value != nullptr && value->is_object() ? *value : kNone;
  }

  void Fail(const std::string& what) {
    if (status_.ok()) status_ = Error{ErrorCode::kInput, fmt::format("{}: {}", file_, what)};
  }
  const Status& status() const { return status_; }

 private:
  static const json* Member(const json& object, const char* name) {
    if (!object.is_object()) return nullptr;
    const auto found = object.find(name);
    return found == object.end() ? nullptr : &*found;
  }
  std::string file_;
  Status status_;
};

// The common formats, and all others that the file names.
PlanFormats FormatsNamed(const json& document) {
  std::set<std::string> names;
  const auto add = [&](const json& object) {
    if (object.is_object() && object.contains("format") && object["format"].is_string()) names.insert(object["format"]);
  };
  const auto units = document.find("units");
  if (units == document.end() || !units->is_array()) return CommonPlanFormats();
  for (const json& unit : *units) {
    add(unit);
    const auto candidates = unit.is_object() ? unit.find("candidates") : unit.end();
    if (candidates == unit.end() || !candidates->is_array()) continue;
    for (const json& candidate : *candidates) add(candidate);
  }
  PlanFormats formats;
  for (const FormatRow& row : Formats()) {
    if (!HasGroups(row.info)) continue;
    if (row.info.common || names.contains(std::string(row.info.name))) formats.formats.push_back(&row);
  }
  return formats;
}

std::string CandidateNames(const PlanUnit& unit) {
  std::string names;
  for (const PlanCandidate& candidate : unit.candidates) {
    names += fmt::format("{}{}", names.empty() ? "" : ", ", candidate.name());
  }
  return names;
}

// What the file says of the candidates' divergence; of candidates that it does not list nothing is known.
void ReadCandidates(const json& object, const std::string& place, Reader& reader, PlanUnit& unit) {
  for (const json& entry : reader.List(object, place, "candidates")) {
    const auto name = reader.Get<std::string>(entry, place + "candidates: ", "format");
    for (PlanCandidate& candidate : unit.candidates) {
      if (candidate.name() != name) continue;
      candidate.estimated_kl = reader.MaybeNumber(entry, place + name + ": ", "estimated_kl");
      candidate.measured_kl = reader.MaybeNumber(entry, place + name + ": ", "measured_kl");
    }
  }
}

// Which unit of the model each tensor of the file's units is, and in which format.
class UnitReader {
 public:
  UnitReader(PrecisionPlan& plan, Reader& reader) : plan_(plan), reader_(reader) {
    for (PlanUnit& unit : plan.units) {
      for (const std::string& stem : unit.stems) unit_of_[stem] = &unit;
    }
  }

  void Read(const json& object, std::size_t number) {
    const std::string place = fmt::format("unit {}: ", number);
    const auto format = reader_.Get<std::string>(object, place, "format");
    const json& tensors = reader_.List(object, place, "tensors");
    if (tensors.empty()) reader_.Fail(place + "\"tensors\" names none");
    for (const json& tensor : tensors) {
      const std::string stem = tensor.is_string() ? tensor.get<std::string>() : tensor.dump();
      const auto found = unit_of_.find(stem);
      if (found == unit_of_.end()) {
        return reader_.Fail(fmt::format("{}this model has no linear layer \"{}\"", place, stem));
      }
      if (found->second->Find(format) == nullptr) {
        return reader_.Fail(fmt::format("{}no format is called \"{}\"; want one of: {}", place, format,
                                        CandidateNames(*found->second)));
      }
      if (!formats_.emplace(stem, format).second) {
        return reader_.Fail(fmt::format("{}\"{}\" is in another unit too", place, stem));
      }
      if (stem == found->second->stems[0]) ReadCandidates(object, place, reader_, *found->second);
    }
  }

  void Finish() {
    for (PlanUnit& unit : plan_.units) {
      for (const std::string& stem : unit.stems) {
        const auto format = formats_.find(stem);
        if (format == formats_.end()) return reader_.Fail(fmt::format("no unit names \"{}\"", stem));
        const auto chosen = static_cast<std::size_t>(unit.Find(format->second) - unit.candidates.data());
        if (stem != unit.stems[0] && chosen != unit.chosen) {
          return reader_.Fail(fmt::format("\"{}\" has {}, \"{}\" has {}: layers with the same input share a format",
                                          unit.stems[0], unit.choice().name(), stem, format->second));
        }
        unit.chosen = chosen;
      }
    }
  }

 private:
  PrecisionPlan& plan_;
  Reader& reader_;
  std::map<std::string, PlanUnit*> unit_of_;
  std::map<std::string, std::string> formats_;
};

void ReadBudget(const json& document, Reader& reader, PrecisionPlan& plan) {
  const json& budget = Reader::Object(document, "budget");
  const auto kind = reader.Get<std::string>(budget, "budget: ", "kind");
  bool known = false;
  for (std::size_t i = 0; i < std::size(kBudgetKinds); ++i) {
    if (kind != kBudgetKinds[i]) continue;
    plan.budget.kind = static_cast<BudgetKind>(i);
    known = true;
  }
  if (!known) reader.Fail(fmt::format("budget: kind \"{}\" is not bits_per_weight, model_bytes or max_kl", kind));
  plan.budget.value = reader.Get<double>(budget, "budget: ", "value");
  plan.budget.bytes = reader.Get<std::uint64_t>(budget, "budget: ", "bytes");
}

void CheckBudget(const PrecisionPlan& plan, Reader& reader) {
  if (plan.budget.kind != BudgetKind::kMostKl) {
    if (plan.bytes() <= plan.budget.bytes) return;
    return reader.Fail(
        fmt::format("its formats take {} bytes, {} more than its budget; give units smaller formats, or raise the "
                    "\"bytes\" of the budget",
                    plan.bytes(), plan.bytes() - plan.budget.bytes));
  }
  const auto kl = plan.predicted_kl();
  if (!kl || *kl <= plan.budget.value * (1 + 1e-9)) return;
  reader.Fail(
      fmt::format("its formats are expected to lose {:.6g} nats per token, its budget is {:.6g}; give units "
                  "larger formats, or raise the \"value\" of the budget",
                  *kl, plan.budget.value));
}

void ReadConfirmed(const json& document, Reader& reader, PrecisionPlan& plan) {
  const auto held_out = document.find("held_out");
  if (held_out == document.end() || held_out->is_null()) return;
  for (const json& row : reader.List(document, "", "held_out")) {
    HeldOutKl& confirmed = plan.confirmed.emplace_back();
    confirmed.config = reader.Get<std::string>(row, "held_out: ", "config");
    confirmed.bytes = reader.Get<std::uint64_t>(row, "held_out: ", "bytes");
    for (const json& sum : reader.List(row, "held_out: ", "window_kl")) {
      if (!sum.is_number()) reader.Fail("held_out: \"window_kl\" is not a list of numbers");
      confirmed.window_kl.push_back(sum.is_number() ? sum.get<double>() : 0);
    }
    if (confirmed.window_kl.empty()) reader.Fail("held_out: \"window_kl\" is empty");
    if (confirmed.window_kl.size() != plan.held_out_windows) {
      reader.Fail(fmt::format("held_out: \"window_kl\" has {} values for {} windows", confirmed.window_kl.size(),
                              plan.held_out_windows));
    }
  }
}

void ReadSource(const json& document, Reader& reader, PrecisionPlan& plan) {
  const json& model = Reader::Object(document, "model");
  plan.model_name = reader.Get<std::string>(model, "model: ", "name");
  plan.model_sha256 = reader.Get<std::string>(model, "model: ", "sha256");
  plan.tokenizer_sha256 = reader.Get<std::string>(model, "model: ", "tokenizer_sha256");
  const json& text = Reader::Object(document, "calibration");
  plan.text_name = reader.Get<std::string>(text, "calibration: ", "name");
  plan.text_sha256 = reader.Get<std::string>(text, "calibration: ", "sha256");
  plan.ctx = reader.Get<std::uint64_t>(text, "calibration: ", "ctx");
  plan.windows = reader.Get<std::uint64_t>(text, "calibration: ", "windows");
  plan.held_out_windows = reader.Get<std::uint64_t>(text, "calibration: ", "held_out_windows");
  if (plan.ctx < 2) reader.Fail("calibration: \"ctx\" is less than 2");
  plan.method = reader.Get<std::string>(document, "", "method");
  plan.probe = reader.Get<std::string>(document, "", "probe");
  plan.program = reader.Get<std::string>(document, "", "program");
  plan.command = reader.Get<std::string>(document, "", "command");
}

}  // namespace

std::string PlanToJson(const PrecisionPlan& plan) {
  json units = json::array();
  for (const PlanUnit& unit : plan.units) units.push_back(ToJson(unit));
  const json document = {
      {"schema", kSchema},
      {"version", kVersion},
      {"program", plan.program},
      {"command", plan.command},
      {"model",
       {{"name", plan.model_name}, {"sha256", plan.model_sha256}, {"tokenizer_sha256", plan.tokenizer_sha256}}},
      {"calibration",
       {{"name", plan.text_name},
        {"sha256", plan.text_sha256},
        {"ctx", plan.ctx},
        {"windows", plan.windows},
        {"held_out_windows", plan.held_out_windows}}},
      {"method", plan.method},
      {"probe", plan.probe},
      {"budget",
       {{"kind", kBudgetKinds[static_cast<std::size_t>(plan.budget.kind)]},
        {"value", plan.budget.value},
        {"bytes", plan.budget.bytes}}},
      {"bytes", plan.bytes()},
      {"model_bytes", plan.bytes() + plan.other_bytes},
      {"bits_per_weight", plan.bits_per_weight()},
      {"predicted_kl", OrNull(plan.predicted_kl())},
      {"held_out", HeldOut(plan)},
      {"estimate_check", EstimateCheck(plan)},
      {"units", std::move(units)}};
  return document.dump(1, ' ', false, json::error_handler_t::replace) + "\n";
}

Status WritePlan(const PrecisionPlan& plan, const std::filesystem::path& file) {
  return WriteFileAtomic(file, PlanToJson(plan));
}

Result<PrecisionPlan> ReadPlan(const std::filesystem::path& file, const Description& description,
                               const std::string& model_sha256, const std::string& tokenizer_sha256) {
  constexpr std::size_t kLargest = std::size_t{1} << 28;
  const auto text = ReadFile(file, kLargest);
  if (!text) return text.error();
  const auto parsed = ParseJson(*text, file.string());
  if (!parsed) return parsed.error();
  const json& document = *parsed;
  Reader reader(file.string());
  if (!document.is_object() || document.value("schema", json()) != kSchema) {
    reader.Fail("not a plan; metal-marlin plan makes one");
    return reader.status().error();
  }
  if (document.value("version", json()) != kVersion) {
    reader.Fail(fmt::format("version {} of plans, this program reads {}; make the plan again",
                            document.value("version", json()).dump(), kVersion));
    return reader.status().error();
  }
  PrecisionPlan plan = EmptyPlan(description, FormatsNamed(document));
  ReadSource(document, reader, plan);
  if (!reader.status().ok()) return reader.status().error();
  if (plan.model_sha256 != model_sha256 || plan.tokenizer_sha256 != tokenizer_sha256) {
    const bool model = plan.model_sha256 != model_sha256;
    reader.Fail(fmt::format("the plan belongs to another {}, {} (sha256 {}...); this one has {}...; make a plan for it",
                            model ? "model" : "tokenizer", plan.model_name,
                            (model ? plan.model_sha256 : plan.tokenizer_sha256).substr(0, 12),
                            (model ? model_sha256 : tokenizer_sha256).substr(0, 12)));
    return reader.status().error();
  }
  ReadBudget(document, reader, plan);
  UnitReader units(plan, reader);
  std::size_t number = 0;
  for (const json& unit : reader.List(document, "", "units")) units.Read(unit, ++number);
  units.Finish();
  CheckBudget(plan, reader);
  ReadConfirmed(document, reader, plan);
  if (!reader.status().ok()) return reader.status().error();
  return plan;
}

}  // namespace marlin
