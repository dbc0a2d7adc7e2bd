#include "files/folder_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/half.h"
#include "files/ggml_encode.h"
#include "files/quantized_layout.h"
#include "formats/formats.h"

namespace marlin {
namespace {
using nlohmann::json;

// What the containers call a format that they hold without loss; empty: it has no place there.
struct FolderFormat {
  std::string_view format;
  std::string_view packed;    // compressed-tensors: "format"
  std::string_view number;    // and "type" of its weights,
  std::string_view strategy;  // "strategy"
  std::string_view scale;     // and "scale_dtype", where it is not the model's
  std::string_view mode;      // MLX
};
constexpr std::string_view kPackQuantized = "pack-quantized";
constexpr std::string_view kAffine = "affine";
constexpr std::array kFolderFormats = {
    FolderFormat{"int4-g128", kPackQuantized, "int", "group", "", kAffine},
    FolderFormat{"int4-g64", kPackQuantized, "int", "group", "", kAffine},
    FolderFormat{"int8-g128", kPackQuantized, "int", "group", "", kAffine},
    FolderFormat{"mxfp4", "mxfp4-pack-quantized", "float", "group", "torch.uint8", "mxfp4"},
    FolderFormat{"nvfp4", "nvfp4-pack-quantized", "float", "tensor_group", "torch.float8_e4m3fn", ""},
    FolderFormat{"mlx-nvfp4", "", "", "", "", "nvfp4"},
    FolderFormat{"q4_0", kPackQuantized, "int", "group", "", kAffine},
    FolderFormat{"q4_1", "", "", "", "", kAffine},
    FolderFormat{"q8_0", kPackQuantized, "int", "group", "", kAffine},
    FolderFormat{"mlx4-g32", "", "", "", "", kAffine},
    FolderFormat{"mlx4-g64", "", "", "", "", kAffine},
    FolderFormat{"mlx4-g128", "", "", "", "", kAffine}};

constexpr FolderFormat kNowhere{};

const FolderFormat& RowOf(const FormatInfo& format) {
  const auto* const row = std::ranges::find(kFolderFormats, format.name, &FolderFormat::format);
  return row == kFolderFormats.end() ? kNowhere : *row;
}

// The code whose bits without a sign are 0.
std::uint32_t LeastCode(const FormatInfo& format) { return format.code_bits == 8 ? 0x80 : 0; }

// Two's complement to code + 128.
std::vector<std::uint8_t> WithoutSigns(std::span<const std::uint8_t> codes) {
  std::vector<std::uint8_t> out(codes.begin(), codes.end());
  for (std::uint8_t& code : out) code ^= 0x80;
  return out;
}

TensorBytes CodesOf(const EncodedMatrixView& matrix) {
  if (matrix.format->info.code_bits == 8) return {{}, WithoutSigns(matrix.codes)};
  return {matrix.codes, {}};
}

bool IsAffine(const FormatInfo& format) { return RowOf(format).mode == kAffine; }

std::vector<PlannedTensor> PlannedOf(std::vector<EncodedTensor> parts) {
  std::vector<PlannedTensor> tensors;
  for (EncodedTensor& part : parts) tensors.push_back(std::move(part.tensor));
  return tensors;
}

std::vector<PlannedTensor> CompressedTensors(std::string_view stem, const FormatRow& format, std::size_t rows,
                                             std::size_t cols) {
  std::vector<PlannedTensor> tensors = PlannedOf(EncodedTensors(stem, format, rows, cols));
  if (format.info.code_bits == 8) tensors[0] = {tensors[0].name, DType::kI32, {rows, cols / 4}};
  if (CompressedTensorsName(format.info) != kPackQuantized) tensors.pop_back();  // the shape
  return tensors;
}

std::vector<PlannedTensor> MlxTensors(DType number, std::string_view stem, const FormatRow& format, std::size_t rows,
                                      std::size_t cols) {
  const FormatInfo& info = format.info;
  const auto name = [&](std::string_view suffix) { return fmt::format("{}{}", stem, suffix); };
  const std::size_t groups = GroupsPerRow(info, cols);
  const auto bits = static_cast<std::size_t>(info.code_bits);
  std::vector<PlannedTensor> tensors = {{name(kWeightSuffix), DType::kU32, {rows, cols * bits / 32}},
                                        {name(kMlxScales), number, {rows, groups}}};
  if (IsAffine(info)) {
    tensors.push_back({name(kMlxBiases), number, {rows, groups}});
  } else {
    tensors[1].dtype = DType::kU8;
  }
  return tensors;
}

template <class Visit>
void ForGroups(const EncodedMatrixView& matrix, Visit visit) {
  for (std::size_t row = 0; row < matrix.rows; ++row) {
    for (std::size_t group = 0; group < matrix.groups(); ++group) {
      visit(row, group, AffineOf(*matrix.format, GetParams(matrix, row, group)));
    }
  }
}

std::vector<TensorBytes> MlxBytes(DType number, const EncodedMatrixView& matrix) {
  std::vector<TensorBytes> out;
  out.push_back(CodesOf(matrix));
  if (!IsAffine(matrix.format->info)) {
    out.push_back({matrix.scales, {}});
    return out;
  }
  TensorBytes scales, biases;
  ForGroups(matrix, [&](std::size_t, std::size_t, AffineGroup affine) {
    AppendNumber(number, affine.scale, scales.made);
    AppendNumber(number, affine.bias, biases.made);
  });
  out.push_back(std::move(scales));
  out.push_back(std::move(biases));
  return out;
}

std::vector<TensorBytes> PackedBytes(FolderLayout layout, const EncodedMatrixView& matrix) {
  const FormatInfo& info = matrix.format->info;
  const bool own = layout == FolderLayout::kOwn;
  std::vector<TensorBytes> out;
  for (const EncodedTensor& part : EncodedTensors({}, *matrix.format, matrix.rows, matrix.cols)) {
    if (part.bytes != nullptr) {
      out.push_back({matrix.*part.bytes, {}});
    } else if (own || CompressedTensorsName(info) == kPackQuantized) {
      const auto shape = EncodedShapeBytes(matrix.rows, matrix.cols);
      out.push_back({{}, {shape.begin(), shape.end()}});
    }
  }
  if (!own) out[0] = CodesOf(matrix);
  return out;
}

}  // namespace

std::string_view NameOf(FolderLayout layout) {
  switch (layout) {
    case FolderLayout::kCompressedTensors:
      return "compressed-tensors";
    case FolderLayout::kMlx:
      return "MLX";
    case FolderLayout::kOwn:
      break;
  }
  return "metal-marlin";
}

bool Holds(FolderLayout layout, const FormatInfo& format) {
  if (layout == FolderLayout::kOwn) return HasGroups(format);
  return !(layout == FolderLayout::kMlx ? RowOf(format).mode : RowOf(format).packed).empty();
}

std::string FormatsOf(FolderLayout layout) {
  std::string names;
  for (const FormatRow& row : Formats()) {
    if (Holds(layout, row.info)) names += fmt::format("{}{}", names.empty() ? "" : ", ", row.info.name);
  }
  return names;
}

std::string ContainersOf(const FormatInfo& format) {
  std::string names = BlockTypeOf(format) ? "GGUF" : "";
  for (const FolderLayout layout : {FolderLayout::kCompressedTensors, FolderLayout::kMlx}) {
    if (Holds(layout, format)) names += fmt::format("{}{}", names.empty() ? "" : ", ", NameOf(layout));
  }
  return names;
}

std::string_view CompressedTensorsName(const FormatInfo& format) { return RowOf(format).packed; }

json CompressedTensorsWeights(const FormatInfo& format) {
  const FolderFormat& row = RowOf(format);
  json weights = {
      {"num_bits", format.code_bits}, {"type", row.number},       {"symmetric", format.zero_point_bits == 0},
      {"group_size", format.group},   {"strategy", row.strategy}, {"dynamic", false}};
  if (!row.scale.empty()) weights["scale_dtype"] = row.scale;
  return weights;
}

json MlxSettings(const FormatInfo& format) {
  return {{"group_size", format.group}, {"bits", format.code_bits}, {"mode", RowOf(format).mode}};
}

std::vector<PlannedTensor> TensorsOf(FolderLayout layout, DType number, std::string_view stem, const FormatRow& format,
                                     std::size_t rows, std::size_t cols) {
  MARLIN_CHECK(Holds(layout, format.info), "a format that the container holds");
  if (layout == FolderLayout::kOwn) return PlannedOf(EncodedTensors(stem, format, rows, cols));
  MARLIN_CHECK(cols % static_cast<std::size_t>(format.info.group) == 0, "rows of whole groups");
  if (layout == FolderLayout::kMlx) return MlxTensors(number, stem, format, rows, cols);
  return CompressedTensors(stem, format, rows, cols);
}

std::vector<TensorBytes> BytesOf(FolderLayout layout, DType number, const EncodedMatrixView& matrix) {
  MARLIN_CHECK(Holds(layout, matrix.format->info), "a format that the container holds");
  return layout == FolderLayout::kMlx ? MlxBytes(number, matrix) : PackedBytes(layout, matrix);
}

InexactGroups CountInexact(const EncodedMatrixView& matrix, DType number) {
  InexactGroups out;
  if (!IsAffine(matrix.format->info)) return out;
  ForGroups(matrix, [&](std::size_t row, std::size_t group, AffineGroup affine) {
    ++out.groups;
    if (RoundedTo(number, affine.scale) == affine.scale && RoundedTo(number, affine.bias) == affine.bias) return;
    if (out.count++ == 0) {
      out.row = row;
      out.group = group;
    }
  });
  return out;
}

AffineGroup AffineOf(const FormatRow& format, const GroupParams& params) {
  AffineGroup affine{params.scale, 0};
  const std::uint32_t code = LeastCode(format.info);
  format.decode(std::span(&code, 1), params, std::span(&affine.bias, 1));
  return affine;
}

float RoundedTo(DType number, float value) {
  if (number == DType::kF16) return HalfToFloat(FloatToHalf(value));
  if (number == DType::kBF16) return Bf16ToFloat(FloatToBf16(value));
  return value;
}

void AppendNumber(DType number, float value, std::vector<std::uint8_t>& out) {
  const auto put = [&](auto bits) {
    const std::size_t at = out.size();
    out.resize(at + sizeof(bits));
    std::memcpy(out.data() + at, &bits, sizeof(bits));
  };
  if (number == DType::kF32) return put(value);
  put(number == DType::kF16 ? FloatToHalf(value) : FloatToBf16(value));
}

}  // namespace marlin
