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

// The formats that have one, for messages: "int4-g64, int4-g128, int8-g128, ...".
std::string FormatsWithBlockTypes();

// Groups whose zero point times scale is no fp16 number, which a block type would have to store: 0 where the blocks
// hold the matrix without loss. A matrix whose format has a block type.
std::size_t CountInexactInBlocks(const EncodedMatrixView& matrix);

// One row of a matrix whose format has a block type; cols is a multiple of the block. out: the row's whole blocks.
void EncodeBlocks(const EncodedMatrixView& matrix, std::size_t row, std::span<std::uint8_t> out);

}  // namespace marlin
