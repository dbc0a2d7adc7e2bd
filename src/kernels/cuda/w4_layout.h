// How the kernels for 16-bit activations read 4-bit weights.
//
// Rows are padded to panels of 64, columns to blocks of 256. A record holds 16 rows x 256 columns: codes as the tensor
// cores take them, then scales, then zero points. The four records of a panel's block of columns lie together:
//
//   [panel][block of columns][16 rows of the panel] records
//   record: [64 columns][lane 0..31][16 columns] words of codes, each the operand A of an mma.m16n8k16 of one lane,
//           [group][row 0..7][lower or upper eight rows] fp16 scales,
//           INT4: [group][row 0..7] bytes of two zero points, the lower rows' in the low half
//
// A word's 8 codes, i = 0 .. 7: row g + 8 (i / 2 mod 2), column 8 (i / 4) + 2 t + i mod 2, lane = 4 g + t.
// FP4: the words are the codes under a linear map of their bits, whose inverse the kernel computes with eight
// instructions (DecodeWord). INT4: code i lies at bit 4 (i / 2) + 16 (i mod 2).
#pragma once

#include <cstddef>
#include <cstdint>

namespace marlin::cuda {

enum class W4Coding : std::uint8_t { kFp4, kInt4 };

inline constexpr std::size_t kRecordRows = 16;
inline constexpr std::size_t kRecordCols = 256;
inline constexpr std::size_t kPanel = 64;  // rows
inline constexpr int kRecordCodeBytes = 2048;

constexpr std::size_t PaddedToRecords(std::size_t cols) { return (cols + kRecordCols - 1) / kRecordCols * kRecordCols; }

struct W4Format {
  W4Coding coding = W4Coding::kFp4;
  int group = 0;  // 32, 64, 128; FP4 256 too
};

constexpr int GroupsOfRecord(int group) { return static_cast<int>(kRecordCols) / group; }
constexpr int ScaleBytes(int group) { return GroupsOfRecord(group) * 32; }
constexpr int RecordBytes(W4Coding coding, int group) {
  return kRecordCodeBytes + ScaleBytes(group) + (coding == W4Coding::kInt4 ? GroupsOfRecord(group) * 8 : 0);
}

// A matrix in this layout.
struct W4Matrix {
  W4Format format;
  const std::uint8_t* records = nullptr;
  std::size_t rows = 0, cols = 0;  // without padding

  constexpr std::size_t panels() const { return (rows + kPanel - 1) / kPanel; }
  constexpr std::size_t blocks() const { return PaddedToRecords(cols) / kRecordCols; }
  constexpr std::size_t bytes() const {
    return panels() * blocks() * (kPanel / kRecordRows) *
           static_cast<std::size_t>(RecordBytes(format.coding, format.group));
  }
};

}  // namespace marlin::cuda
