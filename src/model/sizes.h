// Size of a model in a configuration, computed from its description alone.
#pragma once

#include <cstdint>

#include "formats/format.h"
#include "model/description.h"

namespace marlin {

// Weights of the matrices of all blocks: what a configuration quantizes unless told otherwise.
std::uint64_t LinearWeights(const Description& description);

// Of the block that has most.
std::uint64_t LargestBlock(const Description& description);

// Their bytes in a format, or its fallback where its blocks do not divide the rows, scales and all else included.
std::uint64_t LinearBytes(const Description& description, const FormatRow& format);

// Tensor bytes of the whole model, everything but these matrices in 16 bits; format == nullptr: everything.
std::uint64_t ModelBytes(const Description& description, const FormatRow* format);

// The same as a folder stores it: every quantized matrix has its shape beside it.
std::uint64_t StoredBytes(const Description& description, const FormatRow* format);

}  // namespace marlin
