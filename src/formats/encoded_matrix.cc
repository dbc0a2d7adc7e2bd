#include "formats/encoded_matrix.h"

#include <algorithm>
#include <cstring>

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

// Number i of `bits` bits in adjacent bits, up to 16 of them.
std::uint32_t GetBits(const std::uint8_t* bytes, std::size_t i, int bits) {
  const std::size_t first = i * static_cast<std::size_t>(bits);
  const int shift = static_cast<int>(first % 8);
  std::uint32_t window = bytes[first / 8];
  if (shift + bits > 8) window |= static_cast<std::uint32_t>(bytes[first / 8 + 1]) << 8;
  if (shift + bits > 16) window |= static_cast<std::uint32_t>(bytes[first / 8 + 2]) << 16;
  return window >> shift & ((1u << bits) - 1);
}

void SetBits(std::uint8_t* bytes, std::size_t i, int bits, std::uint32_t value) {
  const std::size_t first = i * static_cast<std::size_t>(bits);
  const int shift = static_cast<int>(first % 8);
  const std::uint32_t mask = ((1u << bits) - 1) << shift;
  for (int b = 0; b * 8 < shift + bits; ++b) {
    std::uint8_t& byte = bytes[first / 8 + static_cast<std::size_t>(b)];
    byte = static_cast<std::uint8_t>((byte & ~(mask >> (8 * b))) | value << shift >> (8 * b));
  }
}

float ScaleOf(ScaleType type, std::uint32_t stored, float unit) {
  switch (type) {
    case ScaleType::kFp16:
      return HalfToFloat(static_cast<std::uint16_t>(stored));
    case ScaleType::kE8m0:
      return E8m0ToFloat(static_cast<std::uint8_t>(stored));
    case ScaleType::kE4m3:
      return E4m3ToFloat(static_cast<std::uint8_t>(stored)) * unit;
    case ScaleType::kUint6:
      return static_cast<float>(stored) * unit;
    case ScaleType::kInt8:
      return static_cast<float>(static_cast<std::int8_t>(stored)) * unit;
  }
  return 0;
}

std::uint32_t StoredScale(ScaleType type, float scale, float unit) {
  switch (type) {
    case ScaleType::kFp16:
      return FloatToHalf(scale);
    case ScaleType::kE8m0:
      return FloatToE8m0(scale);
    case ScaleType::kE4m3:
      return FloatToE4m3(scale / unit);
    case ScaleType::kUint6:
      return MultipleOf(scale, unit);
    case ScaleType::kInt8:
      return MultipleOf(scale, unit) & 0xff;
  }
  return 0;
}

// Where the units of a group are.
std::size_t UnitPlace(const FormatInfo& info, std::size_t cols, std::size_t row, std::size_t group) {
  const std::size_t block = group * static_cast<std::size_t>(info.group) / static_cast<std::size_t>(info.block);
  return (row * UnitBlocks(info, cols) + block) * UnitsPerBlock(info) * 2;
}

std::uint16_t ReadHalfBits(const std::uint8_t* bytes) { return static_cast<std::uint16_t>(bytes[0] | bytes[1] << 8); }

void WriteHalfBits(std::uint8_t* bytes, std::uint16_t half) {
  bytes[0] = static_cast<std::uint8_t>(half);
  bytes[1] = static_cast<std::uint8_t>(half >> 8);
}

void ReadUnits(const EncodedMatrixView& matrix, std::size_t row, std::size_t group, GroupParams& params) {
  const FormatInfo& info = matrix.format->info;
  if (info.unit_scope == UnitScope::kMatrix) {
    float inverse = 0;
    std::memcpy(&inverse, matrix.units.data(), sizeof(inverse));
    params.scale_unit = inverse == 0 ? std::uint16_t{0} : FloatToHalf(1 / inverse);
  } else {
    const std::uint8_t* units = matrix.units.data() + UnitPlace(info, matrix.cols, row, group);
    params.scale_unit = ReadHalfBits(units);
    if (HasBias(info)) params.bias_unit = ReadHalfBits(units + 2);
  }
}

void WriteUnits(EncodedMatrix& matrix, std::size_t row, std::size_t group, const GroupParams& params) {
  const FormatInfo& info = matrix.format->info;
  if (info.unit_scope == UnitScope::kMatrix) {
    if (row != 0 || group != 0) return;  // all params have the same one; threads share these bytes
    const float inverse = 1 / HalfToFloat(params.scale_unit);
    std::memcpy(matrix.units.data(), &inverse, sizeof(inverse));
  } else {
    std::uint8_t* units = matrix.units.data() + UnitPlace(info, matrix.cols, row, group);
    WriteHalfBits(units, params.scale_unit);
    if (HasBias(info)) WriteHalfBits(units + 2, params.bias_unit);
  }
}

// job(row) for every row, in parallel. Zero points of eight neighbouring rows share a word.
template <class Job>
void ForRows(std::size_t rows, ThreadPool& pool, Job job) {
  pool.Split((rows + 7) / 8, [&](std::size_t begin, std::size_t end, int) {
    for (std::size_t r = begin * 8; r < std::min(end * 8, rows); ++r) job(r);
  });
}

// The params of a row: Fit of every group.
void FitRow(const FormatRow& format, std::span<const float> weights, std::span<GroupParams> params) {
  std::size_t begin = 0;
  for (GroupParams& own : params) {
    const std::size_t end = GroupEnd(format.info, begin, weights.size());
    own = format.fit(weights.subspan(begin, end - begin), {});
    begin = end;
  }
}

// Every weight gets the nearest code.
void RoundRow(EncodedMatrix& matrix, std::size_t row, std::span<const float> weights,
              std::span<const GroupParams> params) {
  const FormatRow& format = *matrix.format;
  std::vector<std::uint32_t> codes(weights.size());
  if (params.empty()) format.round(weights, {}, codes);
  std::size_t begin = 0;
  for (std::size_t g = 0; g < params.size(); ++g) {
    const std::size_t end = GroupEnd(format.info, begin, weights.size());
    SetParams(matrix, row, g, params[g]);
    format.round(weights.subspan(begin, end - begin), params[g], std::span(codes).subspan(begin, end - begin));
    begin = end;
  }
  SetCodes(matrix, row, 0, codes);
}

// For formats whose unit belongs to the matrix: all rows are read before the first one is rounded.
EncodedMatrix EncodeInTwoPasses(const FormatRow& format, std::size_t rows, std::size_t cols, const ReadRowFn& read,
                                ThreadPool& pool) {
  const std::size_t groups = GroupsPerRow(format.info, cols);
  std::vector<GroupParams> params(rows * groups);
  ForRows(rows, pool, [&](std::size_t r) {
    std::vector<float> weights(cols);
    read(r, weights);
    FitRow(format, weights, std::span(params).subspan(r * groups, groups));
  });
  Settle(format, cols, params);
  EncodedMatrix matrix(format, rows, cols);
  ForRows(rows, pool, [&](std::size_t r) {
    std::vector<float> weights(cols);
    read(r, weights);
    RoundRow(matrix, r, weights, std::span(params).subspan(r * groups, groups));
  });
  return matrix;
}

}  // namespace

EncodedSize SizeOfEncoded(const FormatInfo& info, std::size_t rows, std::size_t cols) {
  const std::size_t groups = GroupsPerRow(info, cols);
  EncodedSize size;
  size.code_bytes = rows * CodeBytesPerRow(info, cols);
  size.scale_bytes = rows * BytesOfBits(groups, info.scale_bits);
  size.zero_point_bytes = info.zero_point_bits == 0 ? 0 : (rows + 7) / 8 * groups * 4;
  size.bias_bytes = rows * BytesOfBits(groups, info.bias_bits);
  size.unit_bytes =
      info.unit_scope == UnitScope::kMatrix ? sizeof(float) : rows * UnitBlocks(info, cols) * UnitsPerBlock(info) * 2;
  return size;
}

EncodedMatrix::EncodedMatrix(const FormatRow& f, std::size_t r, std::size_t c) : format(&f), rows(r), cols(c) {
  MARLIN_CHECK(FitsRows(f.info, c), "the blocks of the format divide the rows");
  const EncodedSize size = SizeOfEncoded(f.info, r, c);
  for (const EncodedPart& part : kEncodedParts) (this->*part.owned).resize(size.*part.bytes);
}

GroupParams GetParams(const EncodedMatrixView& matrix, std::size_t row, std::size_t group) {
  GroupParams params;
  const FormatInfo& info = matrix.format->info;
  const std::size_t groups = matrix.groups();
  if (info.unit_scope != UnitScope::kNone) ReadUnits(matrix, row, group, params);
  const float unit = info.unit_scope == UnitScope::kNone ? 1 : HalfToFloat(params.scale_unit);
  if (info.scale_bits != 0) {
    const std::uint8_t* row_scales = matrix.scales.data() + row * BytesOfBits(groups, info.scale_bits);
    params.scale = ScaleOf(info.scale_type, GetBits(row_scales, group, info.scale_bits), unit);
  }
  if (HasBias(info)) {
    const std::uint8_t* row_biases = matrix.biases.data() + row * BytesOfBits(groups, info.bias_bits);
    params.bias = ScaleOf(info.scale_type, GetBits(row_biases, group, info.bias_bits), HalfToFloat(params.bias_unit));
  }
  params.zero_point = static_cast<std::uint8_t>(info.fixed_zero_point);
  if (!matrix.zero_points.empty()) {
    const Nibble place = ZeroPointPlace(row, group, groups);
    params.zero_point = matrix.zero_points[place.byte] >> place.shift & 15;
  }
  return params;
}

void SetParams(EncodedMatrix& matrix, std::size_t row, std::size_t group, const GroupParams& params) {
  const FormatInfo& info = matrix.format->info;
  const std::size_t groups = GroupsPerRow(info, matrix.cols);
  if (info.unit_scope != UnitScope::kNone) WriteUnits(matrix, row, group, params);
  const float unit = info.unit_scope == UnitScope::kNone ? 1 : HalfToFloat(params.scale_unit);
  if (info.scale_bits != 0) {
    std::uint8_t* row_scales = matrix.scales.data() + row * BytesOfBits(groups, info.scale_bits);
    SetBits(row_scales, group, info.scale_bits, StoredScale(info.scale_type, params.scale, unit));
  }
  if (HasBias(info)) {
    std::uint8_t* row_biases = matrix.biases.data() + row * BytesOfBits(groups, info.bias_bits);
    SetBits(row_biases, group, info.bias_bits,
            StoredScale(info.scale_type, params.bias, HalfToFloat(params.bias_unit)));
  }
  if (!matrix.zero_points.empty()) {
    const Nibble place = ZeroPointPlace(row, group, groups);
    std::uint8_t& byte = matrix.zero_points[place.byte];
    byte = static_cast<std::uint8_t>((byte & ~(15 << place.shift)) | params.zero_point << place.shift);
  }
}

void Settle(const FormatRow& format, std::size_t cols, std::span<GroupParams> params) {
  const FormatInfo& info = format.info;
  if (info.unit_scope == UnitScope::kMatrix) format.settle(params);
  if (info.unit_scope != UnitScope::kBlock) return;
  const auto together = static_cast<std::size_t>(info.block / info.group);
  MARLIN_CHECK(GroupsPerRow(info, cols) % together == 0, "whole blocks");
  for (std::size_t first = 0; first < params.size(); first += together) format.settle(params.subspan(first, together));
}

void GetCodes(const EncodedMatrixView& matrix, std::size_t row, std::size_t begin, std::span<std::uint32_t> codes) {
  const FormatInfo& info = matrix.format->info;
  const std::uint8_t* bytes = matrix.codes.data() + row * CodeBytesPerRow(info, matrix.cols);
  if (info.code_bits == 4) {
    for (std::size_t i = 0; i < codes.size(); ++i) {
      const std::size_t k = begin + i;
      codes[i] = bytes[k / 2] >> (k % 2 * 4) & 15u;
    }
  } else if (info.code_bits % 8 != 0) {
    for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = GetBits(bytes, begin + i, info.code_bits);
  } else {
    const auto width = static_cast<std::size_t>(info.code_bits) / 8;
    for (std::size_t i = 0; i < codes.size(); ++i) {
      std::uint32_t code = 0;
      for (std::size_t b = 0; b < width; ++b) {
        code |= static_cast<std::uint32_t>(bytes[(begin + i) * width + b]) << (8 * b);
      }
      codes[i] = code;
    }
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
  } else if (info.code_bits % 8 != 0) {
    for (std::size_t i = 0; i < codes.size(); ++i) SetBits(bytes, begin + i, info.code_bits, codes[i]);
  } else {
    const auto width = static_cast<std::size_t>(info.code_bits) / 8;
    for (std::size_t i = 0; i < codes.size(); ++i) {
      for (std::size_t b = 0; b < width; ++b) {
        bytes[(begin + i) * width + b] = static_cast<std::uint8_t>(codes[i] >> (8 * b));
      }
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
    const GroupParams params = info.group == 0 ? GroupParams{} : GetParams(matrix, row, group);
    for (; begin < end; begin += std::min(end - begin, std::size(codes))) {
      const std::span<std::uint32_t> part(codes, std::min(end - begin, std::size(codes)));
      GetCodes(matrix, row, begin, part);
      matrix.format->decode(part, params, out.subspan(begin, part.size()));
    }
  }
}

void EncodeRow(EncodedMatrix& matrix, std::size_t row, std::span<const float> weights) {
  MARLIN_CHECK(weights.size() == matrix.cols, "row length");
  const FormatRow& format = *matrix.format;
  MARLIN_CHECK(format.info.unit_scope != UnitScope::kMatrix, "a row says nothing about the unit of a matrix");
  std::vector<GroupParams> params(GroupsPerRow(format.info, matrix.cols));
  FitRow(format, weights, params);
  Settle(format, matrix.cols, params);
  RoundRow(matrix, row, weights, params);
}

EncodedMatrix Encode(const FormatRow& format, MatrixView<const float> weights) {
  ThreadPool pool(1);
  return Encode(format, weights, pool);
}

EncodedMatrix Encode(const FormatRow& format, MatrixView<const float> weights, ThreadPool& pool) {
  const auto read = [&](std::size_t row, std::span<float> out) { std::ranges::copy(weights.Row(row), out.begin()); };
  return Encode(format, weights.rows, weights.cols, read, pool);
}

EncodedMatrix Encode(const FormatRow& format, std::size_t rows, std::size_t cols, const ReadRowFn& read,
                     ThreadPool& pool) {
  if (format.info.unit_scope == UnitScope::kMatrix) return EncodeInTwoPasses(format, rows, cols, read, pool);
  EncodedMatrix matrix(format, rows, cols);
  ForRows(rows, pool, [&](std::size_t r) {
    std::vector<float> weights(cols);
    read(r, weights);
    EncodeRow(matrix, r, weights);
  });
  return matrix;
}

EncodedMatrix EncodeWith(const FormatRow& format, MatrixView<const float> weights, std::span<const GroupParams> params,
                         ThreadPool& pool) {
  EncodedMatrix matrix(format, weights.rows, weights.cols);
  const std::size_t groups = GroupsPerRow(format.info, weights.cols);
  ForRows(weights.rows, pool,
          [&](std::size_t r) { RoundRow(matrix, r, weights.Row(r), params.subspan(r * groups, groups)); });
  return matrix;
}

}  // namespace marlin
