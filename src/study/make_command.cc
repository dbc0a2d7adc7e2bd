#include "study/make_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "quantize/calibrate.h"
#include "quantize/method.h"
#include "quantize/precision_plan.h"
#include "study/calibration_text.h"
#include "study/make_plan.h"

namespace marlin {
namespace {

using Words = std::vector<std::string>;

void Add(Words& words, std::initializer_list<std::string> more) { words.insert(words.end(), more); }

// A name of the list finds its text. Any other one is the name of a file, which lies somewhere.
void NoteText(const record::Calibration& text, MakeCommands& out) {
  const auto sources = CalibrationSources();
  if (std::ranges::find(sources, text.name, &NamedText::name) != sources.end()) return;
  const std::string note =
      fmt::format("{} is a text file of that name (sha256 {}...): give its path", text.name, text.sha256.substr(0, 12));
  if (std::ranges::find(out.notes, note) == out.notes.end()) out.notes.push_back(note);
}

// Options that choose the text; those at their defaults are left out.
void AddCalibration(const record::Calibration& text, std::uint64_t usual_windows, Words& words) {
  Add(words, {"--calibration", text.name});
  if (text.windows != usual_windows) Add(words, {"--calibration-windows", fmt::format("{}", text.windows)});
  if (text.ctx != kCalibrationCtx) Add(words, {"--calibration-ctx", fmt::format("{}", text.ctx)});
}

void AddAccepted(const record::Model& model, Words& words) {
  if (!model.accepted_unknown) return;
  for (const std::string& name : *model.accepted_unknown) Add(words, {"--accept-unknown", name});
}

// Bits per weight that give the plan's budget again: the record's budget leaves out the units that stay in 16 bits.
std::optional<double> BudgetBits(const Record& record) {
  if (!record.config.budget_bytes) return std::nullopt;
  std::uint64_t kept = 0;
  for (const record::PlanUnit& unit : record.plan->units) kept += unit.format == kKeptName ? unit.bytes : 0;
  const double weights = static_cast<double>(record.size.quantized_parameters) + static_cast<double>(kept) / 2;
  if (weights <= 0) return std::nullopt;
  return 8 * (static_cast<double>(*record.config.budget_bytes) + static_cast<double>(kept)) / weights;
}

// "4.5bpw"; empty where the record does not say it.
std::string BudgetText(const Record& record) {
  const auto bits = record.plan ? BudgetBits(record) : std::nullopt;
  return bits ? fmt::format("{:.6g}bpw", *bits) : "";
}

// Plans of other budgets have other names.
std::string PlanFile(const Record& record) {
  const std::string budget = BudgetText(record);
  return budget.empty() ? "plan.json" : fmt::format("plan-{}.json", budget);
}

void AddPlan(const Record& record, const std::string& model, MakeCommands& out) {
  if (!record.plan) {
    out.notes.emplace_back("the record does not hold its plan; plan.json is the file that its command names or makes");
    return;
  }
  const record::Plan& plan = *record.plan;
  Words words = {"plan", model};
  if (const std::string budget = BudgetText(record); !budget.empty()) {
    Add(words, {"--budget", budget});
  } else {
    Add(words, {"--max-kl", "KL"});
    out.notes.emplace_back("the plan was made for a limit of loss (--max-kl) that the record does not hold");
  }
  if (plan.method != kDefaultPlanMethod) Add(words, {"--method", plan.method});
  AddCalibration(plan.text, kPlanWindows, words);
  if (plan.text.windows != kPlanWindows) {
    Add(words, {"--held-out", fmt::format("{}", kHeldOutPerWindow * plan.text.windows)});
  }
  AddAccepted(record.model, words);
  Add(words, {"-o", PlanFile(record)});
  out.lines.push_back(std::move(words));
  NoteText(plan.text, out);
}

bool IsPlain(const std::string& name) {
  return !name.empty() && name.size() <= 40 && name[0] != '.' &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-.") == std::string::npos;
}

// Configuration, budget, method and text, so that rows have folders of their own. Names that are not plain are left
// out.
std::string FolderOf(const Record& record) {
  const record::Config& config = record.config;
  if (!IsPlain(config.id)) return "FOLDER";
  std::string folder = "./" + config.id;
  if (const std::string budget = BudgetText(record); !budget.empty()) folder += "-" + budget;
  if (IsPlain(config.method)) folder += "-" + config.method;
  if (config.calibration && IsPlain(config.calibration->name)) folder += "-" + config.calibration->name;
  return folder;
}

void NoteVersions(const record::Config& config, MakeCommands& out) {
  const auto recipe = ParseRecipe(config.method);
  if (!recipe) {
    out.notes.push_back(
        fmt::format("this program has no method {}: another version of it made the row", config.method));
  } else if (config.method_versions && *config.method_versions != recipe->versions) {
    out.notes.push_back(fmt::format("the row was made by {}, and this program has {}: its weights will differ",
                                    *config.method_versions, recipe->versions));
  }
}

}  // namespace

MakeCommands CommandsThatMake(const Record& record, const std::string& model) {
  const record::Config& config = record.config;
  MakeCommands out;
  if (config.kind == record::Kind::kBaseline) {
    out.notes.push_back(
        config.display_name == config.id
            ? "nothing to make: it is the model as it is"
            : fmt::format("nothing to make: it is the model itself, run in 16 bits: {}", config.display_name));
    return out;
  }
  if (config.kind == record::Kind::kImported) {
    out.notes.emplace_back(
        "another program made this file; the command of the record names it, and this program cannot "
        "make it");
    return out;
  }
  Words words = {"quantize", model};
  if (config.kind == record::Kind::kMixed) {
    AddPlan(record, model, out);
    Add(words, {"--plan", PlanFile(record)});
  } else {
    Add(words, {"--config", config.id});
  }
  Add(words, {"--method", config.method});
  if (config.calibration) {
    AddCalibration(*config.calibration, kCalibrationWindows, words);
    NoteText(*config.calibration, out);
  }
  if (config.quantized_embeddings) Add(words, {"--quantize-embeddings"});
  if (config.quantized_head) Add(words, {"--quantize-head"});
  AddAccepted(record.model, words);
  out.folder = FolderOf(record);
  Add(words, {"-o", out.folder});
  out.lines.push_back(std::move(words));
  NoteVersions(config, out);
  if (record.machine.activations == "int8") out.notes.emplace_back("it was measured with --activations int8");
  return out;
}

}  // namespace marlin
