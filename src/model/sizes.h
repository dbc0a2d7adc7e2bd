// Size of a model in a configuration, computed from its description alone.
#pragma once

#include <cstdint>

#include "formats/format.h"
#include "model/config.h"

namespace marlin {

// Weights of the linear layers of all blocks: what a configuration quantizes unless told otherwise.
std::uint64_t LinearWeights(const ModelConfig& config);

// Their bytes in a format, scales and zero points included.
std::uint64_t LinearBytes(const ModelConfig& config, const FormatInfo& format);

// Tensor bytes of the whole model, everything but the linear layers in 16 bits; format == nullptr: everything.
std::uint64_t ModelBytes(const ModelConfig& config, const FormatRow* format);

}  // namespace marlin
