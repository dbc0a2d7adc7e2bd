// How the kernels for few tokens, and those for many, read quantized weights.
//
// Rows are padded to panels of 64, columns to blocks of 256. A record holds 16 rows x 256 columns: codes as the tensor
// cores take them, then what decodes them. The four records of a panel's block of columns lie together:
//
//   [panel][block of columns][16 rows of the panel] records
//   record: codes         [64 columns][lane 0..31][4] words, or of 8 bits [64 columns][2][lane][4]
//           more codes    5 and 6 bits: [64 columns][lane][1 or 2] words more
//           scales        [row 0..7][group][lower or upper eight rows] fp16 numbers or bytes
//           zero points   [group][row 0..7] bytes, that of the lower row in the low half    (kInt4Zeros)
//           biases        [row 0..15][group] fp16 numbers, or bytes where scales are        (biased)
//           units         [row 0..7][lower or upper] fp16: of the scales, then of the biases  (kUnits)
//
// The words of a lane have its operand A of four mma.m16n8k16. The 8 codes of one, i = 0 .. 7: row g + 8 (i / 2 mod 2),
// column 8 (i / 4) + 2 t + i mod 2, lane = 4 g + t. few_decode.h says how they lie in the words. Padding holds any
// finite numbers: it meets tokens of zeros.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <utility>

namespace marlin::cuda {

// How codes become numbers.
enum class FewCoding : std::uint8_t {
  kFp4,        // E2M1
  kIq4,        // the table of IQ4_NL
  kInt4Zeros,  // code - zero point of the group
  kInt4,
  kInt5,
  kInt6,
  kInt8,  // code - ZeroOf
};

// How scales are stored.
enum class FewScale : std::uint8_t {
  kHalf,   // fp16
  kE8m0,   // a byte: 2^(byte - 127)
  kE4m3,   // a byte, times FewWeight::unit
  kUnits,  // a signed byte, times the unit of the row and record
};

inline constexpr std::size_t kRecordRows = 16;
inline constexpr std::size_t kRecordCols = 256;
inline constexpr std::size_t kPanel = 64;  // rows

constexpr std::size_t PaddedToRecords(std::size_t cols) { return (cols + kRecordCols - 1) / kRecordCols * kRecordCols; }

struct FewFormat {
  FewCoding coding = FewCoding::kFp4;
  FewScale scale = FewScale::kHalf;
  int group = 0;        // 16, 32, 64, 128, 256
  bool biased = false;  // weight = scale * number + bias; integers, whose zero is 0 then

  bool operator==(const FewFormat&) const = default;
};

// Those that there are kernels for: few_*.cu and many_*.cu. Other formats are multiplied by the plain kernel.
inline constexpr FewFormat kFewFormats[] = {
    {FewCoding::kFp4, FewScale::kHalf, 32},         {FewCoding::kFp4, FewScale::kHalf, 64},
    {FewCoding::kFp4, FewScale::kHalf, 128},        {FewCoding::kFp4, FewScale::kHalf, 256},
    {FewCoding::kFp4, FewScale::kE8m0, 32},         {FewCoding::kFp4, FewScale::kE4m3, 16},
    {FewCoding::kIq4, FewScale::kHalf, 32},         {FewCoding::kInt4Zeros, FewScale::kHalf, 64},
    {FewCoding::kInt4Zeros, FewScale::kHalf, 128},  {FewCoding::kInt4, FewScale::kHalf, 32},
    {FewCoding::kInt4, FewScale::kHalf, 32, true},  {FewCoding::kInt4, FewScale::kHalf, 64, true},
    {FewCoding::kInt4, FewScale::kHalf, 128, true}, {FewCoding::kInt4, FewScale::kUnits, 32, true},
    {FewCoding::kInt5, FewScale::kHalf, 32},        {FewCoding::kInt5, FewScale::kHalf, 32, true},
    {FewCoding::kInt5, FewScale::kUnits, 32, true}, {FewCoding::kInt6, FewScale::kUnits, 16},
    {FewCoding::kInt8, FewScale::kHalf, 32},        {FewCoding::kInt8, FewScale::kHalf, 128},
};

// A format as a template argument. nvcc 13 does not compile kernels whose argument is the format itself.
template <FewCoding kCoding, FewScale kScale, int kGroup, bool kBiased>
struct FewType {
  static constexpr FewFormat kFormat{kCoding, kScale, kGroup, kBiased};
};

// Calls function.template operator()<FewType of the format>(). False: it is not one of kFewFormats with this coding.
template <FewCoding kCoding, bool kBiased, class Function>
bool WithTypeOf(const FewFormat& format, Function function) {
  const auto calls = [&]<std::size_t kPlace>() {
    constexpr FewFormat kOwn = kFewFormats[kPlace];
    if constexpr (kOwn.coding == kCoding && kOwn.biased == kBiased) {
      if (format != kOwn) return false;
      function.template operator()<FewType<kOwn.coding, kOwn.scale, kOwn.group, kOwn.biased>>();
      return true;
    } else {
      return false;
    }
  };
  const auto any = [&]<std::size_t... kPlaces>(std::index_sequence<kPlaces...>) {
    return (calls.template operator()<kPlaces>() || ...);
  };
  return any(std::make_index_sequence<std::size(kFewFormats)>());
}

constexpr int BitsOf(FewCoding coding) {
  switch (coding) {
    case FewCoding::kInt5:
      return 5;
    case FewCoding::kInt6:
      return 6;
    case FewCoding::kInt8:
      return 8;
    default:
      return 4;
  }
}

// The code of the number 0 of what stores no zero points. 8 bits: two's complement plus 128, as the numbers of the
// table.
inline constexpr int kByteZero = 128;
constexpr int ZeroOf(FewCoding coding, bool biased) {
  if (biased || coding == FewCoding::kFp4 || coding == FewCoding::kInt4Zeros) return 0;
  return coding == FewCoding::kIq4 ? kByteZero : 1 << (BitsOf(coding) - 1);
}

constexpr int GroupsOfRecord(int group) { return static_cast<int>(kRecordCols) / group; }

// Where the parts of a record begin, in bytes; codes begin at 0.
struct FewRecord {
  int more = 0, scales = 0, zeros = 0, biases = 0, units = 0, bytes = 0;
};
constexpr int BytesOfScale(const FewFormat& format) { return format.scale == FewScale::kHalf ? 2 : 1; }
constexpr FewRecord RecordOf(const FewFormat& format) {
  const int bits = BitsOf(format.coding), numbers = GroupsOfRecord(format.group) * static_cast<int>(kRecordRows);
  FewRecord at;
  at.more = bits == 8 ? 4096 : 2048;
  at.scales = at.more + (bits == 5 ? 512 : bits == 6 ? 1024 : 0);
  at.zeros = at.scales + numbers * BytesOfScale(format);
  at.biases = at.zeros + (format.coding == FewCoding::kInt4Zeros ? numbers / 2 : 0);
  at.units = at.biases + (format.biased ? numbers * BytesOfScale(format) : 0);
  at.bytes = at.units + (format.scale == FewScale::kUnits ? (format.biased ? 64 : 32) : 0);
  return at;
}

// Where word i of a lane and 64 columns begins. There are as many as a code has bits.
constexpr int PlaceOfWord(FewCoding coding, int part, int lane, int i) {
  const int bits = BitsOf(coding), place = part * 32 + lane;
  if (bits == 8) return ((part * 2 + i / 4) * 32 + lane) * 16 + i % 4 * 4;
  return i < 4 ? place * 16 + i * 4 : 2048 + (place * (bits - 4) + i - 4) * 4;
}

// A matrix in this layout.
struct FewWeight {
  FewFormat format;
  const std::uint8_t* records = nullptr;
  std::size_t rows = 0, cols = 0;  // without padding
  float unit = 1;                  // of kE4m3
  float power = 1;                 // ManyPowerOf: of the kernels for many tokens

  constexpr std::size_t panels() const { return (rows + kPanel - 1) / kPanel; }
  constexpr std::size_t blocks() const { return PaddedToRecords(cols) / kRecordCols; }
  constexpr std::size_t bytes() const {
    return panels() * blocks() * (kPanel / kRecordRows) * static_cast<std::size_t>(RecordOf(format).bytes);
  }
  // The record of 16 rows and a block of columns.
  constexpr std::size_t PlaceOf(std::size_t tile, std::size_t block) const {
    return ((tile / 4 * blocks() + block) * 4 + tile % 4) * static_cast<std::size_t>(RecordOf(format).bytes);
  }
};

}  // namespace marlin::cuda
