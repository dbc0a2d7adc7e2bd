#include "files/folder_reader.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/half.h"
#include "files/checkpoint.h"
#include "files/folder_layout.h"
#include "files/known_keys.h"
#include "files/quantized_layout.h"

namespace marlin {
namespace {
using nlohmann::json;

using Bytes = std::vector<std::uint8_t>;

Error WrongTensor(const Checkpoint& checkpoint, const Tensor& got, const PlannedTensor& want) {
  return {ErrorCode::kInput, fmt::format("{}: tensor {} is {} [{}], want {} [{}]", checkpoint.path.string(), got.name,
                                         Info(got.dtype).name, fmt::join(got.shape, ", "), Info(want.dtype).name,
                                         fmt::join(want.shape, ", "))};
}

bool IsLike(const Tensor& got, const PlannedTensor& want) { return got.dtype == want.dtype && got.shape == want.shape; }

// A tensor of the own layout, with bytes of the files or with new ones.
Tensor MakeTensor(const PlannedTensor& plan, std::span<const std::uint8_t> bytes) {
  Tensor tensor;
  tensor.name = plan.name;
  tensor.dtype = plan.dtype;
  tensor.shape = plan.shape;
  tensor.bytes = bytes;
  return tensor;
}

Tensor MakeTensor(const PlannedTensor& plan, Bytes bytes, Checkpoint& checkpoint) {
  checkpoint.made.push_back(std::make_shared<const Bytes>(std::move(bytes)));
  return MakeTensor(plan, *checkpoint.made.back());
}

Bytes WithSigns(std::span<const std::uint8_t> codes) {
  Bytes out(codes.begin(), codes.end());
  for (std::uint8_t& code : out) code ^= 0x80;
  return out;
}

Tensor CodesTensor(const FormatInfo& format, const PlannedTensor& plan, const Tensor& stored, Checkpoint& checkpoint) {
  if (format.code_bits == 8) return MakeTensor(plan, WithSigns(stored.bytes), checkpoint);
  return MakeTensor(plan, stored.bytes);
}

Tensor ShapeTensor(std::string_view stem, std::size_t rows, std::size_t cols, Checkpoint& checkpoint) {
  const auto shape = EncodedShapeBytes(rows, cols);
  return MakeTensor({fmt::format("{}{}", stem, kShapeSuffix), DType::kI64, {2}}, Bytes(shape.begin(), shape.end()),
                    checkpoint);
}

// Codes without signs get them; a matrix whose layout has no shape gets one. What does not fit stays as it is:
// FindEncoded names it.
void TranslatePacked(Checkpoint& checkpoint) {
  std::vector<Tensor> tensors = checkpoint.tensors;
  std::vector<Tensor> shapes;
  for (Tensor& tensor : tensors) {
    if (!tensor.name.ends_with(kPackedSuffix) || tensor.shape.size() != 2) continue;
    const std::string stem = tensor.name.substr(0, tensor.name.size() - kPackedSuffix.size());
    if (checkpoint.Find(stem + std::string(kShapeSuffix)) == nullptr) {
      const bool mx = tensor.dtype == DType::kU8;
      if (mx) shapes.push_back(ShapeTensor(stem, tensor.shape[0], tensor.shape[1] * 2, checkpoint));
      continue;
    }
    const auto shape = ReadEncodedShape(checkpoint, stem);
    if (!shape || tensor.dtype != DType::kI32) continue;
    const auto format = FormatOf(checkpoint, stem, shape->rows, shape->cols);
    const PlannedTensor packed = {tensor.name, DType::kI32, {shape->rows, shape->cols / 4}};
    if (!format || (*format)->info.code_bits != 8 || !IsLike(tensor, packed)) continue;
    tensor =
        CodesTensor((*format)->info, {tensor.name, DType::kI8, {shape->rows, packed.shape[1] * 4}}, tensor, checkpoint);
  }
  tensors.insert(tensors.end(), shapes.begin(), shapes.end());
  checkpoint.Replace(std::move(tensors));
}

float NumberAt(const Tensor& tensor, std::size_t i) {
  if (tensor.dtype == DType::kF32) {
    float value;
    std::memcpy(&value, tensor.bytes.data() + 4 * i, sizeof(value));
    return value;
  }
  std::uint16_t bits;
  std::memcpy(&bits, tensor.bytes.data() + 2 * i, sizeof(bits));
  return tensor.dtype == DType::kF16 ? HalfToFloat(bits) : Bf16ToFloat(bits);
}

// The scale and zero point, or bias, that decode to the same numbers.
std::optional<GroupParams> ParamsOf(const FormatRow& format, AffineGroup affine) {
  GroupParams params{.scale = affine.scale};
  if (HalfToFloat(FloatToHalf(affine.scale)) != affine.scale) return std::nullopt;
  if (HasBias(format.info)) {
    params.bias = affine.bias;
    if (format.round_bias(affine.bias, params) != affine.bias) return std::nullopt;
    return params;
  }
  const int most = format.info.zero_point_bits == 0 ? 0 : (1 << format.info.zero_point_bits) - 1;
  for (int zero = 0; zero <= most; ++zero) {
    params.zero_point = static_cast<std::uint8_t>(most == 0 ? format.info.fixed_zero_point : zero);
    if (AffineOf(format, params).bias == affine.bias) return params;
  }
  return std::nullopt;
}

// The tensors of one matrix of MLX.
struct MlxMatrix {
  std::string stem;
  const FormatRow* format = nullptr;
  std::size_t rows = 0, cols = 0;
  const Tensor* codes = nullptr;
  const Tensor* scales = nullptr;
  const Tensor* biases = nullptr;  // of an affine format
};

// What MLX takes for a module: its own entry, or what is said of all.
Status CheckSettings(const Checkpoint& checkpoint, const MlxMatrix& matrix) {
  const json& all = checkpoint.config["quantization"];
  const json& got = all.contains(matrix.stem) ? all[matrix.stem] : all;
  const json wanted = MlxSettings(matrix.format->info);
  for (const auto& [key, want] : wanted.items()) {
    const json found = got.is_object() ? got.value(key, json()) : json();
    if (found == want) continue;
    return Error{ErrorCode::kInput, fmt::format("{}: config.json: \"quantization\" gives {} the {} {}, and {} wants {}",
                                                checkpoint.path.string(), matrix.stem, key, ShortValue(found),
                                                matrix.format->info.name, want.dump())};
  }
  return {};
}

Result<MlxMatrix> FindMlxMatrix(const Checkpoint& checkpoint, const Tensor& codes) {
  MlxMatrix out;
  out.stem = codes.name.substr(0, codes.name.size() - kWeightSuffix.size());
  out.codes = &codes;
  if (codes.shape.size() != 2 || codes.elements() == 0) {
    return WrongTensor(checkpoint, codes, {codes.name, DType::kU32, {1, 1}});
  }
  const auto format = FormatOf(checkpoint, out.stem, 0, 0);
  if (!format) return format.error();
  out.format = *format;
  if (!Holds(FolderLayout::kMlx, out.format->info)) {
    return Error{ErrorCode::kUnsupported, fmt::format("{}: {} has the format {}, which MLX does not hold",
                                                      checkpoint.path.string(), out.stem, out.format->info.name)};
  }
  if (auto status = CheckSettings(checkpoint, out); !status) return status.error();
  out.rows = codes.shape[0];
  out.cols = codes.shape[1] * 32 / static_cast<std::size_t>(out.format->info.code_bits);
  const auto scales = checkpoint.Get(out.stem + std::string(kMlxScales));
  if (!scales) return scales.error();
  out.scales = *scales;
  const auto group = static_cast<std::size_t>(out.format->info.group);
  if (out.cols % group != 0) {
    return Error{ErrorCode::kInput, fmt::format("{}: tensor {} has rows of {} weights, want a multiple of {}",
                                                checkpoint.path.string(), codes.name, out.cols, group)};
  }
  const DType got = out.scales->dtype;
  const DType number = got == DType::kBF16 || got == DType::kF32 ? got : DType::kF16;
  for (const PlannedTensor& want : TensorsOf(FolderLayout::kMlx, number, out.stem, *out.format, out.rows, out.cols)) {
    const auto found = checkpoint.Get(want.name);
    if (!found) return found.error();
    if (!IsLike(**found, want)) return WrongTensor(checkpoint, **found, want);
    if (want.name.ends_with(kMlxBiases)) out.biases = *found;
  }
  return out;
}

// Scales and zero points of an affine matrix, beside codes that are not looked at.
Result<EncodedMatrix> ReadAffine(const Checkpoint& checkpoint, const MlxMatrix& from) {
  EncodedMatrix matrix(*from.format, from.rows, from.cols);
  const std::size_t groups = GroupsPerRow(from.format->info, from.cols);
  for (std::size_t i = 0; i < from.rows * groups; ++i) {
    const AffineGroup affine{NumberAt(*from.scales, i), NumberAt(*from.biases, i)};
    const auto params = ParamsOf(*from.format, affine);
    if (!params) {
      return Error{ErrorCode::kUnsupported,
                   fmt::format("{}: tensor {}, row {}, group {}: scale {} and bias {} are not those of a group of {}",
                               checkpoint.path.string(), from.scales->name, i / groups, i % groups, affine.scale,
                               affine.bias, from.format->info.name)};
    }
    SetParams(matrix, i / groups, i % groups, *params);
  }
  return matrix;
}

Status TranslateMatrix(Checkpoint& checkpoint, const MlxMatrix& from, std::vector<Tensor>& out) {
  EncodedMatrix params;
  if (from.biases != nullptr) {
    if (auto status = ReadAffine(checkpoint, from).MoveTo(params); !status) return status;
  }
  for (const EncodedTensor& part : EncodedTensors(from.stem, *from.format, from.rows, from.cols)) {
    if (checkpoint.Find(part.tensor.name) != nullptr) {
      return Error{ErrorCode::kInput, fmt::format("{}: {} is there twice, as MLX stores it and as {}",
                                                  checkpoint.path.string(), from.stem, part.tensor.name)};
    }
    if (part.bytes == &EncodedMatrixView::codes) {
      out.push_back(CodesTensor(from.format->info, part.tensor, *from.codes, checkpoint));
    } else if (part.bytes == nullptr) {
      out.push_back(ShapeTensor(from.stem, from.rows, from.cols, checkpoint));
    } else if (from.biases == nullptr) {
      out.push_back(MakeTensor(part.tensor, from.scales->bytes));
    } else {
      const auto own = std::ranges::find(kEncodedParts, part.bytes, &EncodedPart::borrowed);
      out.push_back(MakeTensor(part.tensor, std::move(params.*own->owned), checkpoint));
    }
  }
  return {};
}

bool EndsMatrix(const Checkpoint& checkpoint, std::string_view name, std::string_view suffix) {
  if (!name.ends_with(suffix)) return false;
  const Tensor* const codes = checkpoint.Find(WeightName(name.substr(0, name.size() - suffix.size())));
  return codes != nullptr && codes->dtype == DType::kU32;
}

Status TranslateMlx(Checkpoint& checkpoint) {
  if (!checkpoint.config.contains("quantization")) {
    return Error{ErrorCode::kInput,
                 fmt::format("{}: config.json has no \"quantization\", which MLX reads", checkpoint.path.string())};
  }
  std::vector<Tensor> tensors;
  for (const Tensor& tensor : checkpoint.tensors) {
    if (EndsMatrix(checkpoint, tensor.name, kMlxScales) || EndsMatrix(checkpoint, tensor.name, kMlxBiases)) continue;
    if (tensor.dtype != DType::kU32 || !tensor.name.ends_with(kWeightSuffix)) {
      tensors.push_back(tensor);
      continue;
    }
    const auto matrix = FindMlxMatrix(checkpoint, tensor);
    if (!matrix) return matrix.error();
    if (auto status = TranslateMatrix(checkpoint, *matrix, tensors); !status) return status;
  }
  checkpoint.Replace(std::move(tensors));
  return {};
}

}  // namespace

Status TranslateFolder(Checkpoint& checkpoint) {
  switch (LayoutOf(checkpoint.config)) {
    case FolderLayout::kMlx:
      return TranslateMlx(checkpoint);
    case FolderLayout::kCompressedTensors:
      TranslatePacked(checkpoint);
      break;
    case FolderLayout::kOwn:
      break;
  }
  return {};
}

}  // namespace marlin
