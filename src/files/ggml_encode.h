// Quantized matrices as ggml's blocks: which format stands in which block type without loss, and its bytes.
// ggml_blocks.h decodes them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "files/tensor.h"
#include "formats/encoded_matrix.h"

namespace marlin {

// The block type that holds the same codes and scales; none where every block type would change values.
std::optional<DType> BlockTypeOf(const FormatInfo& format);

// The formats that have one, for messages: "int8-g128, mxfp4, q4_0, q8_0".
std::string FormatsWithBlockTypes();

// One row of a matrix whose format has a block type; cols is a multiple of the block. out: the row's whole blocks.
void EncodeBlocks(const EncodedMatrixView& matrix, std::size_t row, std::span<std::uint8_t> out);

}  // namespace marlin
