#include "quantize/model_statistics.h"

#include <fmt/format.h>

#include <charconv>
#include <cstring>

#include "base/check.h"
#include "io/safetensors.h"
#include "io/safetensors_writer.h"

namespace marlin {
namespace {

constexpr const char* kLayout = "metal-marlin statistics 1";

std::string InputName(std::size_t layer, std::size_t input) { return LinearStem(layer, kInputs[input]) + ".input"; }

// The tensors of one input. T: InputStatistics or const InputStatistics; visit(suffix, values).
template <class T, class Visit>
void ForEachTensor(T& input, const Visit& visit) {
  visit(".sum_squares", input.sum_squares);
  visit(".sum_abs", input.sum_abs);
  visit(".max_abs", input.max_abs);
  if (!input.gram.empty()) visit(".gram", input.gram);
}

template <class V>
constexpr DType TypeOf() {
  return std::is_same_v<typename V::value_type, double> ? DType::kF64 : DType::kF32;
}

template <class V>
std::span<const std::uint8_t> Bytes(const V& values) {
  return {reinterpret_cast<const std::uint8_t*>(values.data()), values.size() * sizeof(values[0])};
}

std::map<std::string, std::string> Metadata(const ModelStatistics& statistics) {
  const StatisticsSource& source = statistics.source;
  std::map<std::string, std::string> metadata = {{"layout", kLayout},
                                                 {"model_sha256", source.model_sha256},
                                                 {"tokenizer_sha256", source.tokenizer_sha256},
                                                 {"text_name", source.text_name},
                                                 {"text_sha256", source.text_sha256},
                                                 {"ctx", std::to_string(source.ctx)},
                                                 {"windows", std::to_string(source.windows)},
                                                 {"seen", std::to_string(source.seen)},
                                                 {"layers", std::to_string(statistics.layers.size())}};
  const bool any = !statistics.layers.empty();
  metadata["tokens"] = std::to_string(any ? statistics.layers[0][0].tokens : 0);
  return metadata;
}

// What a file says of itself.
class Fields {
 public:
  Fields(const std::map<std::string, std::string>& metadata, std::string file)
      : metadata_(metadata), file_(std::move(file)) {}

  std::string Text(const std::string& key) {
    const auto found = metadata_.find(key);
    if (found != metadata_.end()) return found->second;
    Fail(fmt::format("\"{}\" is missing", key));
    return "";
  }
  std::size_t Number(const std::string& key, std::size_t most) {
    const std::string text = Text(key);
    std::size_t value = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (code != std::errc() || end != text.data() + text.size() || value > most) {
      Fail(fmt::format("\"{}\" is \"{}\", want a number up to {}", key, text, most));
    }
    return value;
  }
  void Fail(const std::string& why) {
    if (status_.ok()) {
      status_ = Error{ErrorCode::kInput, fmt::format("{} is not a file of calibration statistics that this program "
                                                     "reads: {}; make one with `metal-marlin calibrate`",
                                                     file_, why)};
    }
  }
  const Status& status() const { return status_; }

 private:
  const std::map<std::string, std::string>& metadata_;
  std::string file_;
  Status status_;
};

// One input from its tensors. Absent Gram matrices stay empty.
Status ReadInput(const SafetensorsFile& file, const std::string& path, const std::string& name,
                 InputStatistics& input) {
  const Tensor* first = FindTensor(file, name + ".sum_squares");
  const std::size_t k = first == nullptr ? 0 : first->elements();
  input.sum_squares.resize(k);
  input.sum_abs.resize(k);
  input.max_abs.resize(k);
  if (const Tensor* gram = FindTensor(file, name + ".gram")) input.gram.resize(gram->elements());
  Status status;
  ForEachTensor(input, [&](const char* suffix, auto& values) {
    if (!status.ok()) return;
    const Tensor* tensor = FindTensor(file, name + suffix);
    if (tensor == nullptr || tensor->dtype != TypeOf<std::decay_t<decltype(values)>>() ||
        tensor->bytes.size() != Bytes(values).size() || k == 0) {
      status = Error{ErrorCode::kInput,
                     fmt::format("{}: tensor {}{} is missing or has a wrong type or shape", path, name, suffix)};
      return;
    }
    if (!MatchesHash(file, *tensor)) {
      status =
          Error{ErrorCode::kCorrupt,
                fmt::format("{}: tensor {} does not match its hash; collect the statistics again", path, tensor->name)};
      return;
    }
    std::memcpy(values.data(), tensor->bytes.data(), tensor->bytes.size());
  });
  if (status.ok() && !input.gram.empty() && input.gram.size() != k * k) {
    status = Error{ErrorCode::kInput,
                   fmt::format("{}: tensor {}.gram has {} elements, want {}", path, name, input.gram.size(), k * k)};
  }
  return status;
}

}  // namespace

std::size_t InputIndex(Slot slot) {
  for (std::size_t i = 0; i < std::size(kInputs); ++i) {
    for (const Slot sharing : SlotsThatShare(kInputs[i])) {
      if (sharing == slot) return i;
    }
  }
  MARLIN_CHECK(false, "every slot has an input");
}

std::uint64_t StatisticsBytes(const ModelConfig& config, bool gram) {
  std::uint64_t bytes = 0;
  for (const Slot first : kInputs) {
    const std::uint64_t k = kLinearSlots[first].cols(config);
    bytes += k * (2 * sizeof(double) + sizeof(float)) + (gram ? k * k * sizeof(float) : 0);
  }
  return bytes * config.layers;
}

Status WriteStatistics(const ModelStatistics& statistics, const std::filesystem::path& file) {
  std::vector<PlannedTensor> plan;
  const auto for_each = [&](const auto& visit) {
    for (std::size_t layer = 0; layer < statistics.layers.size(); ++layer) {
      for (std::size_t i = 0; i < std::size(kInputs); ++i) {
        const InputStatistics& input = statistics.layers[layer][i];
        ForEachTensor(input, [&](const char* suffix, const auto& values) {
          visit(InputName(layer, i) + suffix, values, input.channels());
        });
      }
    }
  };
  for_each([&](const std::string& name, const auto& values, std::size_t k) {
    std::vector<std::size_t> shape = {k};
    if (values.size() != k) shape.push_back(k);
    plan.push_back({name, TypeOf<std::decay_t<decltype(values)>>(), shape});
  });
  auto writer = SafetensorsWriter::CreateFile(file, std::move(plan), Metadata(statistics));
  if (!writer) return writer.error();
  Status status;
  for_each([&](const std::string& name, const auto& values, std::size_t) {
    if (status.ok()) status = writer->Write(name, Bytes(values));
  });
  return status.ok() ? writer->Commit() : status;
}

Result<ModelStatistics> ReadStatistics(const std::filesystem::path& path) {
  const auto file = OpenSafetensors(path);
  if (!file) return file.error();
  Fields fields(file->metadata, path.string());
  if (const std::string layout = fields.Text("layout"); fields.status().ok() && layout != kLayout) {
    fields.Fail(fmt::format("its layout is \"{}\", want \"{}\"", layout, kLayout));
  }
  constexpr std::size_t kMost = 1'000'000'000;
  ModelStatistics statistics;
  statistics.source = {fields.Text("model_sha256"), fields.Text("tokenizer_sha256"), fields.Text("text_name"),
                       fields.Text("text_sha256"),  fields.Number("ctx", kMost),     fields.Number("windows", kMost),
                       fields.Number("seen", kMost)};
  const std::size_t tokens = fields.Number("tokens", kMost * 1000);
  const std::size_t layers = fields.Number("layers", file->tensors.size());
  if (!fields.status().ok()) return fields.status().error();
  statistics.layers.resize(layers);
  for (std::size_t layer = 0; layer < layers; ++layer) {
    for (std::size_t i = 0; i < std::size(kInputs); ++i) {
      InputStatistics& input = statistics.layers[layer][i];
      if (auto status = ReadInput(*file, path.string(), InputName(layer, i), input); !status) return status.error();
      input.tokens = tokens;
      if (auto status = CheckStatistics(input, input.channels()); !status) {
        return Error{status.error().code,
                     fmt::format("{}: {}: {}", path.string(), InputName(layer, i), status.error().message)};
      }
    }
  }
  return statistics;
}

Status CheckBelongs(const ModelStatistics& statistics, const ModelConfig& config, const std::string& model_sha256,
                    const std::string& tokenizer_sha256) {
  const StatisticsSource& source = statistics.source;
  const auto other = [](const char* what, const std::string& got, const std::string& want) {
    return Error{ErrorCode::kInput, fmt::format("the calibration statistics belong to another {}: sha256 {}, this one "
                                                "has {}; collect them anew with `metal-marlin calibrate`",
                                                what, got.substr(0, 12), want.substr(0, 12))};
  };
  if (source.model_sha256 != model_sha256) return other("model", source.model_sha256, model_sha256);
  if (source.tokenizer_sha256 != tokenizer_sha256) return other("tokenizer", source.tokenizer_sha256, tokenizer_sha256);
  if (statistics.layers.size() != config.layers) {
    return Error{ErrorCode::kInput, fmt::format("the calibration statistics have {} layers, the model has {}",
                                                statistics.layers.size(), config.layers)};
  }
  for (std::size_t layer = 0; layer < config.layers; ++layer) {
    for (std::size_t i = 0; i < std::size(kInputs); ++i) {
      const std::size_t want = kLinearSlots[kInputs[i]].cols(config);
      const std::size_t got = statistics.layers[layer][i].channels();
      if (got == want) continue;
      return Error{ErrorCode::kInput, fmt::format("{}: the calibration statistics have {} channels, the layer has {}",
                                                  InputName(layer, i), got, want)};
    }
  }
  return {};
}

Status Merge(ModelStatistics& into, const ModelStatistics& from) {
  if (into.source.model_sha256 != from.source.model_sha256 ||
      into.source.tokenizer_sha256 != from.source.tokenizer_sha256 || into.layers.size() != from.layers.size()) {
    return Error{ErrorCode::kInput, "statistics of two models cannot be merged: their hashes differ"};
  }
  for (std::size_t layer = 0; layer < into.layers.size(); ++layer) {
    for (std::size_t i = 0; i < std::size(kInputs); ++i) {
      if (auto status = Merge(into.layers[layer][i], from.layers[layer][i]); !status) return status;
    }
  }
  StatisticsSource& source = into.source;
  source.text_name += " + " + from.source.text_name;
  source.text_sha256 += " + " + from.source.text_sha256;
  source.windows += from.source.windows;
  source.seen += from.source.seen;
  return {};
}

std::vector<std::string> DescribeSilentChannels(const ModelStatistics& statistics) {
  std::vector<std::string> lines;
  for (std::size_t layer = 0; layer < statistics.layers.size(); ++layer) {
    for (std::size_t i = 0; i < std::size(kInputs); ++i) {
      const InputStatistics& input = statistics.layers[layer][i];
      const std::size_t silent = SilentChannels(input).size();
      if (silent == 0) continue;
      lines.push_back(fmt::format("{}: {} of {} channels", LinearStem(layer, kInputs[i]), silent, input.channels()));
    }
  }
  return lines;
}

}  // namespace marlin
