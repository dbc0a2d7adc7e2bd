#include "model/sizes.h"

#include <algorithm>

#include "formats/encoded_matrix.h"
#include "formats/formats.h"

namespace marlin {
namespace {

std::uint64_t WeightsOf(const Block& block) {
  std::uint64_t weights = 0;
  for (const Matrix& matrix : block.matrices) weights += std::uint64_t{matrix.rows} * matrix.cols;
  return weights;
}

}  // namespace

std::uint64_t LinearWeights(const Description& description) {
  std::uint64_t weights = 0;
  for (const Block& block : description.blocks) weights += WeightsOf(block);
  return weights;
}

std::uint64_t LargestBlock(const Description& description) {
  std::uint64_t most = 0;
  for (const Block& block : description.blocks) most = std::max(most, WeightsOf(block));
  return most;
}

std::uint64_t LinearBytes(const Description& description, const FormatRow& format) {
  std::uint64_t bytes = 0;
  for (const Block& block : description.blocks) {
    for (const Matrix& matrix : block.matrices) {
      bytes += SizeOfEncoded(FormatForRows(format, matrix.cols).info, matrix.rows, matrix.cols).total();
    }
  }
  return bytes;
}

std::uint64_t ModelBytes(const Description& description, const FormatRow* format) {
  const std::uint64_t fp16 = 2 * CountParameters(description);
  return format == nullptr ? fp16 : fp16 - 2 * LinearWeights(description) + LinearBytes(description, *format);
}

std::uint64_t StoredBytes(const Description& description, const FormatRow* format) {
  std::uint64_t matrices = 0;
  for (const Block& block : description.blocks) matrices += block.matrices.size();
  constexpr std::uint64_t kShape = 2 * sizeof(std::uint64_t);
  return ModelBytes(description, format) + (format == nullptr ? 0 : matrices * kShape);
}

}  // namespace marlin
