#include "records/keys.h"

#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/sha256.h"
#include "records/derive.h"

namespace marlin {
namespace {

using KeyInputs = nlohmann::json;  // sorts its names

std::string Hash(const KeyInputs& json) {
  return Sha256Hex(json.dump(-1, ' ', false, KeyInputs::error_handler_t::replace));
}

// Fields that are absent are left out, so that a new optional field changes no key of a record without it.
template <class T>
void Add(KeyInputs& json, const char* name, const std::optional<T>& value) {
  if (value) json[name] = *value;
}

// The weights of the row: what they were made from, and how.
KeyInputs WeightInputs(const Record& record) {
  const record::Config& config = record.config;
  KeyInputs json = {{"model", record.model.sha256}, {"config", config.id}, {"method", config.method}};
  if (config.quantized_embeddings) json["embeddings"] = true;
  if (config.quantized_head) json["head"] = true;
  Add(json, "accepted_unknown", record.model.accepted_unknown);
  Add(json, "method_versions", config.method_versions);
  Add(json, "plan", config.plan_sha256);
  Add(json, "budget", config.budget_bytes);
  Add(json, "imported", config.import_sha256);
  if (const auto& text = config.calibration) json["calibration"] = {text->sha256, text->windows, text->ctx};
  return json;
}

KeyInputs TimingInputs(const record::TimingProtocol& x) { return {x.id, x.warmup, x.iterations, x.trim_sigma}; }

}  // namespace

std::string QualityKey(const Record& record) {
  MARLIN_CHECK(record.perplexity.has_value(), "a protocol of the perplexity");
  const record::Perplexity& x = *record.perplexity;
  KeyInputs json = WeightInputs(record);
  json["measurement"] = "quality";
  json["protocol"] = {x.protocol, x.metric_version, x.bos, x.ctx, x.windows};
  json["text"] = x.text.sha256;
  json["tokenizer"] = x.tokenizer_sha256;
  json["arithmetic"] = ArithmeticOf(record);
  if (record.divergence) json["divergence"] = {record.divergence->protocol, record.divergence->metric_version};
  return Hash(json);
}

std::string NoiseFloorKey(const Record& record, const std::string& other, std::uint64_t windows) {
  return Hash({{"measurement", "noise floor"}, {"of", QualityKey(record)}, {"other", other}, {"windows", windows}});
}

std::string SpeedKey(const Record& record, bool kernels) {
  MARLIN_CHECK(record.throughput.has_value(), "a protocol of the timing");
  const record::Throughput& x = *record.throughput;
  const record::Machine& machine = record.machine;
  KeyInputs json = WeightInputs(record);
  json["measurement"] = "speed";
  json["binary"] = record.program.binary_sha256.value_or("");
  json["machine"] = {machine.cpu, machine.threads, machine.isa, machine.affinity};
  if (machine.device) json["machine"].push_back(*machine.device);
  json["arithmetic"] = x.arithmetic.value_or("");
  json["prefill"] = TimingInputs(x.protocol);
  json["decode"] = TimingInputs(DecodeProtocol(x));
  json["kernels"] = kernels;
  return Hash(json);
}

std::string ExternalKey(const std::string& sha256, std::size_t part) {
  return Hash({{"measurement", "external"}, {"file", sha256}, {"part", part}});
}

std::string RowIdentity(const Record& record) {
  KeyInputs json = WeightInputs(record);
  json.erase("method_versions");  // a newer version takes the place of an older one
  json["kind"] = static_cast<int>(record.config.kind);
  if (const auto& text = record.config.calibration) json["calibration_name"] = text->name;
  json["int8"] = record.machine.activations == "int8";
  return json.dump(-1, ' ', false, KeyInputs::error_handler_t::replace);
}

std::string IdOfKey(const std::string& key) { return key.substr(0, 16); }

}  // namespace marlin
