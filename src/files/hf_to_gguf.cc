#include "files/hf_to_gguf.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <utility>

#include "base/check.h"
#include "files/ggml_encode.h"
#include "files/gguf_names.h"
#include "files/gguf_rope.h"

namespace marlin {
namespace {
using nlohmann::json;

Error NoPlace(const std::string& what) { return {ErrorCode::kUnsupported, what}; }

Result<const GgufFamily*> FamilyOf(const json& config) {
  const json names = config.value("architectures", json::array());
  const std::string name = names.size() == 1 && names[0].is_string() ? names[0].get<std::string>() : "";
  if (const GgufFamily* const family = GgufFamilyOfClass(name)) return family;
  std::vector<std::string_view> known;
  for (const GgufFamily& family : GgufFamilies()) known.emplace_back(family.hf_class);
  return NoPlace(
      fmt::format("GGUF has no architecture for {} that this program writes; it writes {} and those that are "
                  "run as them",
                  name, fmt::join(known, ", ")));
}

// Numbers of config.json under the names of the tables.
void WriteKeys(const GgufFamily& family, const json& config, GgufPairs& pairs) {
  const auto write = [&](const GgufKeyRow& row, const char* key) {
    const auto found = key == nullptr ? config.end() : config.find(key);
    if (found == config.end() || !found->is_number()) return;
    const std::string name = fmt::format("{}.{}", family.architecture, row.suffix);
    if (row.type == GgufType::kF32) {
      pairs.Set(name, found->get<float>());
    } else {
      pairs.Set(name, static_cast<std::uint32_t>(found->get<double>()));
    }
  };
  for (const GgufKeyRow& row : GgufKeyRows()) write(row, GgufKeyOf(family, row));
  for (const GgufKeyRow& row : family.keys) write(row, row.key);
}

// Names such as "layer_scalar" have no ending in Hugging Face's files.
NamedPlace PlaceOf(const GgufFamily& family, const std::string& name, std::string& with_ending) {
  const NamedPlace place = FindPlace(family, Spelling::kHf, name);
  if (place.row != nullptr) return place;
  with_ending = name + ".weight";
  const NamedPlace other = FindPlace(family, Spelling::kHf, with_ending);
  return other.row != nullptr && other.row->transform == Transform::kNoEnding ? other : place;
}

// Vectors, norms, learned positions, and what has another ending.
bool IsAlwaysF32(const GgufTensor& tensor) {
  return tensor.shape.size() < 2 || !tensor.name.ends_with(".weight") || tensor.name.ends_with("_norm.weight") ||
         tensor.name == "position_embd.weight";
}

// The type that every part of a quantized matrix has.
Result<DType> BlockTypeFor(const GgufTensor& tensor) {
  std::optional<DType> type;
  for (const EncodedMatrixView& part : tensor.encoded) {
    const FormatInfo& format = part.format->info;
    const auto own = BlockTypeOf(format);
    if (!own) {
      return NoPlace(fmt::format(
          "tensor {} is {}, which no type of GGUF holds without loss; quantize to one of {}, or name a type "
          "for what it decodes to with --type f32, bf16 or f16",
          tensor.parts.front().name, format.name, FormatsWithBlockTypes()));
    }
    if (const std::size_t inexact = CountInexactInBlocks(part); inexact > 0) {
      return NoPlace(fmt::format(
          "tensor {}: in {} of its groups the zero point times the scale is no FP16 number, which {} stores; "
          "quantize the original again with this version, whose scales are made for it",
          tensor.parts.front().name, inexact, Info(*own).name));
    }
    if (type && *type != *own) {
      return NoPlace(
          fmt::format("tensor {} of the file has parts of the types {} and {}; give its parts one format in the "
                      "plan",
                      tensor.name, Info(*type).name, Info(*own).name));
    }
    type = own;
  }
  const std::size_t block = Info(*type).block_elements;
  if (tensor.cols() % block != 0) {
    return NoPlace(
        fmt::format("tensor {} has rows of {} weights, and {} has blocks of {}; keep it in 16 bits (--plan), or "
                    "name a type for what it decodes to with --type f32, bf16 or f16",
                    tensor.parts.front().name, tensor.cols(), Info(*type).name, block));
  }
  return *type;
}

Result<DType> TypeOf(const GgufTensor& tensor, std::optional<DType> type) {
  if (IsAlwaysF32(tensor)) return DType::kF32;
  if (type) return *type;
  if (!tensor.encoded.empty()) return BlockTypeFor(tensor);
  const DType own = tensor.parts.front().dtype;
  switch (own) {
    case DType::kF16:
    case DType::kBF16:
    case DType::kF32:
      return own;
    case DType::kF64:
      return DType::kF32;
    default:
      return NoPlace(
          fmt::format("tensor {} is {}: the model is quantized, and its numbers are not written in that type "
                      "again; name a type for what they decode to with --type f32, bf16 or f16",
                      tensor.parts.front().name, Info(own).name));
  }
}

std::size_t HeadsOf(const json& config, const char* key) {
  const auto found = config.find(key);
  return found != config.end() && found->is_number_unsigned()  ? found->get<std::size_t>()
         : found != config.end() && found->is_number_integer() ? static_cast<std::size_t>(found->get<std::int64_t>())
                                                               : 0;
}

void Transformed(const GgufNameRow& row, const json& config, GgufTensor& tensor) {
  switch (row.transform) {
    case Transform::kInterleavedQueries:
      tensor.rotary_heads = HeadsOf(config, "num_attention_heads");
      break;
    case Transform::kInterleavedKeys:
      tensor.rotary_heads = HeadsOf(config, "num_key_value_heads");
      break;
    case Transform::kPlusOne:
      tensor.added = 1;
      break;
    // The parts lie as GGUF wants them: queries, keys and values under each other, and transposed ones exchanged.
    case Transform::kThreeParts:
    case Transform::kTransposed:
    case Transform::kNone:
    case Transform::kNoEnding:
      break;
  }
}

// All of the parts are quantized, or none.
Status FindEncodedParts(const GgufSource& source, GgufTensor& tensor) {
  for (const Tensor& part : tensor.parts) {
    const auto found = source.encoded.find(part.name);
    if (found != source.encoded.end()) tensor.encoded.push_back(found->second);
  }
  if (tensor.encoded.empty() || tensor.encoded.size() == tensor.parts.size()) return {};
  return NoPlace(
      fmt::format("tensor {} of the file has parts that are quantized and parts that are not; give its parts "
                  "one format in the plan",
                  tensor.name));
}

Result<GgufTensor> TensorOf(const GgufFamily& family, const std::string& whole, std::vector<Tensor> parts,
                            const GgufSource& source, std::optional<DType> type) {
  std::string with_ending;
  const NamedPlace place = PlaceOf(family, whole, with_ending);
  if (place.row == nullptr) {
    return NoPlace(fmt::format("tensor {} has no place in GGUF's architecture {}", whole, family.architecture));
  }
  GgufTensor tensor;
  tensor.name = NameOf(family, place, Spelling::kGguf);
  tensor.shape = parts.front().shape;
  for (std::size_t i = 1; i < parts.size(); ++i) tensor.shape.front() += parts[i].shape.front();
  tensor.parts = std::move(parts);
  Transformed(*place.row, source.config, tensor);
  if (auto status = FindEncodedParts(source, tensor); !status) return status.error();
  const auto dtype = TypeOf(tensor, type);
  if (!dtype) return dtype.error();
  tensor.dtype = *dtype;
  return tensor;
}

// Element `i` of all parts of a vector, one after the other.
Status DecodeVectorParts(const GgufTensor& tensor, std::span<float> out) {
  std::size_t at = 0;
  for (const Tensor& part : tensor.parts) {
    const std::size_t size = part.elements();
    if (auto status = DecodeRows(part, 0, MatrixView<float>(out.data() + at, 1, size)); !status) return status;
    at += size;
  }
  return {};
}

// The part that holds a row of all parts, by its number, and the row in it.
std::pair<std::size_t, std::size_t> PartOfRow(const GgufTensor& tensor, std::size_t row) {
  for (std::size_t i = 0; i < tensor.parts.size(); ++i) {
    const std::size_t rows = tensor.parts[i].rows();
    if (row < rows) return {i, row};
    row -= rows;
  }
  MARLIN_CHECK(false, "a row of the parts");
  return {};
}

void DecodeEncodedRows(const GgufTensor& tensor, std::size_t begin, MatrixView<float> out) {
  for (std::size_t r = 0; r < out.rows; ++r) {
    const auto [part, row] = PartOfRow(tensor, tensor.SourceRow(begin + r));
    DecodeRow(tensor.encoded[part], row, out.Row(r));
  }
}

}  // namespace

std::size_t GgufTensor::cols() const { return shape.empty() ? 1 : shape.back(); }

std::size_t GgufTensor::rows() const {
  std::size_t product = 1;
  for (std::size_t i = 0; i + 1 < shape.size(); ++i) product *= shape[i];
  return product;
}

std::size_t GgufTensor::SourceRow(std::size_t row) const {
  if (rotary_heads == 0) return row;
  const std::size_t head = shape.front() / rotary_heads, half = head / 2;
  const std::size_t in_head = row % head;
  return row - in_head + in_head % 2 * half + in_head / 2;
}

Status DecodeRows(const GgufTensor& tensor, std::size_t begin, MatrixView<float> out) {
  MARLIN_CHECK(out.cols == tensor.cols() && begin + out.rows <= tensor.rows(), "rows of the tensor");
  if (tensor.parts.empty()) {
    std::copy_n(tensor.values.data() + begin * out.cols, out.rows * out.cols, out.Row(0).data());
    return {};
  }
  if (tensor.shape.size() < 2) {
    std::vector<float> values(out.cols);
    if (auto status = DecodeVectorParts(tensor, values); !status) return status;
    for (std::size_t i = 0; i < out.cols; ++i) out.Row(0)[i] = values[tensor.SourceRow(i)] + tensor.added;
    return {};
  }
  if (!tensor.encoded.empty()) {
    DecodeEncodedRows(tensor, begin, out);
    return {};
  }
  for (std::size_t r = 0; r < out.rows;) {
    const auto [index, row] = PartOfRow(tensor, tensor.SourceRow(begin + r));
    const Tensor* const part = &tensor.parts[index];
    // Rows that are neighbours in the part too are decoded together.
    std::size_t count = 1;
    if (tensor.rotary_heads == 0) count = std::min(out.rows - r, part->rows() - row);
    if (auto status = DecodeRows(*part, row, MatrixView<float>(out.Row(r).data(), count, out.cols)); !status)
      return status;
    r += count;
  }
  if (tensor.added == 0) return {};
  for (std::size_t r = 0; r < out.rows; ++r) {
    for (float& value : out.Row(r)) value += tensor.added;
  }
  return {};
}

std::size_t RowBytes(const GgufTensor& tensor, std::size_t rows) {
  const DTypeInfo& type = Info(tensor.dtype);
  return rows * tensor.cols() / type.block_elements * type.block_bytes;
}

void EncodeRows(const GgufTensor& tensor, std::size_t begin, std::size_t rows, std::span<std::uint8_t> out) {
  const std::size_t bytes = RowBytes(tensor, 1);
  for (std::size_t r = 0; r < rows; ++r) {
    const auto [part, row] = PartOfRow(tensor, tensor.SourceRow(begin + r));
    EncodeBlocks(tensor.encoded[part], row, out.subspan(r * bytes, bytes));
  }
}

Result<GgufModel> TranslateToGguf(const GgufSource& source, std::optional<DType> type) {
  const auto found = FamilyOf(source.config);
  if (!found) return found.error();
  const GgufFamily& family = **found;
  GgufModel out;
  out.pairs.Set("general.architecture", std::string(family.architecture));
  WriteKeys(family, source.config, out.pairs);
  std::vector<GgufVector> vectors;
  const GgufConfigTarget target{source.config, source.facts, family.architecture, out.pairs, vectors, out.notes};
  if (const auto length = fmt::format("{}.attention.key_length", family.architecture); out.pairs.Has(length)) {
    target.Set("attention.value_length", static_cast<std::uint32_t>(source.facts.blocks[0].head_dim));
  }
  if (auto status = WriteRope(target, family.frequency_factors); !status) return status.error();
  if (family.write != nullptr) {
    if (auto status = family.write(target); !status) return status.error();
  }
  for (GgufVector& vector : vectors) {
    GgufTensor tensor;
    tensor.name = std::move(vector.name);
    tensor.shape = {vector.values.size()};
    tensor.values = std::move(vector.values);
    out.tensors.push_back(std::move(tensor));
  }
  std::vector<std::string> order;  // of the files
  std::map<std::string, std::vector<Tensor>> parts;
  for (const Tensor& tensor : source.tensors) {
    std::string whole = source.whole_of(tensor.name);
    if (!parts.contains(whole)) order.push_back(whole);
    parts[whole].push_back(tensor);
  }
  for (const std::string& whole : order) {
    auto tensor = TensorOf(family, whole, std::move(parts[whole]), source, type);
    if (!tensor) return tensor.error();
    out.tensors.push_back(*std::move(tensor));
  }
  return out;
}

}  // namespace marlin
