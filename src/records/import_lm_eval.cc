// lm-evaluation-harness: one object for a run; "results" holds for each task "metric,filter" and
// "metric_stderr,filter".
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <string>
#include <utility>

#include "base/utc.h"
#include "records/import_fields.h"

namespace marlin {
namespace {

using Imported = nlohmann::json;

constexpr double kLargestValue = 1e15;
constexpr std::string_view kStderr = "_stderr";

// Arguments of a model that numbers depend on. Others are not copied: some hold keys of services.
constexpr std::string_view kShownArguments[] = {
    "pretrained",      "model",          "peft",          "delta",      "gguf_file",           "tokenizer",
    "revision",        "dtype",          "quantization",  "autogptq",   "load_in_4bit",        "load_in_8bit",
    "backend",         "max_length",     "max_model_len", "truncation", "attn_implementation", "add_bos_token",
    "prefix_token_id", "enable_thinking"};

// A path of a machine loses its folders; "ORG/MODEL" stays.
std::string WithoutFolders(const std::string& name) {
  const bool is_path = name.find('\\') != std::string::npos ||
                       std::string_view("/.~").find(name[0]) != std::string::npos || std::ranges::count(name, '/') > 1;
  return is_path ? WithoutPath(name) : name;
}

using Arguments = std::vector<std::pair<std::string, std::string>>;

// Those of "pretrained=ORG/MODEL,dtype=bfloat16" or of an object, as far as they are shown.
Arguments ShownArguments(ImportFields& config, const Imported& config_json, Status& status) {
  if (!config.Has("model_args")) return {};
  const Imported& given = config_json.at("model_args");
  Arguments shown;
  for (const std::string_view name : kShownArguments) {
    std::optional<std::string> value;
    if (given.is_string()) {
      const std::string text = "," + given.get_ref<const std::string&>() + ",";
      const std::string key = fmt::format(",{}=", name);
      const std::size_t at = text.find(key);
      if (at == std::string::npos) continue;
      value = text.substr(at + key.size(), text.find(',', at + key.size()) - at - key.size());
    } else {
      value = ImportFields(given, config.where() + ".model_args", status).ScalarIf(name);
    }
    if (value && !value->empty()) shown.emplace_back(name, WithoutFolders(*value));
  }
  return shown;
}

std::string SettingsOf(ImportFields& run, ImportFields& config, const Arguments& arguments) {
  std::vector<std::string> words;
  if (const auto model = config.TextIf("model")) words.push_back("model " + *model);
  for (const auto& [name, value] : arguments) words.push_back(fmt::format("{}={}", name, value));
  for (const char* const name : {"batch_size", "limit", "bootstrap_iters"}) {
    if (const auto value = config.ScalarIf(name)) words.push_back(fmt::format("{} {}", name, *value));
  }
  if (const auto hash = run.TextIf("chat_template_sha")) words.push_back("chat template " + hash->substr(0, 12));
  if (const auto hash = run.TextIf("system_instruction_sha")) words.push_back("system text " + hash->substr(0, 12));
  if (const auto version = run.TextIf("transformers_version")) words.push_back("transformers " + *version);
  return JoinWords(words);
}

std::string NameOfModel(ImportFields& run, const Arguments& arguments) {
  if (const auto name = run.TextIf("model_name")) return WithoutFolders(*name);
  for (const auto& [name, value] : arguments) {
    if (name == "pretrained" || name == "model") return value;
  }
  run.Refuse("model_name", "is missing, and config.model_args names no model");
  return "";
}

std::optional<std::string> VersionOf(ImportFields& run) {
  const auto version = run.TextIf("lm_eval_version");
  const auto commit = run.TextIf("git_hash");
  if (version && commit) return fmt::format("{} (git {})", *version, *commit);
  return version ? version : commit ? std::optional("git " + *commit) : std::nullopt;
}

// Everything but the measurements.
ExternalRecord HeadOfRun(const Imported& file, ImportFields& run, Status& status) {
  static const Imported kNothing = Imported::object();
  ExternalRecord record;
  record.program = {"lm-evaluation-harness", VersionOf(run)};
  constexpr double kLastSecond = 253402300799;  // of the year 9999
  if (run.Has("date")) record.measured = UtcOf(static_cast<std::time_t>(run.Number("date", 0, kLastSecond)));
  const Imported& config_json = run.Has("config") ? file.at("config") : kNothing;
  ImportFields config(config_json, run.where() + ", config", status);
  if (!run.ok()) return record;
  const Arguments arguments = ShownArguments(config, config_json, status);
  record.settings = SettingsOf(run, config, arguments);
  if (record.settings->empty()) record.settings.reset();
  record.model.name = NameOfModel(run, arguments);
  std::vector<std::string> words;
  if (const auto count = config.ScalarIf("model_num_parameters")) words.push_back(*count + " parameters");
  for (const char* const name : {"model_dtype", "model_revision", "model_sha"}) {
    if (const auto value = config.TextIf(name)) words.push_back(fmt::format("{} {}", name, *value));
  }
  if (!words.empty()) record.model.description = JoinWords(words);
  if (const auto device = config.TextIf("device")) record.machine = "device " + *device;
  return record;
}

// What the file says of a task beside its results: file[section][task].
class TaskFacts {
 public:
  TaskFacts(const Imported& file, std::string where, Status& status)
      : file_(&file), where_(std::move(where)), status_(&status) {}

  std::string ProtocolOf(const std::string& task, const std::string& metric, const std::string& filter) const {
    const std::string version = Scalar("versions", task).value_or("not named");
    const auto shots = Scalar("n-shot", task);
    std::string text = fmt::format("task version {}, filter {}, {}, {}", version, filter,
                                   shots ? *shots + "-shot" : "shots not named", Samples(task));
    const Imported* const better = Find("higher_is_better", task);
    if (better == nullptr || !better->is_object()) return text;
    const auto found = better->find(metric);
    if (found == better->end() || !found->is_boolean()) return text;
    return text + (found->get<bool>() ? ", higher is better" : ", lower is better");
  }

 private:
  const Imported* Find(const char* section, const std::string& task) const {
    const auto tasks = file_->find(section);
    if (tasks == file_->end() || !tasks->is_object()) return nullptr;
    const auto found = tasks->find(task);
    return found == tasks->end() ? nullptr : &*found;
  }

  std::optional<std::string> Scalar(const char* section, const std::string& task) const {
    if (Find(section, task) == nullptr) return std::nullopt;
    return ImportFields(file_->at(section), fmt::format("{}, {}", where_, section), *status_).ScalarIf(task);
  }

  std::string Samples(const std::string& task) const {
    const Imported* const counts = Find("n-samples", task);
    if (counts == nullptr || counts->is_null()) return "samples not named";
    ImportFields fields(*counts, fmt::format("{}, n-samples.{}", where_, task), *status_);
    const std::uint64_t used = fields.Count("effective");
    return fields.Has("original") ? fmt::format("{} of {} samples", used, fields.Count("original"))
                                  : fmt::format("{} samples", used);
  }

  const Imported* file_;
  std::string where_;
  Status* status_;
};

bool IsNumberOrNothing(const Imported& x) {
  return x.is_number() || x.is_null() || (x.is_string() && (x == "N/A" || x == ""));
}

// Refuses a name that no task and no metric has.
bool IsTooLong(const std::string& name, ImportFields& fields) {
  if (name.size() <= kLongestImportText) return false;
  fields.Refuse(name.substr(0, 20) + "...",
                fmt::format("has a name of {} bytes, at most {} were wanted", name.size(), kLongestImportText));
  return true;
}

// The measurements of one task: every key with a comma that is no standard error.
void AddTask(const std::string& task, const Imported& results, const TaskFacts& facts, ImportFields& fields,
             std::vector<external::Measurement>& all) {
  for (const auto& [key, value] : results.items()) {
    const std::size_t comma = key.find(',');
    if (comma == std::string::npos || all.size() > kMostExternalMeasurements) continue;
    if (IsTooLong(key, fields)) return;
    const std::string metric = key.substr(0, comma);
    const std::string filter = key.substr(comma + 1);
    if (metric.ends_with(kStderr)) continue;
    external::Measurement x;
    x.what = fmt::format("{} {}", task, metric) + (filter == "none" ? "" : fmt::format(" ({})", filter));
    x.protocol = facts.ProtocolOf(task, metric, filter);
    x.value = fields.Number(key, -kLargestValue, kLargestValue);
    const std::string stderr_key = fmt::format("{}{},{}", metric, kStderr, filter);
    if (const auto found = results.find(stderr_key); found != results.end()) {
      if (!IsNumberOrNothing(*found)) fields.Refuse(stderr_key, "is neither a number nor \"N/A\"");
      if (found->is_number()) {
        x.error = fields.Number(stderr_key, 0, kLargestValue);
        x.error_kind = "standard error";
      }
    }
    all.push_back(std::move(x));
  }
}

}  // namespace

Result<std::vector<ExternalRecord>> ImportLmEval(const Imported& file, const std::string& where) {
  Status status;
  ImportFields run(file, where, status);
  ExternalRecord record = HeadOfRun(file, run, status);
  const Imported* const results = run.Object("results");
  if (!status.ok()) return status.error();
  const TaskFacts facts(file, where, status);
  ImportFields tasks(*results, where + ", results", status);
  for (const auto& [task, values] : results->items()) {
    if (IsTooLong(task, tasks)) return status.error();
    ImportFields fields(values, fmt::format("{}, results.{}", where, task), status);
    if (!status.ok()) return status.error();
    AddTask(task, values, facts, fields, record.measurements);
    if (!status.ok()) return status.error();
  }
  if (record.measurements.empty()) {
    run.Refuse(
        "results",
        "holds no number named \"metric,filter\"; a file of version 0.4 or later was wanted, and one of its tasks");
    return status.error();
  }
  return std::vector<ExternalRecord>{std::move(record)};
}

}  // namespace marlin
