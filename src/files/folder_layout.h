// How an encoded matrix lies in the folders of other programs, and which format stands in which of them without loss:
// the table in folder_layout.cc is the list of both. folder_reader.h reads what is written by it.
//
//   compressed-tensors  stem.weight_packed, .weight_scale, .weight_zero_point, .weight_shape. INT4 as in
//                       quantized_layout.h. INT8: I32 [rows, cols / 4], byte = code + 128. MXFP4: U8 [rows, cols / 2],
//                       no shape.
//   MLX                 stem.weight U32 [rows, cols * bits / 32], .scales, .biases [rows, groups]. Affine: weight =
//                       scale * code + bias, the codes without a sign (INT8: code + 128). Otherwise no biases.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "files/safetensors_writer.h"
#include "formats/encoded_matrix.h"

namespace marlin {

enum class FolderLayout { kOwn, kCompressedTensors, kMlx };

inline constexpr std::string_view kMlxScales = ".scales";
inline constexpr std::string_view kMlxBiases = ".biases";

// "compressed-tensors", "MLX", or this program's own.
std::string_view NameOf(FolderLayout layout);

// Whether the container has the codes, scales and zero points of a format. Of kMlx what a tensor's own numbers allow is
// asked with CountInexact.
bool Holds(FolderLayout layout, const FormatInfo& format);
// The formats that it has, for messages: "int4-g64, int8-g128".
std::string FormatsOf(FolderLayout layout);
// The containers of other programs that have the format, GGUF among them: "GGUF, MLX". Empty if there is none.
std::string ContainersOf(const FormatInfo& format);

// Of a format that the container holds: "weights" and "format" of an entry of compressed-tensors' "config_groups".
nlohmann::json CompressedTensorsWeights(const FormatInfo& format);
std::string_view CompressedTensorsName(const FormatInfo& format);
// {group_size, bits, mode}.
nlohmann::json MlxSettings(const FormatInfo& format);

// The tensors of an encoded matrix, in file order. `number`: the type of MLX's scales and biases, where they are not
// bytes. The container holds the format and the group divides cols, or the layout is the own one.
std::vector<PlannedTensor> TensorsOf(FolderLayout layout, DType number, std::string_view stem, const FormatRow& format,
                                     std::size_t rows, std::size_t cols);

// The bytes of one of them: those of the matrix, or made for it.
struct TensorBytes {
  std::span<const std::uint8_t> view() const { return made.empty() ? given : std::span<const std::uint8_t>(made); }
  std::span<const std::uint8_t> given;
  std::vector<std::uint8_t> made;
};
// In the order of TensorsOf.
std::vector<TensorBytes> BytesOf(FolderLayout layout, DType number, const EncodedMatrixView& matrix);

// Groups whose scale or bias (what the code without a sign 0 decodes to) a type does not hold.
struct InexactGroups {
  std::size_t count = 0, groups = 0;
  std::size_t row = 0, group = 0;  // the first one
};
InexactGroups CountInexact(const EncodedMatrixView& matrix, DType number);

// Scale and bias of an affine format, in fp32, exact.
struct AffineGroup {
  float scale = 0, bias = 0;
};
AffineGroup AffineOf(const FormatRow& format, const GroupParams& params);

// A number as F32, F16 or BF16 holds it: rounded, and as bytes.
float RoundedTo(DType number, float value);
void AppendNumber(DType number, float value, std::vector<std::uint8_t>& out);

}  // namespace marlin
