// A weight matrix in a format: the canonical, device-independent byte layout, the same in memory and on disk.
//
//   codes        [rows][ceil(cols * code_bits / 8)] bytes: code i of a row is at bits [i * code_bits, (i + 1) *
//                code_bits) of its bytes, counted from the lowest bit of the first one
//   scales       [rows][ceil(groups * scale_bits / 8)] bytes in the same manner (scale.h)   (formats with groups)
//   zero_points  [ceil(rows / 8)][groups] 32-bit words, little-endian: row r of group g is nibble r % 8 of word
//                [r / 8][g]; the padding of the last word is 0              (formats with zero points)
//   biases       as scales: fp16, or the multiple of the unit               (formats with biases)
//   units        [rows][blocks] fp16 units of the scales, with biases [rows][blocks][2] those of scales and of biases;
//                one fp32 where the matrix has one: 1 / unit                (formats with units)
//
// groups = ceil(cols / group). If cols is a multiple of the group and of 8, the bytes of INT4 are those of the
// compressed-tensors "pack-quantized" layout.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/matrix.h"
#include "base/thread_pool.h"
#include "formats/format.h"

namespace marlin {

struct EncodedSize {
  std::size_t code_bytes = 0;
  std::size_t scale_bytes = 0;
  std::size_t zero_point_bytes = 0;
  std::size_t bias_bytes = 0;
  std::size_t unit_bytes = 0;
  std::size_t total() const { return code_bytes + scale_bytes + zero_point_bytes + bias_bytes + unit_bytes; }
};

// Exact bytes of a [rows, cols] matrix, short last groups and padding included.
EncodedSize SizeOfEncoded(const FormatInfo& info, std::size_t rows, std::size_t cols);

// Bytes of `count` adjacent numbers of `bits` bits.
constexpr std::size_t BytesOfBits(std::size_t count, int bits) {
  return (count * static_cast<std::size_t>(bits) + 7) / 8;
}
constexpr std::size_t CodeBytesPerRow(const FormatInfo& info, std::size_t cols) {
  return BytesOfBits(cols, info.code_bits);
}
// Blocks of a row that have units of their own.
constexpr std::size_t UnitBlocks(const FormatInfo& info, std::size_t cols) {
  return info.unit_scope == UnitScope::kBlock ? cols / static_cast<std::size_t>(info.block) : 0;
}
// Units of a block: of the scales, and of the biases.
constexpr std::size_t UnitsPerBlock(const FormatInfo& info) { return HasBias(info) ? 2 : 1; }

// Borrowed. Spans have exactly the sizes of SizeOfEncoded.
struct EncodedMatrixView {
  const FormatRow* format = nullptr;
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::span<const std::uint8_t> codes;
  std::span<const std::uint8_t> scales;
  std::span<const std::uint8_t> zero_points;
  std::span<const std::uint8_t> biases;
  std::span<const std::uint8_t> units;

  std::size_t groups() const { return GroupsPerRow(format->info, cols); }
};

// Owning. Created zero-filled by the constructor.
struct EncodedMatrix {
  EncodedMatrix() = default;
  // FitsRows(format, cols).
  EncodedMatrix(const FormatRow& format, std::size_t rows, std::size_t cols);
  EncodedMatrixView view() const { return {format, rows, cols, codes, scales, zero_points, biases, units}; }

  const FormatRow* format = nullptr;
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::vector<std::uint8_t> codes;
  std::vector<std::uint8_t> scales;
  std::vector<std::uint8_t> zero_points;
  std::vector<std::uint8_t> biases;
  std::vector<std::uint8_t> units;
};

// The parts of a matrix, in the order in which files hold them.
struct EncodedPart {
  const char* name;
  std::vector<std::uint8_t> EncodedMatrix::*owned;
  std::span<const std::uint8_t> EncodedMatrixView::*borrowed;
  std::size_t EncodedSize::*bytes;
};
inline constexpr std::array kEncodedParts = {
    EncodedPart{"codes", &EncodedMatrix::codes, &EncodedMatrixView::codes, &EncodedSize::code_bytes},
    EncodedPart{"scales", &EncodedMatrix::scales, &EncodedMatrixView::scales, &EncodedSize::scale_bytes},
    EncodedPart{"zero_points", &EncodedMatrix::zero_points, &EncodedMatrixView::zero_points,
                &EncodedSize::zero_point_bytes},
    EncodedPart{"biases", &EncodedMatrix::biases, &EncodedMatrixView::biases, &EncodedSize::bias_bytes},
    EncodedPart{"units", &EncodedMatrix::units, &EncodedMatrixView::units, &EncodedSize::unit_bytes}};

GroupParams GetParams(const EncodedMatrixView& matrix, std::size_t row, std::size_t group);
// params: settled. The units of a block (of the matrix) are those of the params set last. Groups of one row may share
// bytes, rows do not, except for zero points (eight rows) and the unit of a matrix.
void SetParams(EncodedMatrix& matrix, std::size_t row, std::size_t group, const GroupParams& params);

// Chooses the units of all groups of a matrix: params [rows][groups of a row]. Nothing for formats without units.
void Settle(const FormatRow& format, std::size_t cols, std::span<GroupParams> params);

// Codes [begin, begin + codes.size()) of a row. SetCodes: begin and the end of the range are multiples of 8, or the end
// is the end of the row.
void GetCodes(const EncodedMatrixView& matrix, std::size_t row, std::size_t begin, std::span<std::uint32_t> codes);
void SetCodes(EncodedMatrix& matrix, std::size_t row, std::size_t begin, std::span<const std::uint32_t> codes);

// One row to fp32; out has cols elements.
void DecodeRow(const EncodedMatrixView& matrix, std::size_t row, std::span<float> out);

// Round to nearest, each group by itself: Fit, Settle, Round. weights [rows, cols], finite. EncodeRow: not for formats
// whose unit belongs to the whole matrix.
void EncodeRow(EncodedMatrix& matrix, std::size_t row, std::span<const float> weights);
EncodedMatrix Encode(const FormatRow& format, MatrixView<const float> weights);
EncodedMatrix Encode(const FormatRow& format, MatrixView<const float> weights, ThreadPool& pool);

// The same for rows that `read` gives: read(row, out) writes the weights of a row, twice for some formats, from any
// thread.
using ReadRowFn = std::function<void(std::size_t row, std::span<float> out)>;
EncodedMatrix Encode(const FormatRow& format, std::size_t rows, std::size_t cols, const ReadRowFn& read,
                     ThreadPool& pool);

// With given params [rows][groups], settled: every weight gets the nearest code.
EncodedMatrix EncodeWith(const FormatRow& format, MatrixView<const float> weights, std::span<const GroupParams> params,
                         ThreadPool& pool);

}  // namespace marlin
