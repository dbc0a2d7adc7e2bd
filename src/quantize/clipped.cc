#include "quantize/clipped.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <span>

#include "base/half.h"

namespace marlin {
namespace {

constexpr std::uint16_t kMagnitude = 0x7fff;
constexpr std::uint16_t kInfinity = 0x7c00;

// 16-bit numbers whose magnitude is at least `least`.
std::size_t CountFrom(std::span<const std::uint8_t> bytes, std::uint16_t least) {
  std::size_t count = 0;
  for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, bytes.data() + i, sizeof(bits));
    count += (bits & kMagnitude) >= least ? 1 : 0;
  }
  return count;
}

// The largest magnitude of a scale of a format; where units are shared, of a unit.
float LargestScale(const FormatRow& format) {
  return format.info.unit_scope == UnitScope::kBlock ? kHalfMax : std::abs(format.round_scale(kHalfMax, {}));
}

std::size_t CountLargestScales(const EncodedMatrixView& matrix) {
  const float largest = LargestScale(*matrix.format);
  const bool has_units = matrix.format->info.unit_scope == UnitScope::kBlock;
  std::size_t count = 0;
  for (std::size_t r = 0; r < matrix.rows; ++r) {
    for (std::size_t g = 0; g < matrix.groups(); ++g) {
      const GroupParams params = GetParams(matrix, r, g);
      const float magnitude = std::abs(has_units ? HalfToFloat(params.scale_unit) : params.scale);
      count += magnitude >= largest ? 1 : 0;
    }
  }
  return count;
}

}  // namespace

ClippedTensor FindClipped(const std::string& name, const EncodedMatrixView& matrix) {
  const FormatInfo& info = matrix.format->info;
  ClippedTensor tensor{name, std::string(info.name), 0, info.group != 0};
  if (tensor.has_scales) {
    tensor.count = CountLargestScales(matrix);
    tensor.largest = LargestScale(*matrix.format);
  } else if (info.name == "fp16") {
    tensor.count = CountFrom(matrix.codes, kInfinity);
  }
  return tensor;
}

std::string Describe(const ClippedTensor& tensor) {
  if (tensor.has_scales) {
    return fmt::format(
        "tensor {}: {} scales of {} end at {}, the largest scale of the format, so that their weights are cut off; "
        "keep this tensor in 16 bits (--plan)",
        tensor.name, tensor.count, tensor.format, tensor.largest);
  }
  return fmt::format("tensor {}: {} values exceed {}, the largest fp16 number, and became infinite; use another method",
                     tensor.name, tensor.count, kHalfMax);
}

}  // namespace marlin
