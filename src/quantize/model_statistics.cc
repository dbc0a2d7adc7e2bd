#include "quantize/model_statistics.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <functional>
#include <optional>
#include <utility>

#include "base/check.h"
#include "files/safetensors.h"
#include "files/safetensors_writer.h"

namespace marlin {
namespace {

constexpr const char* kLayout = "metal-marlin statistics 1";

constexpr std::string_view kInputSuffix = ".input";

std::string InputName(const ModelStatistics& statistics, std::size_t block, std::size_t input) {
  return statistics.names[block][input] + std::string(kInputSuffix);
}

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
                                                 {"layers", std::to_string(statistics.blocks.size())}};
  const bool any = !statistics.blocks.empty();
  if (!source.arithmetic.empty()) metadata["arithmetic"] = source.arithmetic;
  metadata["tokens"] = std::to_string(any ? statistics.blocks[0][0].tokens : 0);
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

std::vector<std::vector<std::string>> InputNames(const Description& description) {
  std::vector<std::vector<std::string>> names;
  for (const Block& block : description.blocks) {
    std::vector<std::string>& of_block = names.emplace_back();
    for (const Input& input : block.inputs) of_block.push_back(block.FirstOf(input).name);
  }
  return names;
}

namespace {

std::uint64_t BytesOf(const Block& block, bool gram) {
  std::uint64_t bytes = 0;
  for (const Input& input : block.inputs) {
    const std::uint64_t k = block.FirstOf(input).cols;
    bytes += k * (2 * sizeof(double) + sizeof(float)) + (gram ? k * k * sizeof(float) : 0);
  }
  return bytes;
}

}  // namespace

std::uint64_t StatisticsBytes(const Description& description, bool gram) {
  std::uint64_t bytes = 0;
  for (const Block& block : description.blocks) bytes += BytesOf(block, gram);
  return bytes;
}

std::uint64_t LargestBlockStatistics(const Description& description, bool gram) {
  std::uint64_t most = 0;
  for (const Block& block : description.blocks) most = std::max(most, BytesOf(block, gram));
  return most;
}

namespace {

// The statistics of one input; valid until the next call.
using InputSource = std::function<Result<const InputStatistics*>(std::size_t block, std::size_t input)>;

// `moments` says which tensors there are; X^T X is written where it is in them or where `gram` says so.
Status WriteInputs(const ModelStatistics& moments, bool gram, const std::filesystem::path& file,
                   const InputSource& inputs) {
  std::vector<PlannedTensor> plan;
  const auto for_each = [&](const auto& visit) {
    for (std::size_t b = 0; b < moments.blocks.size(); ++b) {
      for (std::size_t i = 0; i < moments.blocks[b].size(); ++i) visit(b, i);
    }
  };
  for_each([&](std::size_t b, std::size_t i) {
    const InputStatistics& input = moments.blocks[b][i];
    const std::string name = InputName(moments, b, i);
    const std::size_t k = input.channels();
    for (const char* suffix : {".sum_squares", ".sum_abs"}) plan.push_back({name + suffix, DType::kF64, {k}});
    plan.push_back({name + ".max_abs", DType::kF32, {k}});
    if (k > 0 && (gram || !input.gram.empty())) plan.push_back({name + ".gram", DType::kF32, {k, k}});
  });
  auto writer = SafetensorsWriter::CreateFile(file, std::move(plan), Metadata(moments));
  if (!writer) return writer.error();
  Status status;
  for_each([&](std::size_t b, std::size_t i) {
    if (!status.ok()) return;
    const auto input = inputs(b, i);
    if (!input) {
      status = input.error();
      return;
    }
    ForEachTensor(**input, [&](const char* suffix, const auto& values) {
      if (status.ok()) status = writer->Write(InputName(moments, b, i) + suffix, Bytes(values));
    });
  });
  return status.ok() ? writer->Commit() : status;
}

}  // namespace

Status WriteStatistics(const ModelStatistics& statistics, const std::filesystem::path& file) {
  return WriteInputs(statistics, false, file, [&](std::size_t block, std::size_t input) {
    return Result<const InputStatistics*>(&statistics.blocks[block][input]);
  });
}

ModelGatherer::ModelGatherer(Backend& backend, bool gram, ModelStatistics so_far) : moments_(std::move(so_far)) {
  for (BlockStatistics& block : moments_.blocks) {
    std::vector<StatisticsGatherer>& gatherers = blocks_.emplace_back();
    for (InputStatistics& input : block) gatherers.emplace_back(backend, gram, std::exchange(input, {}));
  }
}

Status ModelGatherer::Add(std::size_t block, std::size_t input, const DeviceTensor& x) {
  return blocks_[block][input].Add(x, {moments_.source.seen, moments_.names[block][input]});
}

Status ModelGatherer::Write(const std::filesystem::path& file) {
  bool gram = false;
  for (std::size_t b = 0; b < blocks_.size(); ++b) {
    for (std::size_t i = 0; i < blocks_[b].size(); ++i) {
      moments_.blocks[b][i] = blocks_[b][i].moments();
      gram = gram || blocks_[b][i].has_gram();
    }
  }
  InputStatistics read;
  return WriteInputs(moments_, gram, file, [&](std::size_t block, std::size_t input) -> Result<const InputStatistics*> {
    if (auto status = blocks_[block][input].Read().MoveTo(read); !status) return status.error();
    return &read;
  });
}

Result<ModelStatistics> ModelGatherer::Finish() && {
  for (std::size_t b = 0; b < blocks_.size(); ++b) {
    if (auto status = FinishAll(blocks_[b]).MoveTo(moments_.blocks[b]); !status) return status.error();
  }
  return std::move(moments_);
}

namespace {

// The number of the block in a name: "model.layers.3.mlp.down_proj" has 3.
std::optional<std::size_t> BlockOf(std::string_view name) {
  while (!name.empty()) {
    const std::string_view word = name.substr(0, name.find('.'));
    std::size_t number = 0;
    const auto [end, code] = std::from_chars(word.data(), word.data() + word.size(), number);
    if (code == std::errc() && end == word.data() + word.size()) return number;
    name.remove_prefix(std::min(name.size(), word.size() + 1));
  }
  return std::nullopt;
}

// The inputs that a file has, in its order. Errors: kInput (a block that there is not).
Status ListInputs(const SafetensorsFile& file, const std::string& path, ModelStatistics& statistics) {
  const std::string ending = std::string(kInputSuffix) + ".sum_squares";
  for (const Tensor& tensor : file.tensors) {
    if (!tensor.name.ends_with(ending)) continue;
    const std::string name = tensor.name.substr(0, tensor.name.size() - ending.size());
    const auto block = BlockOf(name);
    if (!block || *block >= statistics.names.size()) {
      return Error{ErrorCode::kInput, fmt::format("{}: tensor {} belongs to none of the {} layers", path, tensor.name,
                                                  statistics.names.size())};
    }
    statistics.names[*block].push_back(name);
  }
  for (std::size_t b = 0; b < statistics.names.size(); ++b) {
    if (statistics.names[b].empty()) {
      return Error{ErrorCode::kInput, fmt::format("{}: the statistics of layer {} are missing", path, b)};
    }
    statistics.blocks[b].resize(statistics.names[b].size());
  }
  return {};
}

}  // namespace

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
  if (file->metadata.contains("arithmetic")) statistics.source.arithmetic = fields.Text("arithmetic");
  const std::size_t tokens = fields.Number("tokens", kMost * 1000);
  const std::size_t layers = fields.Number("layers", file->tensors.size());
  if (!fields.status().ok()) return fields.status().error();
  statistics.names.resize(layers);
  statistics.blocks.resize(layers);
  if (auto status = ListInputs(*file, path.string(), statistics); !status) return status.error();
  for (std::size_t b = 0; b < layers; ++b) {
    for (std::size_t i = 0; i < statistics.blocks[b].size(); ++i) {
      InputStatistics& input = statistics.blocks[b][i];
      const std::string name = InputName(statistics, b, i);
      if (auto status = ReadInput(*file, path.string(), name, input); !status) return status.error();
      input.tokens = tokens;
      if (auto status = CheckStatistics(input, input.channels()); !status) {
        return Error{status.error().code, fmt::format("{}: {}: {}", path.string(), name, status.error().message)};
      }
    }
  }
  return statistics;
}

Status CheckBelongs(const ModelStatistics& statistics, const Description& description, const std::string& model_sha256,
                    const std::string& tokenizer_sha256) {
  const StatisticsSource& source = statistics.source;
  const auto other = [](const char* what, const std::string& got, const std::string& want) {
    return Error{ErrorCode::kInput, fmt::format("the calibration statistics belong to another {}: sha256 {}, this one "
                                                "has {}; collect them anew with `metal-marlin calibrate`",
                                                what, got.substr(0, 12), want.substr(0, 12))};
  };
  if (source.model_sha256 != model_sha256) return other("model", source.model_sha256, model_sha256);
  if (source.tokenizer_sha256 != tokenizer_sha256) return other("tokenizer", source.tokenizer_sha256, tokenizer_sha256);
  if (statistics.blocks.size() != description.blocks.size()) {
    return Error{ErrorCode::kInput, fmt::format("the calibration statistics have {} layers, the model has {}",
                                                statistics.blocks.size(), description.blocks.size())};
  }
  const auto names = InputNames(description);
  for (std::size_t b = 0; b < names.size(); ++b) {
    if (statistics.names[b] != names[b]) {
      return Error{ErrorCode::kInput,
                   fmt::format("the calibration statistics of layer {} are of {}, want {}; collect them anew with "
                               "`metal-marlin calibrate`",
                               b, fmt::join(statistics.names[b], ", "), fmt::join(names[b], ", "))};
    }
    const Block& block = description.blocks[b];
    for (std::size_t i = 0; i < names[b].size(); ++i) {
      const std::size_t want = block.FirstOf(block.inputs[i]).cols;
      const std::size_t got = statistics.blocks[b][i].channels();
      if (got == want) continue;
      return Error{ErrorCode::kInput, fmt::format("{}: the calibration statistics have {} channels, the layer has {}",
                                                  InputName(statistics, b, i), got, want)};
    }
  }
  return {};
}

Status Merge(ModelStatistics& into, const ModelStatistics& from) {
  if (into.source.model_sha256 != from.source.model_sha256 ||
      into.source.tokenizer_sha256 != from.source.tokenizer_sha256 || into.names != from.names) {
    return Error{ErrorCode::kInput, "statistics of two models cannot be merged: their hashes differ"};
  }
  for (std::size_t b = 0; b < into.blocks.size(); ++b) {
    for (std::size_t i = 0; i < into.blocks[b].size(); ++i) {
      if (auto status = Merge(into.blocks[b][i], from.blocks[b][i]); !status) return status;
    }
  }
  StatisticsSource& source = into.source;
  source.text_name += " + " + from.source.text_name;
  source.text_sha256 += " + " + from.source.text_sha256;
  if (source.arithmetic != from.source.arithmetic) source.arithmetic += " + " + from.source.arithmetic;
  source.windows += from.source.windows;
  source.seen += from.source.seen;
  return {};
}

std::vector<std::string> DescribeSilentChannels(const ModelStatistics& statistics) {
  std::vector<std::string> lines;
  for (std::size_t b = 0; b < statistics.blocks.size(); ++b) {
    for (std::size_t i = 0; i < statistics.blocks[b].size(); ++i) {
      const InputStatistics& input = statistics.blocks[b][i];
      const std::size_t silent = SilentChannels(input).size();
      if (silent == 0) continue;
      lines.push_back(fmt::format("{}: {} of {} channels", statistics.names[b][i], silent, input.channels()));
    }
  }
  return lines;
}

}  // namespace marlin
