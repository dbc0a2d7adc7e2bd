// llama-bench: one object for each test, in an array (`-o json`) or one a line (`-o jsonl`).
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <tuple>
#include <utility>

#include "records/import_fields.h"
#include "records/record_check.h"

namespace marlin {
namespace {

constexpr double kLeastTokensPerSecond = 1e-9;
constexpr double kMostTokensPerSecond = 1e12;
// The samples are printed with six digits, the mean with six decimals.
constexpr double kRounding = 1e-3;

// What is named with each number, as the program names it. Builds differ in the fields that they know.
struct Setting {
  const char* name;
  bool required;
};
constexpr Setting kSettings[] = {
    {"n_prompt", true},   {"n_gen", true},       {"n_depth", false},  {"n_batch", true},       {"n_ubatch", false},
    {"n_threads", true},  {"type_k", true},      {"type_v", true},    {"flash_attn", false},   {"n_gpu_layers", false},
    {"n_cpu_moe", false}, {"split_mode", false}, {"main_gpu", false}, {"tensor_split", false}, {"no_kv_offload", false},
    {"devices", false},   {"load_mode", false},  {"use_mmap", false}, {"embeddings", false},
};

std::string Protocol(ImportFields& fields, std::size_t repetitions) {
  std::vector<std::string> words;
  for (const Setting& setting : kSettings) {
    if (!setting.required && !fields.Has(setting.name)) continue;
    if (const auto value = setting.required ? fields.Scalar(setting.name) : fields.ScalarIf(setting.name)) {
      words.push_back(fmt::format("{} {}", setting.name, *value));
    }
  }
  words.push_back(fmt::format("{} {}", repetitions, repetitions == 1 ? "repetition" : "repetitions"));
  return JoinWords(words);
}

// As the program's own tables name a test: "pp512", "tg128 @ d4096", "pp512+tg128".
std::string NameOfTest(ImportFields& fields) {
  const std::uint64_t prompt = fields.Count("n_prompt");
  const std::uint64_t generated = fields.Count("n_gen");
  const std::uint64_t depth = fields.Has("n_depth") ? fields.Count("n_depth") : 0;
  if (prompt == 0 && generated == 0) fields.Refuse("n_prompt", "and n_gen are both 0, one of them above 0 was wanted");
  std::string name = prompt > 0 ? fmt::format("pp{}", prompt) : "";
  if (generated > 0) name += fmt::format("{}tg{}", prompt > 0 ? "+" : "", generated);
  return depth > 0 ? fmt::format("{} @ d{}", name, depth) : name;
}

external::Measurement MeasurementOf(ImportFields& fields) {
  external::Measurement x;
  x.what = NameOfTest(fields);
  x.value = fields.Number("avg_ts", kLeastTokensPerSecond, kMostTokensPerSecond);
  x.unit = "tok/s";
  const double deviation = fields.Number("stddev_ts", 0, kMostTokensPerSecond);
  x.samples = fields.Numbers("samples_ts", kLeastTokensPerSecond, kMostTokensPerSecond);
  x.protocol = Protocol(fields, x.samples->size());
  // The deviation of a single sample is written as 0 and says nothing.
  if (x.samples->size() > 1) {
    x.error = deviation;
    x.error_kind = "standard deviation";
  }
  if (!fields.ok()) return x;
  const double mean =
      std::accumulate(x.samples->begin(), x.samples->end(), 0.0) / static_cast<double>(x.samples->size());
  if (std::abs(mean - x.value) > kRounding * std::max(mean, x.value)) {
    fields.Refuse("avg_ts", fmt::format("is {}, the mean of samples_ts is {}", x.value, mean));
  }
  return x;
}

// The record that the entry belongs to, without measurements.
ExternalRecord HeadOf(ImportFields& fields) {
  ExternalRecord record;
  record.program.name = "llama-bench";
  const std::string commit = fields.Text("build_commit");
  record.program.version = fields.Has("build_number")
                               ? fmt::format("build {} ({})", fields.Count("build_number"), commit)
                               : "build " + commit;
  record.model.name = fields.Text("model_filename");
  std::vector<std::string> words;
  if (const auto type = fields.TextIf("model_type")) words.push_back(*type);
  if (fields.Has("model_n_params")) words.push_back(fmt::format("{} parameters", fields.Count("model_n_params")));
  if (fields.Has("model_size")) words.push_back(fmt::format("{} bytes of tensors", fields.Count("model_size")));
  if (!words.empty()) record.model.description = JoinWords(words);
  std::vector<std::string> machine;
  if (const auto backends = fields.TextIf("backends")) machine.push_back("backend " + *backends);
  for (const char* const part : {"gpu_info", "cpu_info"}) {
    if (auto name = fields.TextIf(part)) machine.push_back(name->substr(0, name->find_last_not_of(' ') + 1));
  }
  if (!machine.empty()) record.machine = JoinWords(machine);
  if (const auto time = fields.TextIf("test_time")) {
    if (!IsUtcTime(*time)) fields.Refuse("test_time", "is not a time like 2025-01-31T23:59:59Z");
    record.measured = time;
  }
  return record;
}

bool BelongTogether(const ExternalRecord& a, const ExternalRecord& b) {
  return std::tie(a.program.version, a.model.name, a.model.description, a.machine) ==
         std::tie(b.program.version, b.model.name, b.model.description, b.machine);
}

}  // namespace

Result<std::vector<ExternalRecord>> ImportLlamaBench(const std::vector<ImportEntry>& entries) {
  std::vector<ExternalRecord> records;  // with whole paths, since two models may differ in nothing else
  for (const ImportEntry& entry : entries) {
    Status status;
    ImportFields fields(entry.json, entry.where, status);
    ExternalRecord head = HeadOf(fields);
    external::Measurement measurement = MeasurementOf(fields);
    if (!status.ok()) return status.error();
    auto found = std::ranges::find_if(records, [&](const ExternalRecord& x) { return BelongTogether(x, head); });
    if (found == records.end()) found = records.insert(records.end(), head);
    found->measured = std::max(found->measured, head.measured);
    found->measurements.push_back(std::move(measurement));
  }
  for (ExternalRecord& record : records) record.model.name = WithoutPath(record.model.name);
  return records;
}

}  // namespace marlin
