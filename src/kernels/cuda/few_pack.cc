#include "kernels/cuda/few_pack.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/half.h"
#include "kernels/cuda/few_decode.h"

namespace marlin::cuda {
namespace {

using EightBytes = std::array<std::uint8_t, 8>;

// Bit b of FP4 code i of what DecodeFp4 makes of a word: the sign is at bit 15 of a half and the magnitude at bits 9
// to 11.
std::uint32_t BitOfCode(const std::uint32_t (&decoded)[4], int code, int bit) {
  const int place = (code % 2) * 16 + (bit == 3 ? 15 : 9 + bit);
  return decoded[code / 2] >> place & 1;
}

// DecodeFp4 is linear over bits: a word is the sum of those of its pairs of codes.
class InverseOfFp4 {
 public:
  InverseOfFp4() {
    std::array<std::uint64_t, 32> rows{};  // above: what a word decodes to, below: the word
    for (int word = 0; word < 32; ++word) {
      std::uint32_t decoded[4];
      DecodeFp4(1u << word, decoded);
      std::uint64_t bits = 0;
      for (int i = 0; i < 32; ++i) bits |= static_cast<std::uint64_t>(BitOfCode(decoded, i / 4, i % 4)) << (32 + i);
      rows[static_cast<std::size_t>(word)] = bits | std::uint64_t{1} << word;
    }
    for (std::size_t column = 0; column < 32; ++column) {
      const auto has = [&](std::uint64_t row) { return (row >> (32 + column) & 1) != 0; };
      const auto pivot = std::find_if(rows.begin() + static_cast<std::ptrdiff_t>(column), rows.end(), has);
      MARLIN_CHECK(pivot != rows.end(), "the map of FP4 words has an inverse");
      std::swap(*pivot, rows[column]);
      for (std::size_t i = 0; i < 32; ++i) {
        if (i != column && has(rows[i])) rows[i] ^= rows[column];
      }
    }
    for (std::size_t pair = 0; pair < 4; ++pair) {
      for (std::size_t bits = 0; bits < 256; ++bits) {
        for (std::size_t i = 0; i < 8; ++i) {
          if ((bits >> i & 1) != 0) words_[pair][bits] ^= static_cast<std::uint32_t>(rows[8 * pair + i]);
        }
      }
    }
  }
  std::uint32_t WordOf(const EightBytes& codes) const {
    std::uint32_t word = 0;
    for (std::size_t pair = 0; pair < 4; ++pair) {
      word ^= words_[pair][static_cast<std::size_t>(codes[2 * pair] | codes[2 * pair + 1] << 4)];
    }
    return word;
  }

 private:
  std::array<std::array<std::uint32_t, 256>, 4> words_{};  // of two neighbouring codes
};

// What the padding of a matrix holds: zeros.
struct RowsOfRecords {
  std::vector<std::uint8_t> codes;  // [16][padded columns]
  std::vector<GroupParams> params;  // [16][padded groups]
  std::size_t cols = 0, groups = 0;
};

RowsOfRecords ReadRows(const EncodedMatrixView& matrix, std::size_t first, std::size_t cols, const FewFormat& format) {
  const std::size_t groups = cols / static_cast<std::size_t>(format.group);
  RowsOfRecords out{std::vector<std::uint8_t>(kRecordRows * cols), std::vector<GroupParams>(kRecordRows * groups), cols,
                    groups};
  std::vector<std::uint32_t> row(matrix.cols);
  const std::uint32_t flip = format.coding == FewCoding::kInt8 ? kByteZero : 0;
  for (std::size_t r = 0; r < kRecordRows && first + r < matrix.rows; ++r) {
    GetCodes(matrix, first + r, 0, row);
    std::ranges::transform(row, out.codes.begin() + static_cast<std::ptrdiff_t>(r * cols),
                           [&](std::uint32_t code) { return static_cast<std::uint8_t>(code ^ flip); });
    for (std::size_t g = 0; g < matrix.groups(); ++g) out.params[r * groups + g] = GetParams(matrix, first + r, g);
  }
  return out;
}

void PutWord(std::uint8_t* to, std::uint32_t word) { std::memcpy(to, &word, sizeof(word)); }

using PartCodes = std::array<EightBytes, 4>;     // of a lane and 64 columns
using PartWords = std::array<std::uint32_t, 8>;  // the same; as many as a code has bits

// Puts codes into words, as BitPlaceOf says.
class PackerOfWords {
 public:
  explicit PackerOfWords(const FewFormat& format) : is_fp4_(format.coding == FewCoding::kFp4) {
    for (int i = 0; i < 32 && !is_fp4_; ++i) {
      for (int bit = 0; bit < BitsOf(format.coding); ++bit) Add(i, bit, BitPlaceOf(format.coding, i / 8, i % 8, bit));
    }
  }
  PartWords WordsOf(const PartCodes& codes) const {
    static const InverseOfFp4 kInverse;
    PartWords words = {};
    for (std::size_t i = 0; i < 4 && is_fp4_; ++i) words[i] = kInverse.WordOf(codes[i]);
    for (const Run& run : runs_) {
      const std::uint32_t bits = codes[run.code / 8][run.code % 8] >> run.first & run.mask;
      words[run.word] |= bits << run.place;
    }
    return words;
  }

 private:
  // Bits of a code that lie side by side.
  struct Run {
    std::uint32_t code = 0, first = 0, mask = 0, word = 0, place = 0;
  };
  void Add(int code, int bit, const BitPlace& to) {
    const auto own = static_cast<std::uint32_t>(code), word = static_cast<std::uint32_t>(to.word);
    if (!runs_.empty()) {
      Run& last = runs_.back();
      const auto end = last.place + static_cast<std::uint32_t>(std::popcount(last.mask));
      if (last.code == own && last.word == word && end == static_cast<std::uint32_t>(to.bit)) {
        last.mask = last.mask << 1 | 1;
        return;
      }
    }
    runs_.push_back({own, static_cast<std::uint32_t>(bit), 1, word, static_cast<std::uint32_t>(to.bit)});
  }

  bool is_fp4_;
  std::vector<Run> runs_;
};

void PutHalf(std::uint8_t* to, float value) {
  const std::uint16_t half = FloatToHalf(value);
  std::memcpy(to, &half, sizeof(half));
}

// A scale or a bias as number i of an array of them.
void PutNumber(FewScale scale, float value, std::uint16_t unit, std::uint8_t* to, std::size_t i) {
  const float of_unit = HalfToFloat(unit);
  switch (scale) {
    case FewScale::kHalf:
      return PutHalf(to + 2 * i, value);
    case FewScale::kE8m0:
      to[i] = FloatToE8m0(value);
      return;
    case FewScale::kE4m3:
      to[i] = FloatToE4m3(of_unit == 0 ? value : value / of_unit);  // without a unit it is 1
      return;
    case FewScale::kUnits:
      to[i] = static_cast<std::uint8_t>(of_unit == 0 ? 0 : MultipleOf(value, of_unit));
      return;
  }
}

// The codes of a record that begins with a column of 16 rows.
void PackCodes(const RowsOfRecords& rows, std::size_t begin, const PackerOfWords& packer, FewCoding coding,
               std::uint8_t* out) {
  for (int i = 0; i < 4 * 32; ++i) {
    const int part = i / 32, lane = i % 32;
    PartCodes codes;
    for (int step = 0; step < 4; ++step) {
      const EightCodes at = {part, step, lane};
      for (int code = 0; code < 8; ++code) {
        const std::size_t col = begin + static_cast<std::size_t>(at.Col(code));
        codes[static_cast<std::size_t>(step)][static_cast<std::size_t>(code)] =
            rows.codes[static_cast<std::size_t>(at.Row(code)) * rows.cols + col];
      }
    }
    const PartWords words = packer.WordsOf(codes);
    for (int word = 0; word < BitsOf(coding); ++word) {
      PutWord(out + PlaceOfWord(coding, part, lane, word), words[static_cast<std::size_t>(word)]);
    }
  }
}

// What decodes them.
void PackParams(const RowsOfRecords& rows, std::size_t begin, const FewFormat& format, std::uint8_t* out) {
  const FewRecord at = RecordOf(format);
  const auto own = static_cast<std::size_t>(GroupsOfRecord(format.group));
  const std::size_t first_group = begin / static_cast<std::size_t>(format.group);
  for (std::size_t row = 0; row < kRecordRows; ++row) {
    const std::size_t g = row % 8, upper = row / 8;
    const std::span<const GroupParams> params = std::span(rows.params).subspan(row * rows.groups + first_group, own);
    for (std::size_t i = 0; i < own; ++i) {
      PutNumber(format.scale, params[i].scale, params[i].scale_unit, out + at.scales, (g * own + i) * 2 + upper);
      if (format.biased) PutNumber(format.scale, params[i].bias, params[i].bias_unit, out + at.biases, row * own + i);
      if (format.coding != FewCoding::kInt4Zeros) continue;
      std::uint8_t& zeros = out[static_cast<std::size_t>(at.zeros) + i * 8 + g];
      zeros = static_cast<std::uint8_t>(zeros | params[i].zero_point << (4 * upper));
    }
    if (format.scale != FewScale::kUnits) continue;
    std::uint8_t* const units = out + at.units + (g * 2 + upper) * 2;
    PutHalf(units, HalfToFloat(params[0].scale_unit));
    if (format.biased) PutHalf(units + 32, HalfToFloat(params[0].bias_unit));
  }
}

std::optional<FewCoding> CodingOf(const FormatInfo& info) {
  if (info.family == "fp4") return FewCoding::kFp4;
  if (info.family == "iq4") return FewCoding::kIq4;
  if (info.zero_point_bits > 0) return FewCoding::kInt4Zeros;
  switch (info.code_bits) {
    case 4:
      return FewCoding::kInt4;
    case 5:
      return FewCoding::kInt5;
    case 6:
      return FewCoding::kInt6;
    case 8:
      return FewCoding::kInt8;
    default:
      return std::nullopt;
  }
}

FewScale ScaleOf(const FormatInfo& info) {
  switch (info.scale_type) {
    case ScaleType::kFp16:
      return FewScale::kHalf;
    case ScaleType::kE8m0:
      return FewScale::kE8m0;
    case ScaleType::kE4m3:
      return FewScale::kE4m3;
    case ScaleType::kUint6:
    case ScaleType::kInt8:
      return FewScale::kUnits;
  }
  return FewScale::kHalf;
}

template <FewCoding kCoding, int kZero>
void DecodeRowOf(const FewWeight& weight, std::size_t row, std::span<float> out) {
  for (std::size_t block = 0; block < weight.blocks(); ++block) {
    const std::uint8_t* const record = weight.records + weight.PlaceOf(row / kRecordRows, block);
    for (int i = 0; i < 4 * 4 * 32; ++i) {
      const EightCodes at = {i / 128, i / 32 % 4, i % 32};
      std::uint32_t words[BitsOf(kCoding)];
      float eight[8];
      ReadWords<kCoding>(record, at.part, at.lane, words);
      DecodeEight<kCoding, kZero>(weight, record, words, at, eight);
      for (int code = 0; code < 8; ++code) {
        const std::size_t col = block * kRecordCols + static_cast<std::size_t>(at.Col(code));
        if (at.Row(code) == static_cast<int>(row % kRecordRows) && col < weight.cols) out[col] = eight[code];
      }
    }
  }
}

}  // namespace

std::optional<FewFormat> FewFormatOf(const FormatInfo& info) {
  if (!HasGroups(info)) return std::nullopt;
  const auto coding = CodingOf(info);
  if (!coding) return std::nullopt;
  const FewFormat format{*coding, ScaleOf(info), info.group, HasBias(info)};
  if (std::ranges::find(kFewFormats, format) == std::end(kFewFormats)) return std::nullopt;
  MARLIN_CHECK(info.fixed_zero_point == 0 || info.fixed_zero_point == ZeroOf(*coding, format.biased), "zero of codes");
  return format;
}

float FewUnitOf(const EncodedMatrixView& matrix, const FewFormat& format) {
  if (format.scale != FewScale::kE4m3 || matrix.rows == 0 || matrix.groups() == 0) return 1;
  const std::uint16_t unit = GetParams(matrix, 0, 0).scale_unit;
  return unit == 0 ? 1 : HalfToFloat(unit);
}

std::vector<std::uint8_t> PackFew(const EncodedMatrixView& matrix, const FewFormat& format, ThreadPool& pool) {
  const FewWeight shape{format, nullptr, matrix.rows, matrix.cols};
  std::vector<std::uint8_t> out(shape.bytes());
  const PackerOfWords packer(format);
  pool.Split(shape.panels() * (kPanel / kRecordRows), [&](std::size_t first, std::size_t last, int) {
    for (std::size_t tile = first; tile < last; ++tile) {
      const RowsOfRecords rows = ReadRows(matrix, tile * kRecordRows, shape.blocks() * kRecordCols, format);
      for (std::size_t block = 0; block < shape.blocks(); ++block) {
        std::uint8_t* const record = out.data() + shape.PlaceOf(tile, block);
        PackCodes(rows, block * kRecordCols, packer, format.coding, record);
        PackParams(rows, block * kRecordCols, format, record);
      }
    }
  });
  return out;
}

void DecodeFewRow(const FewWeight& weight, std::size_t row, std::span<float> out) {
  WithCoding(weight.format, [&]<FewCoding kCoding, int kZero>() { DecodeRowOf<kCoding, kZero>(weight, row, out); });
}

}  // namespace marlin::cuda
