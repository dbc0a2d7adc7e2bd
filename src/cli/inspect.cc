// inspect: shows a model, and its size and memory in each configuration.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <ranges>

#include "base/file.h"
#include "cli/model_names.h"
#include "cli/model_options.h"
#include "cli/verb.h"
#include "files/checkpoint.h"
#include "files/quantized_layout.h"
#include "formats/formats.h"
#include "model/model.h"
#include "model/sizes.h"
#include "quantize/quantize_model.h"
#include "text/end_tokens.h"
#include "text/tokenizer.h"

namespace marlin {
namespace {
using nlohmann::json;

constexpr std::size_t kContext = 512;  // of the memory estimate

struct InspectArguments {
  std::string model;
  std::string tokenize;
  std::vector<std::string> accept_unknown;
};

struct Weighed {
  std::string config;
  std::uint64_t model_bytes = 0;
  double bits_per_weight = 0;      // quantized tensors
  std::uint64_t memory_bytes = 0;  // to decode with a context of kContext: an estimate
  bool common = true;              // no format of another program
};

std::vector<Weighed> Weigh(const Description& description) {
  const std::uint64_t session = SessionBytes(description, kContext, kContext);
  const std::uint64_t fp16 = ModelBytes(description, nullptr);
  std::vector<Weighed> rows = {{"f16", fp16, 16, fp16 + session}};
  for (const FormatRow& format : Formats()) {
    if (format.info.group == 0) continue;
    const std::uint64_t bytes = StoredBytes(description, &format);
    const double bits =
        8.0 * static_cast<double>(LinearBytes(description, format)) / static_cast<double>(LinearWeights(description));
    rows.push_back({std::string(format.info.name), bytes, bits, bytes + session, format.info.common});
  }
  std::ranges::stable_partition(rows, &Weighed::common);
  return rows;
}

struct Counted {
  std::size_t tensors = 0;
  std::uint64_t bytes = 0;
  std::uint64_t elements = 0;
  double bits_per_element() const { return 8.0 * static_cast<double>(bytes) / static_cast<double>(elements); }
};

// By the file's names of the types.
std::map<std::string, Counted> CountTypes(const Checkpoint& checkpoint) {
  std::map<std::string, Counted> types;
  for (const Tensor& tensor : checkpoint.tensors) {
    Counted& counted = types[std::string(Info(tensor.dtype).name)];
    counted.tensors += 1;
    counted.bytes += tensor.byte_size();
    counted.elements += tensor.elements();
  }
  return types;
}

// "GGUF", or where the name of the types is none of them: "GGUF; Q4_K, Q6_K, F32", those of most elements first.
std::string DescribeContainer(const Checkpoint& checkpoint) {
  if (checkpoint.container != Container::kGguf) return "safetensors";
  const auto types = CountTypes(checkpoint);
  if (types.contains(SourceType(checkpoint))) return "GGUF";
  std::vector<std::pair<std::string, Counted>> order(types.begin(), types.end());
  std::ranges::stable_sort(order, std::ranges::greater(), [](const auto& row) { return row.second.elements; });
  return fmt::format("GGUF; {}", fmt::join(order | std::views::keys, ", "));
}

// Bytes of the tensors of a quantized GGUF file; empty if none is quantized.
std::optional<std::uint64_t> QuantizedBytes(const Checkpoint& checkpoint) {
  if (!IsQuantizedSource(checkpoint)) return std::nullopt;
  std::uint64_t bytes = 0;
  for (const Tensor& tensor : checkpoint.tensors) bytes += tensor.byte_size();
  return bytes;
}

void PrintModel(const Checkpoint& checkpoint, const Description& description, Console& console) {
  const Dimensions sizes = DimensionsOf(description);
  console.Result(fmt::format("{}", checkpoint.name));
  console.Result(
      fmt::format("  architecture   {}, {} layers, hidden {}, {} heads ({} for keys and values) of {}, "
                  "intermediate {}",
                  description.architecture, description.blocks.size(), description.hidden_size, sizes.heads,
                  sizes.kv_heads, sizes.head_dim, sizes.intermediate_size));
  const Matrix& head = description.matrices[description.head];
  console.Result(
      fmt::format("  parameters     {} ({})", CountParameters(description),
                  description.tied_head()
                      ? "the head is the embedding"
                      : fmt::format("{} of them in an output matrix beside the embedding", head.rows * head.cols)));
  console.Result(fmt::format("  vocabulary     {}, context {}", description.vocab_size, description.max_context));
  console.Result(fmt::format("  weights from   {} ({})", SourceType(checkpoint), DescribeContainer(checkpoint)));
  if (!checkpoint.left_out.empty()) {
    constexpr std::size_t kShown = 3;
    const std::size_t shown = std::min(checkpoint.left_out.size(), kShown);
    console.Result(fmt::format("  left out       {} tensors that the model does not use: {}{}",
                               checkpoint.left_out.size(),
                               fmt::join(checkpoint.left_out.begin(), checkpoint.left_out.begin() + shown, ", "),
                               shown < checkpoint.left_out.size() ? ", ..." : ""));
  }
  // Elements of a folder made by quantize are packed codes, not weights.
  const bool packed = checkpoint.config.contains("quantization_config");
  for (const auto& [type, counted] : CountTypes(checkpoint)) {
    std::string line = fmt::format("    {:<8} {:>4} tensors, {}", type, counted.tensors,
                                   FormatBytes(static_cast<double>(counted.bytes)));
    if (!packed) line += fmt::format(", {:.7g} bits per weight", counted.bits_per_element());
    console.Result(line);
  }
}

// Sizes of a folder made by quantize, instead of sizes of configurations.
void PrintStored(const StoredSizes& sizes, const Description& description, Console& console) {
  const std::uint64_t fp16 = ModelBytes(description, nullptr);
  console.Result(fmt::format("  tensors        {}, compression {:.3f}, {:.4f} bits per weight of the quantized tensors",
                             FormatBytes(static_cast<double>(sizes.model_bytes)),
                             static_cast<double>(fp16) / static_cast<double>(sizes.model_bytes),
                             sizes.bits_per_weight()));
  console.Result(fmt::format("  memory         {} to decode with {} tokens, estimated: tensors and work space",
                             FormatBytes(static_cast<double>(sizes.model_bytes) +
                                         static_cast<double>(SessionBytes(description, kContext, kContext))),
                             kContext));
}

// What formats the quantized tensors have, and by which plan.
void PrintFormats(const StoredSizes& sizes, const std::optional<MadeBy>& made, Console& console) {
  const std::string plan =
      !made || made->plan_sha256.empty()
          ? ""
          : fmt::format(", by a plan{} (sha256 {}...)", made->plan_budget.empty() ? "" : " for " + made->plan_budget,
                        made->plan_sha256.substr(0, 12));
  const char* const which = sizes.formats.size() > 1 ? "mixed" : "the same for all quantized tensors";
  console.Result(fmt::format("  formats        {}{}", which, plan));
  for (const auto& [name, format] : sizes.formats) {
    console.Result(fmt::format("    {:<9} {:>4} tensors, {} weights", name, format.tensors, format.weights));
  }
}

json ToJson(const std::map<std::string, StoredFormat>& formats) {
  json document = json::object();
  for (const auto& [name, format] : formats) {
    document[name] = {{"tensors", format.tensors}, {"weights", format.weights}};
  }
  return document;
}

// "gptq, calibrated on c4 (sha256 0123456789ab..., 128 windows of 512 tokens)"
std::string Describe(const MadeBy& made) {
  if (made.text_name.empty()) return made.method + ", without a calibration text";
  return fmt::format("{}, calibrated on {} (sha256 {}..., {} windows of {} tokens)", made.method, made.text_name,
                     made.text_sha256.substr(0, 12), made.windows, made.ctx);
}

void PrintWeighed(const std::vector<Weighed>& rows, const Checkpoint& checkpoint, Console& console) {
  console.Result(fmt::format("  {:<12} {:>10} {:>12} {:>16} {:>18}", "config", "tensors", "compression",
                             "bits per weight", "memory, estimated"));
  const auto fp16 = static_cast<double>(rows[0].model_bytes);
  for (const Weighed& row : rows) {
    if (!row.common && (&row)[-1].common) console.Result("  of other programs, for `quantize --to`:");
    console.Result(fmt::format("  {:<12} {:>10} {:>12.3f} {:>16.4f} {:>18}", row.config,
                               FormatBytes(static_cast<double>(row.model_bytes)),
                               fp16 / static_cast<double>(row.model_bytes), row.bits_per_weight,
                               FormatBytes(static_cast<double>(row.memory_bytes))));
  }
  const std::optional<std::uint64_t> stored = QuantizedBytes(checkpoint);
  if (stored) {
    const auto bytes = static_cast<double>(*stored);
    console.Result(fmt::format("  {:<12} {:>10} {:>12.3f}", "as stored", FormatBytes(bytes), fp16 / bytes));
  }
  console.Result(fmt::format(
      "  tensors: linear layers quantized, everything else in 16 bits; bits per weight: of the quantized tensors;\n"
      "  memory to decode with {} tokens: tensors and work space (bench comparison measures the process's peak)",
      kContext));
  if (stored) {
    console.Result(
        "  as stored: this file is already quantized; the rows are made from its weights and cannot recover what it "
        "lost");
  }
}

json ToJson(const Checkpoint& checkpoint, const Description& description, const std::vector<Weighed>& rows,
            bool verbose) {
  json types = json::object();
  for (const auto& [type, counted] : CountTypes(checkpoint)) {
    types[type] = {{"tensors", counted.tensors}, {"bytes", counted.bytes}, {"elements", counted.elements}};
  }
  json configurations = json::array();
  for (const Weighed& row : rows) {
    configurations.push_back({{"config", row.config},
                              {"model_bytes", row.model_bytes},
                              {"bits_per_weight", row.bits_per_weight},
                              {"estimated_memory_bytes", row.memory_bytes}});
  }
  const Dimensions sizes = DimensionsOf(description);
  json document = {{"name", checkpoint.name},
                   {"architecture", description.architecture},
                   {"parameters", CountParameters(description)},
                   {"layers", description.blocks.size()},
                   {"hidden_size", description.hidden_size},
                   {"heads", sizes.heads},
                   {"kv_heads", sizes.kv_heads},
                   {"head_dim", sizes.head_dim},
                   {"intermediate_size", sizes.intermediate_size},
                   {"vocab_size", description.vocab_size},
                   {"context", description.max_context},
                   {"tied_head", description.tied_head()},
                   {"source_type", SourceType(checkpoint)},
                   {"types", types},
                   {"left_out", checkpoint.left_out},
                   {"accepted_unknown", checkpoint.accepted.found()},
                   {"configurations", configurations}};
  if (const auto stored = QuantizedBytes(checkpoint)) document["stored_bytes"] = *stored;
  if (!verbose) return document;
  for (const Tensor& tensor : checkpoint.tensors) {
    document["tensors"].push_back({{"name", tensor.name},
                                   {"type", Info(tensor.dtype).name},
                                   {"shape", tensor.shape},
                                   {"bytes", tensor.byte_size()}});
  }
  return document;
}

// One id per line, for comparison with other tokenizers.
Status PrintTokens(const Tokenizer& tokenizer, const std::string& path, Console& console) {
  const auto text = ReadFile(path);
  if (!text) return text.error();
  const auto ids = tokenizer.Encode(*text);
  if (!ids) return Error{ids.error().code, path + ": " + ids.error().message};
  if (console.json()) {
    console.Data(*ids);
    return {};
  }
  std::string lines;
  for (const std::int32_t id : *ids) lines += fmt::format("{}\n", id);
  if (!lines.empty()) lines.pop_back();
  console.Result(lines);
  return {};
}

// A tokenizer of another kind, or none, is a fact about the model. A broken one is an error, which is given after the
// rest was shown.
Status CheckWhole(const Checkpoint& checkpoint, const Result<Tokenizer>& tokenizer) {
  if (tokenizer || tokenizer.error().code == ErrorCode::kUnsupported || !Tokenizer::IsThere(checkpoint)) return {};
  return tokenizer.error();
}

Status RunInspect(const InspectArguments& options, Invocation& invocation) {
  Console& console = invocation.console;
  const auto opened = OpenModelOf(options.model, options.accept_unknown, console);
  if (!opened) return opened.error();
  const Checkpoint& checkpoint = opened->checkpoint;
  const Description& description = opened->description;
  if (auto status = CheckEndTokens(checkpoint); !status) return status.error();
  const auto tokenizer = Tokenizer::FromCheckpoint(checkpoint);
  if (!options.tokenize.empty())
    return tokenizer ? PrintTokens(*tokenizer, options.tokenize, console) : tokenizer.error();
  const Status whole = CheckWhole(checkpoint, tokenizer);
  const bool quantized = checkpoint.config.contains("quantization_config");
  const std::vector<Weighed> rows = Weigh(description);
  PrintModel(checkpoint, description, console);
  if (tokenizer) {
    console.Result(fmt::format("  tokenizer      {}, {} tokens, BOS {}", tokenizer->kind(), tokenizer->vocab_size(),
                               tokenizer->adds_bos() ? "added" : "not added"));
  } else {
    console.Result("  tokenizer      " + (whole ? tokenizer.error().message : "broken; the error below says how"));
  }
  if (console.verbose() && !console.json()) {
    for (const Tensor& tensor : checkpoint.tensors) {
      console.Result(fmt::format("    {:<52} {:<6} {:>12}", tensor.name, Info(tensor.dtype).name,
                                 fmt::format("[{}]", fmt::join(tensor.shape, ", "))));
    }
  }
  json document = ToJson(checkpoint, description, rows, console.verbose());
  if (quantized) {
    const auto sizes = MeasureQuantizedFolder(checkpoint.path);
    if (!sizes) return sizes.error();
    const auto made = ReadMadeBy(checkpoint.config);
    PrintStored(*sizes, description, console);
    PrintFormats(*sizes, made, console);
    document["formats"] = ToJson(sizes->formats);
    if (made) {
      console.Result("  quantized by   " + Describe(*made));
      document["method"] = made->method;
      if (!made->plan_sha256.empty()) {
        document["plan"] = {{"sha256", made->plan_sha256}, {"budget", made->plan_budget}};
      }
      document["calibration"] = made->text_name.empty() ? json(nullptr)
                                                        : json{{"name", made->text_name},
                                                               {"sha256", made->text_sha256},
                                                               {"windows", made->windows},
                                                               {"ctx", made->ctx}};
    }
    document["model_bytes"] = sizes->model_bytes;
    document["bits_per_weight"] = sizes->bits_per_weight();
    document.erase("configurations");
  } else {
    PrintWeighed(rows, checkpoint, console);
  }
  document["tokenizer"] = tokenizer ? json{{"tokens", tokenizer->vocab_size()},
                                           {"adds_bos", tokenizer->adds_bos()},
                                           {"sha256", tokenizer->sha256()}}
                                    : json{{"error", tokenizer.error().message}};
  console.Data(document);
  return whole;
}

}  // namespace

void RegisterInspect(Verb parent) {
  auto options = std::make_shared<InspectArguments>();
  Verb verb = parent.AddVerb("inspect", "Show a model, and its size in each configuration",
                             "metal-marlin inspect ./SmolLM2-135M-Instruct.Q4_1.gguf");
  verb.Add("model", options->model, kAnyModelWords).Required();
  verb.Add("--tokenize", options->tokenize, "Print the token ids of this text file, one per line");
  AddAcceptUnknown(verb, options->accept_unknown);
  verb.Runs([options](Invocation& invocation) { return RunInspect(*options, invocation); });
}

}  // namespace marlin
