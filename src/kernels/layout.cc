#include "kernels/layout.h"

#include "base/check.h"

namespace marlin {
namespace {

constexpr std::size_t RoundUp(std::size_t value, std::size_t step) { return (value + step - 1) / step * step; }

std::size_t CodeBytes(std::size_t code_bits, std::size_t length) {
  if (code_bits == 4) return RoundUp(length, 8) / 8 * 256;
  return length * kPanelRows * code_bits / 8;
}

// Where a group of a row's panel starts.
std::size_t GroupOffset(const PanelGeometry& geometry, std::size_t row, std::size_t group) {
  return row / kPanelRows * geometry.panel_bytes + group * geometry.group_bytes;
}

// The nibble of row r (in its panel) and k (in its group).
struct Nibble {
  std::size_t byte;
  int shift;
};

Nibble NibblePlace(std::size_t r, std::size_t k) {
  return {k / 8 * 256 + r / 16 * 64 + r % 16 * 4 + k % 4, k % 8 < 4 ? 0 : 4};
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
  g.code_bits = static_cast<std::size_t>(info.code_bits);
  g.has_scales = info.scale_bits != 0;
  g.has_zero_points = info.zero_point_bits != 0;
  g.zero_offset = g.has_scales ? kPanelRows * 2 : 0;
  g.code_offset = g.zero_offset + (g.has_zero_points ? kPanelRows : 0);
  g.group_bytes = g.code_offset + CodeBytes(g.code_bits, g.group);
  g.panel_bytes = (g.groups - 1) * g.group_bytes + g.code_offset + CodeBytes(g.code_bits, g.GroupLength(g.groups - 1));
  return g;
}

GroupParams GetPackedParams(const PanelGeometry& geometry, const std::uint8_t* packed, std::size_t row,
                            std::size_t group) {
  const std::uint8_t* base = packed + GroupOffset(geometry, row, group);
  const std::size_t r = row % kPanelRows;
  GroupParams params;
  if (geometry.has_scales) params.scale = static_cast<std::uint16_t>(base[2 * r] | base[2 * r + 1] << 8);
  if (geometry.has_zero_points) params.zero_point = base[geometry.zero_offset + r];
  return params;
}

void SetPackedParams(const PanelGeometry& geometry, std::uint8_t* packed, std::size_t row, std::size_t group,
                     GroupParams params) {
  std::uint8_t* base = packed + GroupOffset(geometry, row, group);
  const std::size_t r = row % kPanelRows;
  if (geometry.has_scales) {
    base[2 * r] = static_cast<std::uint8_t>(params.scale);
    base[2 * r + 1] = static_cast<std::uint8_t>(params.scale >> 8);
  }
  if (geometry.has_zero_points) base[geometry.zero_offset + r] = params.zero_point;
}

void GetPackedCodes(const PanelGeometry& geometry, const std::uint8_t* packed, std::size_t row, std::size_t group,
                    std::size_t begin, std::span<std::uint32_t> codes) {
  const std::uint8_t* base = packed + GroupOffset(geometry, row, group) + geometry.code_offset;
  const std::size_t r = row % kPanelRows;
  const std::size_t width = geometry.code_bits / 8;
  for (std::size_t i = 0; i < codes.size(); ++i) {
    const std::size_t k = begin + i;
    if (geometry.code_bits == 4) {
      const Nibble place = NibblePlace(r, k);
      codes[i] = base[place.byte] >> place.shift & 15u;
      continue;
    }
    const std::uint8_t* bytes = base + (k * kPanelRows + r) * width;
    codes[i] = 0;
    for (std::size_t b = 0; b < width; ++b) codes[i] |= static_cast<std::uint32_t>(bytes[b]) << (8 * b);
  }
}

void SetPackedCodes(const PanelGeometry& geometry, std::uint8_t* packed, std::size_t row, std::size_t group,
                    std::size_t begin, std::span<const std::uint32_t> codes) {
  std::uint8_t* base = packed + GroupOffset(geometry, row, group) + geometry.code_offset;
  const std::size_t r = row % kPanelRows;
  const std::size_t width = geometry.code_bits / 8;
  for (std::size_t i = 0; i < codes.size(); ++i) {
    const std::size_t k = begin + i;
    if (geometry.code_bits == 4) {
      const Nibble place = NibblePlace(r, k);
      base[place.byte] = static_cast<std::uint8_t>(base[place.byte] | codes[i] << place.shift);
      continue;
    }
    std::uint8_t* bytes = base + (k * kPanelRows + r) * width;
    for (std::size_t b = 0; b < width; ++b) bytes[b] = static_cast<std::uint8_t>(codes[i] >> (8 * b));
  }
}

}  // namespace marlin
