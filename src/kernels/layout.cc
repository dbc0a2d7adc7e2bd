#include "kernels/layout.h"

#include <cstring>

#include "base/check.h"
#include "base/half.h"

namespace marlin {
namespace {

// Where a group of a row's panel starts.
std::size_t GroupOffset(const PanelGeometry& geometry, std::size_t row, std::size_t group) {
  return row / kPanelRows * geometry.panel_bytes + group * geometry.group_bytes;
}

// Number i of fp16 or fp32 numbers.
float GetNumber(const std::uint8_t* numbers, std::size_t i, std::size_t bytes) {
  if (bytes == sizeof(float)) {
    float number = 0;
    std::memcpy(&number, numbers + i * bytes, bytes);
    return number;
  }
  std::uint16_t half = 0;
  std::memcpy(&half, numbers + i * bytes, bytes);
  return HalfToFloat(half);
}

void SetNumber(std::uint8_t* numbers, std::size_t i, std::size_t bytes, float number) {
  const std::uint16_t half = FloatToHalf(number);
  std::memcpy(numbers + i * bytes, bytes == sizeof(float) ? static_cast<const void*>(&number) : &half, bytes);
}

// Where the code of row r (in its panel) and k (in its group) is: the first byte, and the shift of a nibble.
struct Place {
  std::size_t byte;
  int shift;
};

Place CodePlace(std::size_t code_bits, std::size_t r, std::size_t k) {
  const std::size_t step = k / kStepColumns * kStepColumns * kPanelRows * code_bits / 8;
  const std::size_t in_step = k % kStepColumns;
  switch (code_bits) {
    case 4:
      return {step + r / 16 * 64 + r % 16 * 4 + in_step % 4, in_step < 4 ? 0 : 4};
    case 8:
      return {step + (in_step / 4 * kPanelRows + r) * 4 + in_step % 4, 0};
    case 16: {
      const int column = static_cast<int>(in_step);
      const std::size_t pair = static_cast<std::size_t>(PairOf(column)) * kPanelRows + r;
      return {step + (pair * 2 + static_cast<std::size_t>(HalfOf(column))) * 2, 0};
    }
    default:
      return {(k * kPanelRows + r) * code_bits / 8, 0};
  }
}

}  // namespace

PanelGeometry MakeGeometry(const FormatInfo& info, std::size_t rows, std::size_t cols) {
  MARLIN_CHECK(rows > 0 && cols > 0, "an empty matrix has no panels");
  PanelGeometry g;
  g.rows = rows;
  g.cols = cols;
  g.panels = (rows + kPanelRows - 1) / kPanelRows;
  g.group = info.group == 0 ? cols : static_cast<std::size_t>(info.group);
  g.groups = (cols + g.group - 1) / g.group;
  g.code_bits = static_cast<std::size_t>(info.code_bits > 4 && info.code_bits < 8 ? 8 : info.code_bits);
  g.has_scales = info.scale_bits != 0;
  g.has_biases = HasBias(info);
  g.has_zero_points = info.zero_point_bits != 0 || info.fixed_zero_point != 0;
  g.scale_bytes = info.unit_scope == UnitScope::kBlock ? sizeof(float) : sizeof(std::uint16_t);
  g.bias_offset = g.has_scales ? kPanelRows * g.scale_bytes : 0;
  g.zero_offset = g.bias_offset + (g.has_biases ? kPanelRows * g.scale_bytes : 0);
  g.code_offset = g.zero_offset + (g.has_zero_points ? kPanelRows : 0);
  const auto code_bytes = [&](std::size_t length) { return g.StoredLength(length) * kPanelRows * g.code_bits / 8; };
  g.group_bytes = g.code_offset + code_bytes(g.group);
  g.panel_bytes = (g.groups - 1) * g.group_bytes + g.code_offset + code_bytes(g.GroupLength(g.groups - 1));
  return g;
}

GroupParams GetPackedParams(const PanelGeometry& geometry, const std::uint8_t* packed, std::size_t row,
                            std::size_t group) {
  const std::uint8_t* base = packed + GroupOffset(geometry, row, group);
  const std::size_t r = row % kPanelRows;
  GroupParams params;
  if (geometry.has_scales) params.scale = GetNumber(base, r, geometry.scale_bytes);
  if (geometry.has_biases) params.bias = GetNumber(base + geometry.bias_offset, r, geometry.scale_bytes);
  if (geometry.has_zero_points) params.zero_point = base[geometry.zero_offset + r];
  return params;
}

void SetPackedParams(const PanelGeometry& geometry, std::uint8_t* packed, std::size_t row, std::size_t group,
                     const GroupParams& params) {
  std::uint8_t* base = packed + GroupOffset(geometry, row, group);
  const std::size_t r = row % kPanelRows;
  if (geometry.has_scales) SetNumber(base, r, geometry.scale_bytes, params.scale);
  if (geometry.has_biases) SetNumber(base + geometry.bias_offset, r, geometry.scale_bytes, params.bias);
  if (geometry.has_zero_points) base[geometry.zero_offset + r] = params.zero_point;
}

void GetPackedCodes(const PanelGeometry& geometry, const std::uint8_t* packed, std::size_t row, std::size_t group,
                    std::size_t begin, std::span<std::uint32_t> codes) {
  const std::uint8_t* base = packed + GroupOffset(geometry, row, group) + geometry.code_offset;
  for (std::size_t i = 0; i < codes.size(); ++i) {
    const Place place = CodePlace(geometry.code_bits, row % kPanelRows, begin + i);
    const std::uint8_t* bytes = base + place.byte;
    if (geometry.code_bits == 4) {
      codes[i] = *bytes >> place.shift & 15u;
      continue;
    }
    codes[i] = 0;
    for (std::size_t b = 0; b < geometry.code_bits / 8; ++b) {
      codes[i] |= static_cast<std::uint32_t>(bytes[b]) << (8 * b);
    }
  }
}

void SetPackedCodes(const PanelGeometry& geometry, std::uint8_t* packed, std::size_t row, std::size_t group,
                    std::size_t begin, std::span<const std::uint32_t> codes) {
  std::uint8_t* base = packed + GroupOffset(geometry, row, group) + geometry.code_offset;
  for (std::size_t i = 0; i < codes.size(); ++i) {
    const Place place = CodePlace(geometry.code_bits, row % kPanelRows, begin + i);
    std::uint8_t* bytes = base + place.byte;
    if (geometry.code_bits == 4) {
      *bytes = static_cast<std::uint8_t>(*bytes | codes[i] << place.shift);
      continue;
    }
    for (std::size_t b = 0; b < geometry.code_bits / 8; ++b) bytes[b] = static_cast<std::uint8_t>(codes[i] >> (8 * b));
  }
}

}  // namespace marlin
