// The block types of ggml, decoded to fp32 exactly as ggml defines them. ggml_encode.h writes some of them.
#pragma once

#include <cstdint>
#include <span>

#include "files/tensor.h"

namespace marlin {

// Whether DecodeBlocks takes the dtype.
bool IsBlockType(DType dtype);

// Whole blocks: bytes has Info(dtype).block_bytes for every Info(dtype).block_elements floats of out.
void DecodeBlocks(DType dtype, std::span<const std::uint8_t> bytes, std::span<float> out);

}  // namespace marlin
