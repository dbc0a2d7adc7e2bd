// Writes and reads an encoded matrix as tensors of a checkpoint. The names and, for INT4 whose groups divide its rows,
// the bytes are those of the compressed-tensors "pack-quantized" layout.
//
//   stem.weight_packed      codes: I32 [rows, cols / 8] for INT4 with cols % 8 == 0, else U8 [rows, bytes of a row];
//                           I8 [rows, cols] for INT8
//   stem.weight_scale       F16 [rows, groups]; U8 for powers of two, F8_E4M3, I8; U8 [rows, bytes of a row] for 6 bits
//   stem.weight_zero_point  I32 [ceil(rows / 8), groups], for formats with zero points
//   stem.weight_bias        F16 [rows, groups] or U8 [rows, bytes of a row], for formats with biases
//   stem.weight_global_scale  F32 [1], for formats with one unit per matrix: 1 / unit
//   stem.weight_unit        F16 [rows, blocks, units], for formats with units per block
//   stem.weight_shape       I64 [2]: rows, cols
//
// config.json has the format of each stem: quantization_config / metal_marlin / plan. A checkpoint of others has no
// such plan; its compressed-tensors configuration tells the format.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "files/safetensors_writer.h"
#include "formats/encoded_matrix.h"

namespace marlin {

struct Checkpoint;

enum class FolderLayout;

// "quant_method" of an MLX folder that this program wrote; MLX itself reads "quantization".
inline constexpr std::string_view kMlxMethod = "mlx";

inline constexpr std::string_view kWeightSuffix = ".weight";
inline constexpr std::string_view kPackedSuffix = ".weight_packed";
inline constexpr std::string_view kScaleSuffix = ".weight_scale";
inline constexpr std::string_view kZeroPointSuffix = ".weight_zero_point";
inline constexpr std::string_view kBiasSuffix = ".weight_bias";
inline constexpr std::string_view kGlobalScaleSuffix = ".weight_global_scale";
inline constexpr std::string_view kUnitSuffix = ".weight_unit";
inline constexpr std::string_view kShapeSuffix = ".weight_shape";

// The name of the tensor of a matrix that is not encoded.
inline std::string WeightName(std::string_view stem) { return std::string(stem) + std::string(kWeightSuffix); }

// All of them.
inline constexpr std::array kEncodedSuffixes = {kPackedSuffix, kScaleSuffix,       kZeroPointSuffix, kBiasSuffix,
                                                kUnitSuffix,   kGlobalScaleSuffix, kShapeSuffix};

// One tensor of an encoded matrix.
struct EncodedTensor {
  PlannedTensor tensor;
  std::span<const std::uint8_t> EncodedMatrixView::*bytes = nullptr;  // null: the shape
};

// The tensors of an encoded matrix, in file order. The format has groups.
std::vector<EncodedTensor> EncodedTensors(std::string_view stem, const FormatRow& format, std::size_t rows,
                                          std::size_t cols);

// The stem of a tensor that may be a part of an encoded matrix.
std::optional<std::string_view> StemOfEncoded(std::string_view name);

// The bytes of stem.weight_shape.
std::array<std::uint8_t, 16> EncodedShapeBytes(std::size_t rows, std::size_t cols);

struct EncodedShape {
  std::size_t rows = 0, cols = 0;
};
// stem.weight_shape beside the codes, which are there; believed only as far as they are large enough for it, so nothing
// computed from it overflows. Errors: kInput.
Result<EncodedShape> ReadEncodedShape(const Checkpoint& checkpoint, std::string_view stem);

// Whether other programs can read the matrix as compressed-tensors "pack-quantized".
bool FitsPackQuantized(const FormatInfo& format, std::size_t cols);

// The format of a matrix, as the configuration and its tensors say. Errors: kInput, kUnsupported.
Result<const FormatRow*> FormatOf(const Checkpoint& checkpoint, std::string_view stem, std::size_t rows,
                                  std::size_t cols);

// Enters the format of a matrix into the plan of a folder that this program wrote; does nothing to other
// configurations.
void NameFormat(nlohmann::json& config, const std::string& stem, std::string_view format);

// Errors: kInput (parts missing, of other shapes or types than the format wants: each named with got and want),
// kUnsupported (a quantization that this program does not compute).
Result<EncodedMatrixView> FindEncoded(const Checkpoint& checkpoint, std::string_view stem);

// That the weights are quantized in a way that this program reads, or not at all: a "quantization_config" of null is
// taken out of the configuration. Names that were accepted when the folder was made count as accepted again. Errors:
// kUnsupported (quantized by another program; names it), kInput (the configuration makes no sense).
Status CheckQuantization(Checkpoint& checkpoint);

// Of a folder with this configuration: whose names and bytes its tensors have.
FolderLayout LayoutOf(const nlohmann::json& config);

// What a rotated folder needs while it runs, by its name in "rotation": a rotation that is not part of the weights.
// Empty where the weights hold all of it: seed, heads, residual.
std::optional<std::string> OnlineRotation(const nlohmann::json& config);

// What this program wrote about a folder that it made.
struct MadeBy {
  std::string method;
  std::string text_name, text_sha256;  // of the calibration; empty without
  std::size_t windows = 0, ctx = 0;
  std::string plan_sha256, plan_budget;  // of a mixed plan; empty without
};
// config: of a checkpoint. Empty if it has no entry of this program.
std::optional<MadeBy> ReadMadeBy(const nlohmann::json& config);

}  // namespace marlin
