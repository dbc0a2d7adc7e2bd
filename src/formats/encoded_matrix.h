// A weight matrix in a format: the canonical, device-independent byte layout, the same in memory and on disk.
//
//   codes        [rows][ceil(cols * code_bits / 8)] bytes; 4-bit codes: byte j = code 2j | code 2j+1 << 4;
//                wider codes little-endian
//   scales       [rows][groups] fp16, little-endian, or bytes (scale.h)   (formats with groups)
//   zero_points  [ceil(rows / 8)][groups] 32-bit words, little-endian: row r of group g is nibble r % 8 of word
//                [r / 8][g]; the padding of the last word is 0              (formats with zero points)
//
// groups = ceil(cols / group). If cols is a multiple of the group and of 8, the bytes of INT4 are those of the
// compressed-tensors "pack-quantized" layout.
#pragma once

#include <cstddef>
#include <cstdint>
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
  std::size_t total() const { return code_bytes + scale_bytes + zero_point_bytes; }
};

// Exact bytes of a [rows, cols] matrix, short last groups and padding included.
EncodedSize SizeOfEncoded(const FormatInfo& info, std::size_t rows, std::size_t cols);

constexpr std::size_t CodeBytesPerRow(const FormatInfo& info, std::size_t cols) {
  return (cols * static_cast<std::size_t>(info.code_bits) + 7) / 8;
}

// Borrowed. Spans have exactly the sizes of SizeOfEncoded.
struct EncodedMatrixView {
  const FormatRow* format = nullptr;
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::span<const std::uint8_t> codes;
  std::span<const std::uint8_t> scales;
  std::span<const std::uint8_t> zero_points;

  std::size_t groups() const { return GroupsPerRow(format->info, cols); }
};

// Owning. Created zero-filled by the constructor.
struct EncodedMatrix {
  EncodedMatrix() = default;
  EncodedMatrix(const FormatRow& format, std::size_t rows, std::size_t cols);
  EncodedMatrixView view() const { return {format, rows, cols, codes, scales, zero_points}; }

  const FormatRow* format = nullptr;
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::vector<std::uint8_t> codes;
  std::vector<std::uint8_t> scales;
  std::vector<std::uint8_t> zero_points;
};

GroupParams GetParams(const EncodedMatrixView& matrix, std::size_t row, std::size_t group);
void SetParams(EncodedMatrix& matrix, std::size_t row, std::size_t group, GroupParams params);

// Codes [begin, begin + codes.size()) of a row. SetCodes: begin and the end of the range are even for 4-bit formats,
// or the end is the end of the row.
void GetCodes(const EncodedMatrixView& matrix, std::size_t row, std::size_t begin, std::span<std::uint32_t> codes);
void SetCodes(EncodedMatrix& matrix, std::size_t row, std::size_t begin, std::span<const std::uint32_t> codes);

// One row to fp32; out has cols elements.
void DecodeRow(const EncodedMatrixView& matrix, std::size_t row, std::span<float> out);

// Round to nearest, each group by itself: Fit, Round. weights [rows, cols], finite.
void EncodeRow(EncodedMatrix& matrix, std::size_t row, std::span<const float> weights);
EncodedMatrix Encode(const FormatRow& format, MatrixView<const float> weights);
EncodedMatrix Encode(const FormatRow& format, MatrixView<const float> weights, ThreadPool& pool);

}  // namespace marlin
