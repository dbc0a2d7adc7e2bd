// Named tensors in a file: dtype, shape and a borrowed span of mapped bytes. No copies, no knowledge of models.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/matrix.h"
#include "base/result.h"

namespace marlin {

// Storage types of safetensors and of GGUF. The block types are read only: they are decoded, never written.
enum class DType : std::uint8_t {
  kF64,
  kF32,
  kF16,
  kBF16,
  kI64,
  kI32,
  kI16,
  kI8,
  kU8,
  kBool,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIQ4_NL,
  kIQ4_XS,
  kMXFP4  // the last one
};

struct DTypeInfo {
  DType dtype;
  std::string_view name;       // as the file formats spell it: "BF16", "Q4_K"
  std::size_t block_elements;  // 1 except for block types
  std::size_t block_bytes;
  bool is_weight;  // can be decoded to fp32 by DecodeRows
};

const DTypeInfo& Info(DType dtype);
// By the spelling of the file formats; nullptr when this program does not know it.
const DTypeInfo* FindDType(std::string_view name);

// Rows that a file stores in another order than Hugging Face does. GGUF files of the llama family interleave the two
// halves of every rotary head: stored row h*d + 2*i + j holds row h*d + j*d/2 + i (d = rows per head, j = 0, 1).
// Rows are the first axis here: a vector (a bias) is reordered element by element.
struct RowOrder {
  std::size_t rotary_heads = 0;  // 0 = as stored; otherwise 2 * rotary_heads divides the first axis
};

// Position of row `row` of `rows` in the file.
std::size_t StoredRow(RowOrder order, std::size_t rows, std::size_t row);

struct Tensor {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<std::size_t> shape;       // slowest axis first; empty = scalar
  std::span<const std::uint8_t> bytes;  // exactly ByteSize(dtype, shape)
  RowOrder row_order;

  std::size_t elements() const;
  // A tensor as a matrix: the last axis is cols, all others together are rows (a vector is one row).
  std::size_t rows() const;
  std::size_t cols() const;
};

// Bytes of a tensor, or an error when the product overflows or a row is not whole blocks. `what` names it in messages.
Result<std::size_t> ByteSize(DType dtype, std::span<const std::size_t> shape, std::string_view what);

// Rows [begin, begin + out.rows) in Hugging Face order, decoded to fp32: out [rows, cols]. The range lies inside the
// tensor. F64 is rounded; everything else is exact or as its definition rounds.
// Block types follow ggml's definition bit for bit. Errors: kUnsupported for integer dtypes.
Status DecodeRows(const Tensor& tensor, std::size_t begin, MatrixView<float> out);

}  // namespace marlin
