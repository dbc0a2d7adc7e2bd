#include "formats/encoded_matrix.h"

#include <algorithm>

#include "base/check.h"

namespace marlin {
namespace {

// Position of the zero point of (row, group): byte and shift.
struct Nibble {
  std::size_t byte;
  int shift;
};

Nibble ZeroPointPlace(std::size_t row, std::size_t group, std::size_t groups) {
  const std::size_t word = (row / 8) * groups + group;
  return {word * 4 + (row % 8) / 2, static_cast<int>(row % 2) * 4};
}

std::size_t GroupEnd(const FormatInfo& info, std::size_t begin, std::size_t cols) {
  return info.group == 0 ? cols : std::min(begin + static_cast<std::size_t>(info.group), cols);
}

}  // namespace

EncodedSize SizeOfEncoded(const FormatInfo& info, std::size_t rows, std::size_t cols) {
  const std::size_t groups = GroupsPerRow(info, cols);
  EncodedSize size;
  size.code_bytes = rows * CodeBytesPerRow(info, cols);
  size.scale_bytes = rows * groups * static_cast<std::size_t>(info.scale_bits) / 8;
  size.zero_point_bytes = info.zero_point_bits == 0 ? 0 : (rows + 7) / 8 * groups * 4;
  return size;
}

EncodedMatrix::EncodedMatrix(const FormatRow& f, std::size_t r, std::size_t c) : format(&f), rows(r), cols(c) {
  const EncodedSize size = SizeOfEncoded(f.info, r, c);
  codes.resize(size.code_bytes);
  scales.resize(size.scale_bytes);
  zero_points.resize(size.zero_point_bytes);
}

GroupParams GetParams(const EncodedMatrixView& matrix, std::size_t row, std::size_t group) {
  GroupParams params;
  const std::size_t groups = matrix.groups();
  const FormatInfo& info = matrix.format->info;
  if (info.scale_bits == 16) {
    const std::uint8_t* scale = matrix.scales.data() + (row * groups + group) * 2;
    params.scale = static_cast<std::uint16_t>(scale[0] | scale[1] << 8);
  } else if (info.scale_bits == 8) {
    params.scale = E8m0ToHalf(matrix.scales[row * groups + group]);
  }
  params.zero_point = static_cast<std::uint8_t>(info.fixed_zero_point);
  if (!matrix.zero_points.empty()) {
    const Nibble place = ZeroPointPlace(row, group, groups);
    params.zero_point = matrix.zero_points[place.byte] >> place.shift & 15;
  }
  return params;
}

void SetParams(EncodedMatrix& matrix, std::size_t row, std::size_t group, GroupParams params) {
  const std::size_t groups = GroupsPerRow(matrix.format->info, matrix.cols);
  const FormatInfo& info = matrix.format->info;
  if (info.scale_bits == 16) {
    std::uint8_t* scale = matrix.scales.data() + (row * groups + group) * 2;
    scale[0] = static_cast<std::uint8_t>(params.scale);
    scale[1] = static_cast<std::uint8_t>(params.scale >> 8);
  } else if (info.scale_bits == 8) {
    matrix.scales[row * groups + group] = HalfToE8m0(params.scale);
  }
  if (!matrix.zero_points.empty()) {
    const Nibble place = ZeroPointPlace(row, group, groups);
    std::uint8_t& byte = matrix.zero_points[place.byte];
    byte = static_cast<std::uint8_t>((byte & ~(15 << place.shift)) | params.zero_point << place.shift);
  }
}

void GetCodes(const EncodedMatrixView& matrix, std::size_t row, std::size_t begin, std::span<std::uint32_t> codes) {
  const FormatInfo& info = matrix.format->info;
  const std::uint8_t* bytes = matrix.codes.data() + row * CodeBytesPerRow(info, matrix.cols);
  if (info.code_bits == 4) {
    for (std::size_t i = 0; i < codes.size(); ++i) {
      const std::size_t k = begin + i;
      codes[i] = bytes[k / 2] >> (k % 2 * 4) & 15u;
    }
    return;
  }
  const std::size_t width = static_cast<std::size_t>(info.code_bits) / 8;
  for (std::size_t i = 0; i < codes.size(); ++i) {
    std::uint32_t code = 0;
    for (std::size_t b = 0; b < width; ++b)
      code |= static_cast<std::uint32_t>(bytes[(begin + i) * width + b]) << (8 * b);
    codes[i] = code;
  }
}

void SetCodes(EncodedMatrix& matrix, std::size_t row, std::size_t begin, std::span<const std::uint32_t> codes) {
  const FormatInfo& info = matrix.format->info;
  std::uint8_t* bytes = matrix.codes.data() + row * CodeBytesPerRow(info, matrix.cols);
  if (info.code_bits == 4) {
    for (std::size_t i = 0; i < codes.size(); i += 2) {
      const std::uint32_t high = i + 1 < codes.size() ? codes[i + 1] : 0;
      bytes[(begin + i) / 2] = static_cast<std::uint8_t>(codes[i] | high << 4);
    }
    return;
  }
  const std::size_t width = static_cast<std::size_t>(info.code_bits) / 8;
  for (std::size_t i = 0; i < codes.size(); ++i) {
    for (std::size_t b = 0; b < width; ++b) {
      bytes[(begin + i) * width + b] = static_cast<std::uint8_t>(codes[i] >> (8 * b));
    }
  }
}

void DecodeRow(const EncodedMatrixView& matrix, std::size_t row, std::span<float> out) {
  MARLIN_CHECK(out.size() == matrix.cols, "row length");
  std::uint32_t codes[256];
  const FormatInfo& info = matrix.format->info;
  std::size_t group = 0;
  for (std::size_t begin = 0; begin < matrix.cols; ++group) {
    const std::size_t end = GroupEnd(info, begin, matrix.cols);
    const GroupParams params = GetParams(matrix, row, group);
    for (; begin < end; begin += std::min(end - begin, std::size(codes))) {
      const std::span<std::uint32_t> part(codes, std::min(end - begin, std::size(codes)));
      GetCodes(matrix, row, begin, part);
      matrix.format->decode(part, params, out.subspan(begin, part.size()));
    }
  }
}

void EncodeRow(EncodedMatrix& matrix, std::size_t row, std::span<const float> weights) {
  MARLIN_CHECK(weights.size() == matrix.cols, "row length");
  std::vector<std::uint32_t> codes(weights.size());
  std::size_t group = 0;
  for (std::size_t begin = 0; begin < matrix.cols; ++group) {
    const std::size_t end = GroupEnd(matrix.format->info, begin, matrix.cols);
    const std::span<const float> part = weights.subspan(begin, end - begin);
    const GroupParams params = matrix.format->fit(part, {});
    SetParams(matrix, row, group, params);
    matrix.format->round(part, params, std::span(codes).subspan(begin, part.size()));
    begin = end;
  }
  SetCodes(matrix, row, 0, codes);
}

EncodedMatrix Encode(const FormatRow& format, MatrixView<const float> weights) {
  EncodedMatrix matrix(format, weights.rows, weights.cols);
  for (std::size_t r = 0; r < weights.rows; ++r) EncodeRow(matrix, r, weights.Row(r));
  return matrix;
}

EncodedMatrix Encode(const FormatRow& format, MatrixView<const float> weights, ThreadPool& pool) {
  EncodedMatrix matrix(format, weights.rows, weights.cols);
  // Zero points of eight neighbouring rows share a word.
  pool.Split((weights.rows + 7) / 8, [&](std::size_t begin, std::size_t end, int) {
    for (std::size_t r = begin * 8; r < std::min(end * 8, weights.rows); ++r) EncodeRow(matrix, r, weights.Row(r));
  });
  return matrix;
}

}  // namespace marlin
