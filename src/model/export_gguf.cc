#include "model/export_gguf.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <set>
#include <utility>

#include "base/half.h"
#include "files/ggml_blocks.h"
#include "files/gguf_file_type.h"
#include "files/gguf_names.h"
#include "files/gguf_parts.h"
#include "files/gguf_to_hf.h"
#include "files/gguf_writer.h"
#include "files/quantized_layout.h"
#include "model/config_keys.h"
#include "model/export_folder.h"
#include "model/families/family.h"
#include "model/gguf_facts.h"
#include "model/same_description.h"
#include "model/split_tensors.h"
#include "text/chat_template.h"
#include "text/end_tokens.h"
#include "text/sample_text.h"
#include "text/tokenizer_gguf.h"
#include "text/tokenizer_to_gguf.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::size_t kPiece_bytes = std::size_t{1} << 22;

Error Located(const OpenedModel& source, const Error& error) {
  return {error.code, fmt::format("{}: {}", source.checkpoint.path.string(), error.message)};
}

// The tensors of a model by the names of plain ones.
struct NamedWeights {
  std::vector<Tensor> tensors;
  std::map<std::string, EncodedMatrixView> encoded;
};

// The parts of a quantized matrix become one tensor without bytes.
Result<NamedWeights> WeightsOf(const Checkpoint& checkpoint) {
  NamedWeights out;
  for (const Tensor& tensor : checkpoint.tensors) {
    const auto stem = StemOfEncoded(tensor.name);
    if (!stem || checkpoint.Find(std::string(*stem) + std::string(kPackedSuffix)) == nullptr) {
      out.tensors.push_back(tensor);
      continue;
    }
    if (!tensor.name.ends_with(kPackedSuffix)) continue;
    const auto matrix = FindEncoded(checkpoint, *stem);
    if (!matrix) return matrix.error();
    Tensor whole;
    whole.name = WeightName(*stem);
    whole.dtype = DType::kU8;
    whole.shape = {matrix->rows, matrix->cols};
    out.encoded.emplace(whole.name, *matrix);
    out.tensors.push_back(std::move(whole));
  }
  return out;
}

GgufSource SourceOf(const OpenedModel& source, const json& config, const ModelFacts& facts,
                    const NamedWeights& weights) {
  std::map<std::string, std::string> wholes;
  for (const SplitTensor& split : source.description.splits) {
    wholes[source.description.tensors[split.tensor].name] = split.stored.name;
  }
  return {config, facts, weights.tensors, weights.encoded, [wholes = std::move(wholes)](std::string_view name) {
            const auto found = wholes.find(std::string(name));
            return found == wholes.end() ? std::string(name) : found->second;
          }};
}

Result<GgufModel> Translate(const OpenedModel& source, std::optional<DType> type) {
  const json config = CompleteConfig(source.checkpoint.config, source.description);
  const ModelFacts facts = FactsOf(source.description);
  const auto weights = WeightsOf(source.checkpoint);
  if (!weights) return weights.error();
  return TranslateToGguf(SourceOf(source, config, facts, *weights), type);
}

// The type that most weights have, by its number in general.file_type.
const GgufFileType* FileTypeOf(const GgufModel& model) {
  std::map<DType, std::size_t> weights;
  for (const GgufTensor& tensor : model.tensors) {
    if (tensor.shape.size() == 2) weights[tensor.dtype] += tensor.rows() * tensor.cols();
  }
  const auto most = std::ranges::max_element(weights, {}, [](const auto& entry) { return entry.second; });
  return most == weights.end() ? nullptr : FindGgufFileType(Info(most->first).name);
}

void AddGeneral(const OpenedModel& source, const GgufExportOptions& options, GgufModel& model) {
  model.pairs.Set("general.type", "model");
  model.pairs.Set("general.name", source.checkpoint.name);
  if (const GgufFileType* const type = FileTypeOf(model)) {
    model.pairs.Set("general.file_type", static_cast<std::uint32_t>(type->number));
  }
  model.pairs.Set("general.quantization_version", std::uint32_t{2});
  if (!options.program.empty()) model.pairs.Set(kGgufProgramKey, options.program);
  if (!options.source_sha256.empty()) model.pairs.Set("metal_marlin.source_sha256", options.source_sha256);
  if (const auto made = ReadMadeBy(source.checkpoint.config)) {
    model.pairs.Set("metal_marlin.method", made->method);
    if (!made->text_name.empty()) model.pairs.Set("metal_marlin.calibration", made->text_name);
  }
}

Status AddTokens(const OpenedModel& source, const Tokenizer* tokenizer, GgufExport& out) {
  const std::size_t rows = source.description.vocab_size;
  GgufPairs& pairs = out.model.pairs;
  // A copy: views end with the next key that is set.
  const std::string architecture(std::get<std::string_view>(pairs.View().at("general.architecture")));
  if (architecture != "gpt2") pairs.Set(fmt::format("{}.vocab_size", architecture), static_cast<std::uint32_t>(rows));
  if (tokenizer == nullptr) {
    pairs.Set(fmt::format("{}.vocab_size", architecture), static_cast<std::uint32_t>(rows));
    pairs.Set("tokenizer.ggml.model", std::string(kNoGgufTokenizer));
    out.notes.emplace_back("the model has no tokenizer, so the file has none");
    return {};
  }
  const auto ends = EndTokens(source.checkpoint, *tokenizer);
  if (!ends) return ends.error();
  const GgufTokenizerOptions options{rows, *ends, ChatTemplateText(source.checkpoint), architecture == "gemma4"};
  return AddTokenizer(tokenizer->spec(), options, source.checkpoint.path.string(), pairs, out.notes);
}

// The file as a reader will see it, before it is written. Numbers of the tensors are those of the source.
struct Preview {
  std::vector<std::vector<std::uint8_t>> made;  // bytes of vectors that follow from settings
  GgufFile file;
};

Preview PreviewOf(const fs::path& path, const GgufModel& model) {
  std::vector<std::vector<std::uint8_t>> made;
  std::vector<Tensor> tensors;
  for (const GgufTensor& from : model.tensors) {
    Tensor tensor;
    tensor.name = from.name;
    tensor.dtype = from.dtype;
    tensor.shape = from.shape;
    if (from.parts.empty()) {
      const auto* const bytes = reinterpret_cast<const std::uint8_t*>(from.values.data());
      tensor.bytes = made.emplace_back(bytes, bytes + from.values.size() * sizeof(float));
    } else {
      tensor.bytes = from.parts.front().bytes;
    }
    tensors.push_back(std::move(tensor));
  }
  return {std::move(made), GgufFile::InMemory(path, model.pairs.View(), std::move(tensors))};
}

Status CheckSameModel(const OpenedModel& source, const GgufFile& file) {
  AcceptedNames accepted;
  const auto view = TranslateGguf(file, accepted);
  if (!view) return view.error();
  const auto description = DescribeModel(view->config);
  if (!description) return Located(source, description.error());
  const std::string where = source.checkpoint.path.string();
  if (auto status = CheckConfigKeys(view->config, description->read_keys, where, accepted); !status) return status;
  const auto difference = FirstDifference(source.description, *description);
  if (!difference) return {};
  return Error{
      ErrorCode::kUnsupported,
      fmt::format("{}: GGUF's architecture {} cannot hold this model: {} is {}, and a reader of the file would "
                  "take {}",
                  source.checkpoint.path.string(), *file.Require<std::string_view>("general.architecture"),
                  difference->setting, difference->first, difference->second)};
}

// A part of the built-in text is encoded by both.
Status CheckSameTokens(const OpenedModel& source, const Tokenizer& own, const GgufFile& file) {
  const auto read = Tokenizer::FromGguf(file);
  if (!read) return read.error();
  return CompareTokenizers(own, *read, source.checkpoint.path.string(), ErrorCode::kUnsupported);
}

// The numbers as the type keeps them. Errors: kNumerical (too large for F16).
Status Encode(DType dtype, std::span<const float> values, std::span<std::uint8_t> out, const GgufTensor& tensor,
              std::size_t first) {
  if (dtype == DType::kF32) {
    std::memcpy(out.data(), values.data(), values.size_bytes());
    return {};
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    const bool half = dtype == DType::kF16;
    const std::uint16_t bits = half ? FloatToHalf(values[i]) : FloatToBf16(values[i]);
    if (half && std::isfinite(values[i]) && !std::isfinite(HalfToFloat(bits))) {
      return Error{
          ErrorCode::kNumerical,
          fmt::format("tensor {}: {} in row {} is beyond {}, the largest number of F16; use --type bf16 (or f32)",
                      tensor.name, values[i], (first + i) / tensor.cols(), kHalfMax)};
    }
    std::memcpy(out.data() + 2 * i, &bits, sizeof(bits));
  }
  return {};
}

void Report(const ProgressFn& progress, const Progress& state) {
  if (progress) progress(state);
}

std::size_t RowsAtOnce(const GgufTensor& tensor) {
  return std::max<std::size_t>(1, kPiece_bytes / (sizeof(float) * std::max<std::size_t>(1, tensor.cols())));
}

// visit(row, count) for pieces of the rows, one after the other, until one fails. Errors: its own, kInterrupted while
// `doing`.
template <class Visit>
Status ForRows(const GgufTensor& tensor, const char* doing, Visit visit) {
  const std::size_t step = RowsAtOnce(tensor);
  for (std::size_t row = 0; row < tensor.rows(); row += step) {
    if (Interrupted()) return Error{ErrorCode::kInterrupted, fmt::format("interrupted while {}", doing)};
    if (Status status = visit(row, std::min(step, tensor.rows() - row)); !status) return status;
  }
  return {};
}

// Some rows as the type keeps them.
Status RowsAsBytes(const OpenedModel& source, const GgufTensor& tensor, std::size_t row, std::size_t count,
                   std::vector<std::uint8_t>& bytes) {
  bytes.resize(RowBytes(tensor, count));
  if (IsBlockType(tensor.dtype)) {
    EncodeRows(tensor, row, count, bytes);
    return {};
  }
  std::vector<float> values(count * tensor.cols());
  const MatrixView<float> out(values.data(), count, tensor.cols());
  if (auto status = DecodeRows(tensor, row, out); !status) return status;
  if (auto status = Encode(tensor.dtype, values, bytes, tensor, row * tensor.cols()); !status)
    return Located(source, status.error());
  return {};
}

Status WriteTensor(const OpenedModel& source, const GgufTensor& tensor, GgufWriter& writer) {
  std::vector<std::uint8_t> bytes;
  const Status written = ForRows(tensor, "writing the model", [&](std::size_t row, std::size_t count) {
    const Status status = RowsAsBytes(source, tensor, row, count, bytes);
    return status ? writer.Write(bytes) : status;
  });
  if (!written) return written;
  for (const Tensor& part : tensor.parts) source.checkpoint.Forget(part);
  return {};
}

// Checks before the first byte that F16 holds every number.
Status CheckRange(const OpenedModel& source, const GgufModel& model, const ProgressFn& progress) {
  std::vector<std::uint8_t> bytes;
  std::uint64_t done = 0;
  for (const GgufTensor& tensor : model.tensors) {
    const bool narrower = tensor.dtype == DType::kF16 && !std::ranges::all_of(tensor.parts, [](const Tensor& part) {
                            return part.dtype == DType::kF16;
                          });
    Report(progress, {"checking", ++done, model.tensors.size(), "tensors", ""});
    if (!narrower) continue;
    const Status checked = ForRows(tensor, "checking the model", [&](std::size_t row, std::size_t count) {
      return RowsAsBytes(source, tensor, row, count, bytes);
    });
    if (!checked) return checked;
    for (const Tensor& part : tensor.parts) source.checkpoint.Forget(part);
  }
  return {};
}

}  // namespace

Status CompareTokenizers(const Tokenizer& own, const Tokenizer& other, const std::string& where, ErrorCode code) {
  constexpr std::size_t kText_bytes = 20000;
  std::string_view text = SampleText().substr(0, kText_bytes);
  text = text.substr(0, text.rfind('\n'));
  const auto wanted = own.Encode(text);
  if (!wanted) return wanted.error();
  const auto got = other.Encode(text);
  if (!got) return got.error();
  if (*wanted != *got) {
    const auto at = std::ranges::mismatch(*wanted, *got).in1 - wanted->begin();
    return Error{
        code, fmt::format("{}: the tokenizer of the exported model gives other tokens of the built-in text, from token "
                          "{} on",
                          where, at)};
  }
  if (own.adds_bos() != other.adds_bos() || (own.adds_bos() && own.bos() != other.bos())) {
    return Error{code, fmt::format("{}: the exported model puts another token in front of a text", where)};
  }
  return {};
}

Result<GgufExport> PlanGguf(const OpenedModel& source, const Tokenizer* tokenizer, const GgufExportOptions& options) {
  GgufExport out;
  if (const auto rotation = OnlineRotation(source.checkpoint.config))
    return RotatedWhileItRuns(source, *rotation, "GGUF");
  if (auto status = Translate(source, options.type).MoveTo(out.model); !status) return Located(source, status.error());
  out.notes = out.model.notes;
  AddGeneral(source, options, out.model);
  if (auto status = AddTokens(source, tokenizer, out); !status) return status.error();
  const Preview preview = PreviewOf(source.checkpoint.path, out.model);
  if (auto status = CheckSameModel(source, preview.file); !status) return status.error();
  if (tokenizer != nullptr) {
    if (auto status = CheckSameTokens(source, *tokenizer, preview.file); !status) return status.error();
  }
  for (const GgufTensor& tensor : out.model.tensors) {
    out.tensor_bytes += RowBytes(tensor, tensor.rows());
  }
  return out;
}

Result<GgufWritten> WriteGguf(const OpenedModel& source, const GgufExport& plan, const fs::path& path,
                              const GgufExportOptions& options, const ProgressFn& progress) {
  std::vector<GgufPlace> places;
  for (const GgufTensor& tensor : plan.model.tensors) places.push_back({tensor.name, tensor.dtype, tensor.shape});
  auto writer =
      GgufWriter::Create(path, plan.model.pairs, std::move(places), options.max_part_bytes, options.overwrite);
  if (!writer) return writer.error();
  if (auto status = CheckRange(source, plan.model, progress); !status) return status.error();
  std::uint64_t done = 0;
  for (const GgufTensor& tensor : plan.model.tensors) {
    if (auto status = WriteTensor(source, tensor, *writer); !status) return status.error();
    done += RowBytes(tensor, tensor.rows());
    Report(progress, {"writing", done, plan.tensor_bytes, "bytes", ""});
  }
  if (auto status = writer->Commit(); !status) return status.error();
  return GgufWritten{writer->files(), writer->bytes()};
}

namespace {

// As a type keeps a number.
float Rounded(DType dtype, float value) {
  if (dtype == DType::kF16) return HalfToFloat(FloatToHalf(value));
  if (dtype == DType::kBF16) return Bf16ToFloat(FloatToBf16(value));
  return value;
}

Error TensorDiffers(const fs::path& path, const std::string& what) {
  return {ErrorCode::kCorrupt, fmt::format("{}: {}", path.string(), what)};
}

Status CompareTensor(const fs::path& path, const GgufTensor& wanted, const Tensor& got, GgufComparison& out) {
  std::vector<float> want_values, got_values;
  const std::size_t cols = wanted.cols(), step = RowsAtOnce(wanted);
  for (std::size_t row = 0; row < wanted.rows(); row += step) {
    if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted while comparing the models"};
    const std::size_t count = std::min(step, wanted.rows() - row);
    want_values.resize(count * cols);
    got_values.resize(count * cols);
    if (auto status = DecodeRows(wanted, row, MatrixView<float>(want_values.data(), count, cols)); !status)
      return status;
    if (auto status = DecodeRows(got, row, MatrixView<float>(got_values.data(), count, cols)); !status) return status;
    for (std::size_t i = 0; i < want_values.size(); ++i) {
      const float want = Rounded(got.dtype, want_values[i]);
      if (std::bit_cast<std::uint32_t>(want) != std::bit_cast<std::uint32_t>(got_values[i])) {
        return TensorDiffers(path, fmt::format("tensor {}, row {}, column {}: got {}, want {}", got.name,
                                               row + i / cols, i % cols, got_values[i], want));
      }
      out.rounded += want != want_values[i] ? 1 : 0;
    }
    out.weights += want_values.size();
  }
  return {};
}

}  // namespace

Result<GgufComparison> CompareTensors(const OpenedModel& source, const fs::path& path, const ProgressFn& progress) {
  const auto parts = OpenGgufParts(path);
  if (!parts) return parts.error();
  const auto model = Translate(source, DType::kF32);
  if (!model) return Located(source, model.error());
  std::map<std::string, const Tensor*> found;
  for (const Tensor& tensor : parts->first.tensors) found[tensor.name] = &tensor;
  GgufComparison out;
  for (const GgufTensor& wanted : model->tensors) {
    const auto got = found.find(wanted.name);
    if (got == found.end()) return TensorDiffers(path, fmt::format("tensor {} is missing", wanted.name));
    if (got->second->shape != wanted.shape) {
      return TensorDiffers(path, fmt::format("tensor {} has shape [{}], want [{}]", wanted.name,
                                             fmt::join(got->second->shape, ", "), fmt::join(wanted.shape, ", ")));
    }
    if (auto status = CompareTensor(path, wanted, *got->second, out); !status) return status.error();
    for (const Tensor& part : wanted.parts) source.checkpoint.Forget(part);
    found.erase(got);
    Report(progress, {"comparing", ++out.tensors, model->tensors.size(), "tensors", ""});
  }
  if (!found.empty()) {
    return TensorDiffers(path, fmt::format("tensor {} is not one of the source", found.begin()->first));
  }
  return out;
}

}  // namespace marlin
