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

// Storage types of safetensors and of GGUF. The block types are those of ggml.
enum class DType : std::uint8_t {
  kF64,
  kF32,
  kF16,
  kBF16,
  kI64,
  kI32,
  kU32,
  kI16,
  kI8,
  kU8,
  kBool,
  kF8E4M3,
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
  kMXFP4,
  kNVFP4  // the last one
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

// Some rows of a tensor, in an order: row r is row first + r / run * stride + r % run. So the queries of heads that are
// stored as (query, key, value) of one head after the other are {0, head_dim, 3 * head_dim}.
struct RowRange {
  std::size_t first = 0;
  std::size_t run = 0;  // 0: all rows as they are
  std::size_t stride = 0;

  std::size_t At(std::size_t r) const { return run == 0 ? r : first + r / run * stride + r % run; }
};

// How the bytes of a file hold a tensor, where they are not its rows one after the other. Rows are the first axis;
// those of a vector (a bias) are its elements.
struct Stored {
  RowRange rows;             // the tensor is a part of what is stored, which has `all_rows` rows
  std::size_t all_rows = 0;  // of a part only
  bool transposed = false;   // the bytes hold [cols, all_rows]; not of block types
  // GGUF files of the llama family interleave the two halves of every rotary head: stored row h*d + 2*i + j holds row
  // h*d + j*d/2 + i (d = rows per head, j = 0, 1). 0 = as stored; otherwise 2 * rotary_heads divides the stored rows.
  std::size_t rotary_heads = 0;
  float added = 0;  // the bytes hold each number + this
};

struct Tensor {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<std::size_t> shape;       // slowest axis first; empty = scalar
  std::span<const std::uint8_t> bytes;  // of all that is stored: exactly ByteSize of the dtype and the stored shape
  Stored stored;

  std::size_t elements() const;
  std::size_t byte_size() const;  // its own share of the bytes
  // Whether the bytes are its rows one after the other.
  bool IsPlain() const;
  // Position of row `row` among the stored rows.
  std::size_t StoredRow(std::size_t row) const;
  // A tensor as a matrix: the last axis is cols, all others together are rows (a vector is one row).
  std::size_t rows() const;
  std::size_t cols() const;
};

// Bytes of a tensor, or an error when the product overflows or a row is not whole blocks. `what` names it in messages.
Result<std::size_t> ByteSize(DType dtype, std::span<const std::size_t> shape, std::string_view what);

// Rows [begin, begin + out.rows) of the tensor, decoded to fp32: out [rows, cols]. The range lies inside the tensor.
// F64 is rounded; everything else is exact or as its definition rounds. Block types follow ggml's definition bit for
// bit. Errors: kUnsupported for integer dtypes.
Status DecodeRows(const Tensor& tensor, std::size_t begin, MatrixView<float> out);

}  // namespace marlin
