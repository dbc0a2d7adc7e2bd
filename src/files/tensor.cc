#include "files/tensor.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "base/check.h"
#include "base/half.h"
#include "files/ggml_blocks.h"

namespace marlin {
namespace {

// In the order of the enumeration. Block sizes: ggml's definitions, pictured in ggml_blocks.cc.
constexpr std::array kDTypes = {
    DTypeInfo{DType::kF64, "F64", 1, 8, true},         DTypeInfo{DType::kF32, "F32", 1, 4, true},
    DTypeInfo{DType::kF16, "F16", 1, 2, true},         DTypeInfo{DType::kBF16, "BF16", 1, 2, true},
    DTypeInfo{DType::kI64, "I64", 1, 8, false},        DTypeInfo{DType::kI32, "I32", 1, 4, false},
    DTypeInfo{DType::kU32, "U32", 1, 4, false},        DTypeInfo{DType::kI16, "I16", 1, 2, false},
    DTypeInfo{DType::kI8, "I8", 1, 1, false},          DTypeInfo{DType::kU8, "U8", 1, 1, false},
    DTypeInfo{DType::kBool, "BOOL", 1, 1, false},      DTypeInfo{DType::kF8E4M3, "F8_E4M3", 1, 1, false},
    DTypeInfo{DType::kQ4_0, "Q4_0", 32, 18, true},     DTypeInfo{DType::kQ4_1, "Q4_1", 32, 20, true},
    DTypeInfo{DType::kQ5_0, "Q5_0", 32, 22, true},     DTypeInfo{DType::kQ5_1, "Q5_1", 32, 24, true},
    DTypeInfo{DType::kQ8_0, "Q8_0", 32, 34, true},     DTypeInfo{DType::kQ2_K, "Q2_K", 256, 84, true},
    DTypeInfo{DType::kQ3_K, "Q3_K", 256, 110, true},   DTypeInfo{DType::kQ4_K, "Q4_K", 256, 144, true},
    DTypeInfo{DType::kQ5_K, "Q5_K", 256, 176, true},   DTypeInfo{DType::kQ6_K, "Q6_K", 256, 210, true},
    DTypeInfo{DType::kIQ4_NL, "IQ4_NL", 32, 18, true}, DTypeInfo{DType::kIQ4_XS, "IQ4_XS", 256, 136, true},
    DTypeInfo{DType::kMXFP4, "MXFP4", 32, 17, true},   DTypeInfo{DType::kNVFP4, "NVFP4", 64, 36, true},
};

constexpr bool TableFollowsEnumeration() {
  for (std::size_t i = 0; i < kDTypes.size(); ++i) {
    if (static_cast<std::size_t>(kDTypes[i].dtype) != i) return false;
  }
  return true;
}
static_assert(TableFollowsEnumeration());
static_assert(std::endian::native == std::endian::little, "tensors are read as they lie in the file, little-endian");

template <class T>
T Load(const std::uint8_t* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

// Consecutive stored elements to fp32.
void DecodeElements(DType dtype, std::span<const std::uint8_t> bytes, std::span<float> out) {
  switch (dtype) {
    case DType::kF64:
      for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(Load<double>(bytes.data() + 8 * i));
      break;
    case DType::kF32:
      std::memcpy(out.data(), bytes.data(), bytes.size());
      break;
    case DType::kF16:
      for (std::size_t i = 0; i < out.size(); ++i) out[i] = HalfToFloat(Load<std::uint16_t>(bytes.data() + 2 * i));
      break;
    case DType::kBF16:
      for (std::size_t i = 0; i < out.size(); ++i) out[i] = Bf16ToFloat(Load<std::uint16_t>(bytes.data() + 2 * i));
      break;
    default:
      DecodeBlocks(dtype, bytes, out);
  }
}

}  // namespace

const DTypeInfo& Info(DType dtype) { return kDTypes[static_cast<std::size_t>(dtype)]; }

const DTypeInfo* FindDType(std::string_view name) {
  const auto found =
      std::find_if(kDTypes.begin(), kDTypes.end(), [&](const DTypeInfo& row) { return row.name == name; });
  return found == kDTypes.end() ? nullptr : &*found;
}

namespace {

// The first axis; of a vector its elements.
std::size_t OwnRows(const Tensor& tensor) { return tensor.shape.size() < 2 ? tensor.elements() : tensor.rows(); }
std::size_t AllRows(const Tensor& tensor) {
  return tensor.stored.rows.run == 0 ? OwnRows(tensor) : tensor.stored.all_rows;
}

}  // namespace

std::size_t Tensor::StoredRow(std::size_t row) const {
  row = stored.rows.At(row);
  if (stored.rotary_heads == 0) return row;
  const std::size_t head_rows = AllRows(*this) / stored.rotary_heads;
  const std::size_t in_head = row % head_rows;
  const std::size_t half = in_head / (head_rows / 2);
  const std::size_t pair = in_head % (head_rows / 2);
  return row - in_head + 2 * pair + half;
}

bool Tensor::IsPlain() const {
  return stored.rows.run == 0 && !stored.transposed && stored.rotary_heads == 0 && stored.added == 0;
}

std::size_t Tensor::byte_size() const {
  const DTypeInfo& info = Info(dtype);
  return elements() / info.block_elements * info.block_bytes;
}

std::size_t Tensor::elements() const {
  std::size_t product = 1;
  for (const std::size_t axis : shape) product *= axis;
  return product;
}

std::size_t Tensor::cols() const { return shape.empty() ? 1 : shape.back(); }

std::size_t Tensor::rows() const {
  std::size_t product = 1;
  for (std::size_t i = 0; i + 1 < shape.size(); ++i) product *= shape[i];
  return product;
}

Result<std::size_t> ByteSize(DType dtype, std::span<const std::size_t> shape, std::string_view what) {
  const DTypeInfo& info = Info(dtype);
  const std::size_t cols = shape.empty() ? 1 : shape.back();
  if (cols % info.block_elements != 0) {
    return Error{ErrorCode::kInput, fmt::format("{} has rows of {} weights, which are not whole {} blocks of {}", what,
                                                cols, info.name, info.block_elements)};
  }
  // Every partial product stays below 2^63, so that elements and bytes fit signed and unsigned 64-bit arithmetic alike;
  // zeros are multiplied last, so that they hide no overflow of the others.
  constexpr std::uint64_t kLimit = std::uint64_t{1} << 63;
  std::uint64_t bytes = info.block_bytes;
  bool empty = false;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const std::size_t factor = i + 1 == shape.size() ? shape[i] / info.block_elements : shape[i];
    empty = empty || factor == 0;
    if (factor == 0) continue;
    if (shape[i] > kLimit / info.block_bytes || factor > (kLimit - 1) / bytes) {
      return Error{ErrorCode::kInput,
                   fmt::format("{} has an impossible shape [{}]: its size overflows", what, fmt::join(shape, ", "))};
    }
    bytes *= factor;
  }
  return static_cast<std::size_t>(empty ? 0 : bytes);
}

namespace {

std::size_t BytesOf(const DTypeInfo& info, std::size_t elements) {
  return elements / info.block_elements * info.block_bytes;
}

void DecodeVector(const Tensor& tensor, std::span<float> out) {
  const DTypeInfo& info = Info(tensor.dtype);
  const std::size_t all = AllRows(tensor);
  MARLIN_CHECK(tensor.bytes.size() == BytesOf(info, all), "bytes of the vector");
  if (tensor.stored.rows.run == 0 && tensor.stored.rotary_heads == 0) {
    return DecodeElements(tensor.dtype, tensor.bytes, out);
  }
  std::vector<float> stored(all);
  DecodeElements(tensor.dtype, tensor.bytes, stored);
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = stored[tensor.StoredRow(i)];
}

// Stored [cols, all_rows]. The rows of one stored column that are neighbours are read together.
void DecodeTransposed(const Tensor& tensor, std::size_t begin, MatrixView<float> out) {
  const DTypeInfo& info = Info(tensor.dtype);
  const std::size_t all = AllRows(tensor);
  MARLIN_CHECK(info.block_elements == 1 && tensor.bytes.size() == BytesOf(info, all * tensor.cols()),
               "bytes of the transposed tensor");
  std::vector<float> together(out.rows);
  for (std::size_t r = 0; r < out.rows;) {
    const std::size_t first = tensor.StoredRow(begin + r);
    std::size_t count = 1;
    while (r + count < out.rows && tensor.StoredRow(begin + r + count) == first + count) ++count;
    for (std::size_t c = 0; c < tensor.cols(); ++c) {
      const auto bytes = tensor.bytes.subspan((c * all + first) * info.block_bytes, count * info.block_bytes);
      DecodeElements(tensor.dtype, bytes, std::span(together).first(count));
      for (std::size_t i = 0; i < count; ++i) out.Row(r + i)[c] = together[i];
    }
    r += count;
  }
}

}  // namespace

Status DecodeRows(const Tensor& tensor, std::size_t begin, MatrixView<float> out) {
  const DTypeInfo& info = Info(tensor.dtype);
  if (!info.is_weight) {
    return Error{ErrorCode::kUnsupported,
                 fmt::format("tensor {} holds integers ({}), want weights", tensor.name, info.name)};
  }
  MARLIN_CHECK(out.cols == tensor.cols(), "row length");
  MARLIN_CHECK(begin <= tensor.rows() && out.rows <= tensor.rows() - begin, "rows inside the tensor");
  if (tensor.shape.size() < 2) {
    if (out.rows > 0) DecodeVector(tensor, out.Row(0));
  } else if (tensor.stored.transposed) {
    DecodeTransposed(tensor, begin, out);
  } else {
    const std::size_t row_bytes = BytesOf(info, tensor.cols());
    MARLIN_CHECK(tensor.bytes.size() == AllRows(tensor) * row_bytes, "bytes of the tensor");
    for (std::size_t r = 0; r < out.rows; ++r) {
      const std::size_t row = tensor.StoredRow(begin + r);
      DecodeElements(tensor.dtype, tensor.bytes.subspan(row * row_bytes, row_bytes), out.Row(r));
    }
  }
  if (tensor.stored.added == 0) return {};
  for (std::size_t r = 0; r < out.rows; ++r) {
    for (float& value : out.Row(r)) value -= tensor.stored.added;
  }
  return {};
}

}  // namespace marlin
