#include "kernels/cuda/cuda_weight.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "formats/formats.h"
#include "kernels/cuda/halves.h"
#include "kernels/cuda/w4_pack.h"

namespace marlin {
namespace {

// Where the parts of a weight lie in its memory.
struct PartsOfWeight {
  std::size_t pitch = 0;
  std::size_t scales = 0, biases = 0, zeros = 0, table = 0, bytes = 0;  // codes lie at 0
};

PartsOfWeight LayOut(const FormatInfo& info, std::size_t rows, std::size_t cols) {
  PartsOfWeight out;
  out.pitch = AlignedTo(CodeBytesPerRow(info, AlignedTo(cols, 8)), 8);
  const std::size_t groups = rows * GroupsPerRow(info, cols);
  std::size_t end = 0;
  const auto place = [&](std::size_t bytes) {
    const std::size_t begin = end;
    end = AlignedTo(begin + bytes, kPartAlignment);
    return begin;
  };
  place(out.pitch * rows);
  out.scales = place(groups * sizeof(float));
  out.biases = place(HasBias(info) ? groups * sizeof(float) : 0);
  out.zeros = place(info.zero_point_bits > 0 ? groups : 0);
  out.table = place(HasGroups(info) ? sizeof(float) << info.code_bits : 0);
  out.bytes = end;
  return out;
}

cuda::Coding CodingOf(const FormatInfo& info) {
  if (HasGroups(info)) return cuda::Coding::kTable;
  if (info.code_bits == 32) return cuda::Coding::kFp32;
  return info.family == "bf16" ? cuda::Coding::kBf16 : cuda::Coding::kFp16;
}

// The numbers of all codes where the scale is 1, the bias 0, and the zero point that of the format.
void FillTable(const FormatRow& format, float* table) {
  std::vector<std::uint32_t> codes(std::size_t{1} << format.info.code_bits);
  std::iota(codes.begin(), codes.end(), 0u);
  GroupParams params;
  params.scale = 1;
  params.zero_point = static_cast<std::uint8_t>(format.info.zero_point_bits > 0 ? 0 : format.info.fixed_zero_point);
  format.decode(codes, params, {table, codes.size()});
}

// A bound of the sizes of a matrix's numbers.
float LargestOf(const EncodedMatrixView& matrix, ThreadPool& pool) {
  const FormatInfo& info = matrix.format->info;
  std::vector<float> table(HasGroups(info) ? std::size_t{1} << info.code_bits : 1);
  if (HasGroups(info)) FillTable(*matrix.format, table.data());
  const auto [least, largest] = std::ranges::minmax(table);
  std::vector<float> row_most(matrix.rows, 0.0f);
  pool.Split(matrix.rows, [&](std::size_t first, std::size_t last, int) {
    std::vector<float> row(HasGroups(info) ? 0 : matrix.cols);
    for (std::size_t r = first; r < last; ++r) {
      if (!HasGroups(info)) DecodeRow(matrix, r, row);
      for (const float value : row) row_most[r] = std::max(row_most[r], std::abs(value));
      for (std::size_t g = 0; HasGroups(info) && g < matrix.groups(); ++g) {
        const GroupParams params = GetParams(matrix, r, g);
        const float zero = info.zero_point_bits > 0 ? params.zero_point : 0;
        const float size = std::max(std::abs(least - zero), std::abs(largest - zero));
        const float bias = HasBias(info) ? std::abs(params.bias) : 0;
        row_most[r] = std::max(row_most[r], std::abs(params.scale) * size + bias);
      }
    }
  });
  return row_most.empty() ? 0 : *std::ranges::max_element(row_most);
}

// As the plain kernels read it.
std::vector<std::uint8_t> BytesOfPlainWeight(const EncodedMatrixView& matrix, ThreadPool& pool) {
  const FormatInfo& info = matrix.format->info;
  const PartsOfWeight parts = LayOut(info, matrix.rows, matrix.cols);
  std::vector<std::uint8_t> bytes(parts.bytes);
  const std::size_t row_bytes = CodeBytesPerRow(info, matrix.cols);
  auto* const scales = reinterpret_cast<float*>(bytes.data() + parts.scales);
  auto* const biases = reinterpret_cast<float*>(bytes.data() + parts.biases);
  const std::size_t groups = HasGroups(info) ? matrix.groups() : 0;
  pool.Split(matrix.rows, [&](std::size_t first, std::size_t last, int) {
    for (std::size_t r = first; r < last; ++r) {
      std::copy_n(matrix.codes.data() + r * row_bytes, row_bytes, bytes.data() + r * parts.pitch);
    }
    for (std::size_t i = first * groups; i < last * groups; ++i) {
      const GroupParams params = GetParams(matrix, i / groups, i % groups);
      scales[i] = params.scale;
      if (HasBias(info)) biases[i] = params.bias;
      if (info.zero_point_bits > 0) bytes[parts.zeros + i] = params.zero_point;
    }
  });
  if (!HasGroups(info)) return bytes;
  FillTable(*matrix.format, reinterpret_cast<float*>(bytes.data() + parts.table));
  return bytes;
}

// fp16 numbers, which cuBLAS multiplies as they are.
bool AreHalves(const FormatInfo& info) { return CodingOf(info) == cuda::Coding::kFp16; }

}  // namespace

CudaWeightType CudaWeightTypeOf(const EncodedMatrixView& matrix, bool halves, ThreadPool& pool) {
  const FormatInfo& info = matrix.format->info;
  CudaWeightType type{info, matrix.rows, matrix.cols, {}, halves, 1};
  if (!halves) return type;
  type.w4 = cuda::W4FormatOf(info);
  if (!AreHalves(info)) type.power = cuda::PowerOf(LargestOf(matrix, pool));
  return type;
}

std::vector<std::uint8_t> BytesOfWeight(const EncodedMatrixView& matrix, const CudaWeightType& type, ThreadPool& pool) {
  return type.w4 ? cuda::PackW4(matrix, *type.w4, pool) : BytesOfPlainWeight(matrix, pool);
}

CudaWeight::CudaWeight(const Device& device, const CudaWeightType& type, CudaMemory memory, cudaStream_t stream)
    : Weight(device), type_(type), memory_(std::move(memory)), stream_(stream) {
  const auto at = [&](std::size_t offset) { return reinterpret_cast<const std::uint8_t*>(memory_.data()) + offset; };
  if (type_.w4) {
    w4_ = {*type_.w4, at(0), type_.rows, type_.cols};
    return;
  }
  const FormatInfo& info = type_.info;
  const PartsOfWeight parts = LayOut(info, type_.rows, type_.cols);
  const auto floats = [&](std::size_t offset) { return reinterpret_cast<const float*>(at(offset)); };
  packed_ = {at(0),
             parts.pitch,
             type_.rows,
             type_.cols,
             GroupsPerRow(info, type_.cols),
             info.group,
             info.code_bits,
             CodingOf(info),
             {},
             {},
             {},
             {}};
  if (!HasGroups(info)) return;
  packed_.table = floats(parts.table);
  packed_.scales = floats(parts.scales);
  if (HasBias(info)) packed_.biases = floats(parts.biases);
  if (info.zero_point_bits > 0) packed_.zeros = at(parts.zeros);
}

Result<std::unique_ptr<Weight>> CudaWeight::Clone() const {
  auto memory = CudaMemory::Allocate(memory_.bytes(), "weights", stream_);
  if (!memory) return memory.error();
  cudaMemcpyAsync(memory->data(), memory_.data(), memory_.bytes(), cudaMemcpyDeviceToDevice, stream_);
  return std::unique_ptr<Weight>(std::make_unique<CudaWeight>(*device(), type_, *std::move(memory), stream_));
}

std::string_view CudaWeight::kernel() const {
  if (is_w4()) return "cuda/w4-fp16";
  if (!type_.halves) return "cuda/plain";
  return is_halves() ? "cuda/cublas-fp16" : "cuda/plain-fp16";
}

bool CudaWeight::is_halves() const { return AreHalves(type_.info); }

}  // namespace marlin
