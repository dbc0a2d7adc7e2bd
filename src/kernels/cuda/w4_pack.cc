#include "kernels/cuda/w4_pack.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/half.h"

namespace marlin::cuda {
namespace {

// What the kernel computes of a word (DecodeWord in w4_decode.cuh): 8 FP4 codes, code i in the half i mod 2 of number
// i / 2, its sign at bit 15 and its magnitude at bits 9 to 11.
std::array<std::uint32_t, 4> DecodedFp4(std::uint32_t w) {
  constexpr std::uint32_t kMask = 0x8e008e00u;
  return {(w ^ (w >> 3)) & kMask, (w ^ (w << 2)) & kMask, (w ^ (w << 6)) & kMask, (w << 9) & kMask};
}

// Bit b of code i.
std::uint32_t BitOfCode(const std::array<std::uint32_t, 4>& decoded, int code, int bit) {
  const int place = (code % 2) * 16 + (bit == 3 ? 15 : 9 + bit);
  return decoded[static_cast<std::size_t>(code / 2)] >> place & 1;
}

// DecodedFp4 is linear over bits: a word is the sum of those of its pairs of codes.
class InverseOfFp4 {
 public:
  InverseOfFp4() {
    std::array<std::uint64_t, 32> rows{};  // above: what a word decodes to, below: the word
    for (int word = 0; word < 32; ++word) {
      const auto decoded = DecodedFp4(1u << word);
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
  std::uint32_t WordOf(const std::array<std::uint8_t, 8>& codes) const {
    std::uint32_t word = 0;
    for (std::size_t pair = 0; pair < 4; ++pair) {
      word ^= words_[pair][static_cast<std::size_t>(codes[2 * pair] | codes[2 * pair + 1] << 4)];
    }
    return word;
  }

 private:
  std::array<std::array<std::uint32_t, 256>, 4> words_{};  // of two neighbouring codes
};

std::uint32_t WordOf(W4Coding coding, const std::array<std::uint8_t, 8>& codes) {
  static const InverseOfFp4 kInverse;
  if (coding == W4Coding::kFp4) return kInverse.WordOf(codes);
  std::uint32_t word = 0;
  for (std::size_t i = 0; i < 8; ++i) word |= static_cast<std::uint32_t>(codes[i]) << (4 * (i / 2) + 16 * (i % 2));
  return word;
}

// What the padding of a matrix holds: codes of value 0.
struct Rows16 {
  std::vector<std::uint8_t> codes;  // [16][padded columns]
  std::vector<GroupParams> params;  // [16][padded groups]
};

Rows16 ReadRows(const EncodedMatrixView& matrix, std::size_t first, std::size_t cols, const W4Format& format) {
  const FormatInfo& info = matrix.format->info;
  const std::size_t groups = cols / static_cast<std::size_t>(format.group);
  const auto zero_point = static_cast<std::uint8_t>(info.fixed_zero_point);
  Rows16 out{std::vector<std::uint8_t>(kRecordRows * cols, format.coding == W4Coding::kInt4 ? zero_point : 0),
             std::vector<GroupParams>(kRecordRows * groups)};
  for (GroupParams& params : out.params) params.zero_point = zero_point;
  std::vector<std::uint32_t> row(matrix.cols);
  for (std::size_t r = 0; r < kRecordRows && first + r < matrix.rows; ++r) {
    GetCodes(matrix, first + r, 0, row);
    std::uint8_t* const codes = out.codes.data() + r * cols;
    std::transform(row.begin(), row.end(), codes, [](std::uint32_t code) { return static_cast<std::uint8_t>(code); });
    const std::size_t own = matrix.groups();
    for (std::size_t g = 0; g < own; ++g) out.params[r * groups + g] = GetParams(matrix, first + r, g);
    // A short last group is padded with its zero point.
    const std::size_t end = std::min(cols, own * static_cast<std::size_t>(format.group));
    if (format.coding == W4Coding::kInt4)
      std::fill(codes + matrix.cols, codes + end, out.params[r * groups + own - 1].zero_point);
  }
  return out;
}

void PackRecord(const Rows16& rows, std::size_t cols, std::size_t begin, const W4Format& format, std::uint8_t* out) {
  for (std::size_t part = 0; part < 4; ++part) {
    for (std::size_t lane = 0; lane < 32; ++lane) {
      for (std::size_t step = 0; step < 4; ++step) {
        std::array<std::uint8_t, 8> codes;
        for (std::size_t i = 0; i < 8; ++i) {
          const std::size_t row = lane / 4 + 8 * (i / 2 % 2);
          codes[i] = rows.codes[row * cols + begin + part * 64 + step * 16 + 8 * (i / 4) + 2 * (lane % 4) + i % 2];
        }
        const std::uint32_t word = WordOf(format.coding, codes);
        std::memcpy(out + ((part * 32 + lane) * 4 + step) * sizeof(word), &word, sizeof(word));
      }
    }
  }
  const auto group_size = static_cast<std::size_t>(format.group);
  const std::size_t groups = cols / group_size;
  const auto own = static_cast<std::size_t>(GroupsOfRecord(format.group));
  for (std::size_t g = 0; g < own; ++g) {
    const auto params = [&](std::size_t row) -> const GroupParams& {
      return rows.params[row * groups + begin / group_size + g];
    };
    for (std::size_t row = 0; row < 8; ++row) {
      for (std::size_t upper = 0; upper < 2; ++upper) {
        const std::uint16_t scale = FloatToHalf(params(row + 8 * upper).scale);
        std::memcpy(out + kRecordCodeBytes + g * 32 + row * 4 + upper * 2, &scale, sizeof(scale));
      }
      if (format.coding != W4Coding::kInt4) continue;
      out[kRecordCodeBytes + ScaleBytes(format.group) + g * 8 + row] =
          static_cast<std::uint8_t>(params(row).zero_point | params(row + 8).zero_point << 4);
    }
  }
}

}  // namespace

std::optional<W4Format> W4FormatOf(const FormatInfo& info) {
  if (info.code_bits != 4 || info.group < 32 || HasBias(info)) return std::nullopt;
  const int most = info.family == "fp4" ? 256 : 128;
  if (info.group > most) return std::nullopt;
  if (info.family == "fp4") return W4Format{W4Coding::kFp4, info.group};
  if (info.family == "int4") return W4Format{W4Coding::kInt4, info.group};
  return std::nullopt;
}

std::vector<std::uint8_t> PackW4(const EncodedMatrixView& matrix, const W4Format& format, ThreadPool& pool) {
  const W4Matrix shape{format, nullptr, matrix.rows, matrix.cols};
  const auto record = static_cast<std::size_t>(RecordBytes(format.coding, format.group));
  const std::size_t cols = shape.blocks() * kRecordCols;
  std::vector<std::uint8_t> out(shape.bytes());
  pool.Split(shape.panels() * (kPanel / kRecordRows), [&](std::size_t first, std::size_t last, int) {
    for (std::size_t tile = first; tile < last; ++tile) {
      const Rows16 rows = ReadRows(matrix, tile * kRecordRows, cols, format);
      for (std::size_t block = 0; block < shape.blocks(); ++block) {
        const std::size_t place = (tile / 4 * shape.blocks() + block) * 4 + tile % 4;
        PackRecord(rows, cols, block * kRecordCols, format, out.data() + place * record);
      }
    }
  });
  return out;
}

}  // namespace marlin::cuda
