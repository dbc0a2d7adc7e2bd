// The compute layout of a weight matrix: the only place where tile order exists.
//
// A matrix [n, k] is cut into panels of 64 rows, one after the other. Inside a panel the groups follow each other:
//
//   group    [64 scales]           formats with groups: fp16, or fp32 where scales are multiples of a block's unit
//            [64 biases]           formats with biases, of the same type
//            [64 u8 zero points]   formats with zero points, stored or fixed
//            codes
//
//   codes, 4 bits    [ceil(len / 8)][4][64 B]   64 B = 16 rows x 8 k; as 16 words of 32 bits, word r = row r:
//                      bit   0..3  4..7  8..11  12..15  16..19  20..23  24..27  28..31
//                      k      0     4     1      5       2       6       3       7
//                    so a shift and a table of 16-bit (32-bit) elements give the pairs of k in kPairs (one k) of 16
//                    rows, and the low (high) nibbles of a word are four consecutive k, as byte dot products want them
//   codes, 5 to 8 bits  as bytes
//                    [ceil(len / 8)][2][64 rows][4]     the same two quads of k
//   codes, 16 bits   [ceil(len / 8)][4][64 rows][2]     the same four pairs of k; little-endian
//   codes, 32 bits   [len][64 rows]                     little-endian
//
// len is the group's length; formats without groups have one group of length k. Missing rows have scale 0, bias 0, zero
// point 0 and code 0. The k that fill up the last 8 of a group have the code of the zero point, or 0; whatever weight
// that is, x is 0 there. Panels and groups start at multiples of 64 bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "formats/format.h"

namespace marlin {

inline constexpr std::size_t kPanelRows = 64;

// Number of k by which codes of up to 16 bits are stored, and the pairs of k that are adjacent.
inline constexpr std::size_t kStepColumns = 8;
inline constexpr int kPairs[4][2] = {{0, 2}, {4, 6}, {1, 3}, {5, 7}};
// The pair that column k of a step belongs to, and which of its two it is.
constexpr int PairOf(int k) { return k % 2 * 2 + k / 4; }
constexpr int HalfOf(int k) { return k % 4 / 2; }

// Sizes and distances of a matrix in this layout.
struct PanelGeometry {
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::size_t panels = 0;
  std::size_t group = 0;  // weights per scale; cols when the format has no groups
  std::size_t groups = 0;
  std::size_t code_bits = 0;
  std::size_t scale_bytes = 0;  // of one scale (and one bias)
  std::size_t bias_offset = 0;  // of the biases in a group
  std::size_t zero_offset = 0;  // of the zero points in a group
  std::size_t code_offset = 0;  // of the codes in a group
  bool has_scales = false;
  bool has_biases = false;
  bool has_zero_points = false;
  std::size_t group_bytes = 0;  // from one group to the next
  std::size_t panel_bytes = 0;  // from one panel to the next

  std::size_t bytes() const { return panels * panel_bytes; }
  std::size_t GroupLength(std::size_t g) const { return g + 1 < groups ? group : cols - g * group; }
  // Codes that are stored for a group of `length`, fillers included.
  std::size_t StoredLength(std::size_t length) const {
    return code_bits == 32 ? length : (length + kStepColumns - 1) / kStepColumns * kStepColumns;
  }
};

// rows and cols at least 1.
PanelGeometry MakeGeometry(const FormatInfo& info, std::size_t rows, std::size_t cols);

// One group of one row of a packed matrix; `packed` has geometry.bytes() bytes. Codes: exactly GroupLength(group).
// Units are not kept.
GroupParams GetPackedParams(const PanelGeometry& geometry, const std::uint8_t* packed, std::size_t row,
                            std::size_t group);
void SetPackedParams(const PanelGeometry& geometry, std::uint8_t* packed, std::size_t row, std::size_t group,
                     const GroupParams& params);
void GetPackedCodes(const PanelGeometry& geometry, const std::uint8_t* packed, std::size_t row, std::size_t group,
                    std::size_t begin, std::span<std::uint32_t> codes);
// Codes [begin, begin + codes.size()) of the group, fillers included. Nibbles are OR-ed in: the bytes were zero before.
void SetPackedCodes(const PanelGeometry& geometry, std::uint8_t* packed, std::size_t row, std::size_t group,
                    std::size_t begin, std::span<const std::uint32_t> codes);

}  // namespace marlin
