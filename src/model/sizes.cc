#include "model/sizes.h"

#include "formats/encoded_matrix.h"

namespace marlin {

std::uint64_t LinearWeights(const ModelConfig& config) {
  std::uint64_t weights = 0;
  for (const LinearSlot& slot : kLinearSlots) weights += slot.rows(config) * slot.cols(config);
  return config.layers * weights;
}

std::uint64_t LinearBytes(const ModelConfig& config, const FormatInfo& format) {
  std::uint64_t bytes = 0;
  for (const LinearSlot& slot : kLinearSlots) {
    bytes += SizeOfEncoded(format, slot.rows(config), slot.cols(config)).total();
  }
  return config.layers * bytes;
}

std::uint64_t ModelBytes(const ModelConfig& config, const FormatRow* format) {
  const std::uint64_t fp16 = 2 * CountParameters(config);
  return format == nullptr ? fp16 : fp16 - 2 * LinearWeights(config) + LinearBytes(config, format->info);
}

}  // namespace marlin
