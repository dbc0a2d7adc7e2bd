#include "kernels/cuda/cuda_weight.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <utility>

#include "base/half.h"
#include "formats/formats.h"
#include "kernels/cuda/few_pack.h"
#include "kernels/cuda/halves.h"
#include "kernels/cuda/many_power.h"

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

cuda::Coding CodingOf(const FormatInfo& info, bool halves) {
  if (HasGroups(info)) return cuda::Coding::kTable;
  if (info.code_bits == 32) return cuda::Coding::kFp32;
  return info.family == "bf16" && !halves ? cuda::Coding::kBf16 : cuda::Coding::kFp16;
}

// bf16 numbers that are stored in fp16, divided by a power of two. That is exact for those down to 2^-31 of the
// largest; the error of smaller ones is at most 2^-39 of it.
bool BecomesHalves(const CudaWeightType& type) { return type.halves && type.info.family == "bf16"; }

// The numbers of all codes where the scale is 1, the bias 0, and the zero point that of the format.
void FillTable(const FormatRow& format, float* table) {
  std::vector<std::uint32_t> codes(std::size_t{1} << format.info.code_bits);
  std::iota(codes.begin(), codes.end(), 0u);
  GroupParams params;
  params.scale = 1;
  params.zero_point = static_cast<std::uint8_t>(format.info.zero_point_bits > 0 ? 0 : format.info.fixed_zero_point);
  format.decode(codes, params, {table, codes.size()});
}

// Bounds of the sizes of a matrix's numbers, and of what makes them.
struct Largest {
  float number = 0;
  float scale = 0;  // or unit of scales
  float bias_unit = 0;
  static Largest Of(const Largest& a, const Largest& b) {
    return {std::max(a.number, b.number), std::max(a.scale, b.scale), std::max(a.bias_unit, b.bias_unit)};
  }
};

Largest LargestOf(const EncodedMatrixView& matrix, ThreadPool& pool) {
  const FormatInfo& info = matrix.format->info;
  std::vector<float> table(HasGroups(info) ? std::size_t{1} << info.code_bits : 1);
  if (HasGroups(info)) FillTable(*matrix.format, table.data());
  const auto [least, largest] = std::ranges::minmax(table);
  std::vector<Largest> of_rows(matrix.rows);
  pool.Split(matrix.rows, [&](std::size_t first, std::size_t last, int) {
    std::vector<float> row(HasGroups(info) ? 0 : matrix.cols);
    for (std::size_t r = first; r < last; ++r) {
      Largest& own = of_rows[r];
      if (!HasGroups(info)) DecodeRow(matrix, r, row);
      for (const float value : row) own.number = std::max(own.number, std::abs(value));
      for (std::size_t g = 0; HasGroups(info) && g < matrix.groups(); ++g) {
        const GroupParams params = GetParams(matrix, r, g);
        const float zero = info.zero_point_bits > 0 ? params.zero_point : 0;
        const float size = std::max(std::abs(least - zero), std::abs(largest - zero)), scale = std::abs(params.scale);
        const float bias = HasBias(info) ? std::abs(params.bias) : 0;
        const float unit = std::abs(HalfToFloat(params.scale_unit));
        own = Largest::Of(own, {scale * size + bias, std::max(scale, unit), std::abs(HalfToFloat(params.bias_unit))});
      }
    }
  });
  return std::accumulate(of_rows.begin(), of_rows.end(), Largest(), Largest::Of);
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

// The numbers of BytesOfPlainWeight from bf16 to fp16.
void DivideToHalves(const CudaWeightType& type, std::span<std::uint8_t> bytes, ThreadPool& pool) {
  const std::size_t count = LayOut(type.info, type.rows, type.cols).pitch * type.rows / 2;
  pool.Split(count, [&](std::size_t first, std::size_t last, int) {
    for (std::size_t i = first; i < last; ++i) {
      std::uint16_t number = 0;
      std::memcpy(&number, bytes.data() + 2 * i, 2);
      number = FloatToHalf(Bf16ToFloat(number) / type.power);
      std::memcpy(bytes.data() + 2 * i, &number, 2);
    }
  });
}

}  // namespace

CudaWeightType CudaWeightTypeOf(const EncodedMatrixView& matrix, bool halves, ThreadPool& pool) {
  const FormatInfo& info = matrix.format->info;
  CudaWeightType type;
  type.info = info;
  type.rows = matrix.rows, type.cols = matrix.cols;
  type.halves = halves;
  if (!halves || info.family == "fp16") return type;
  const Largest largest = LargestOf(matrix, pool);
  type.power = cuda::PowerOf(largest.number);
  type.few = cuda::FewFormatOf(info);
  if (!type.few) return type;
  type.unit = cuda::FewUnitOf(matrix, *type.few);
  type.many_power = cuda::ManyPowerOf(*type.few, type.unit, std::max(largest.number, largest.bias_unit), largest.scale);
  return type;
}

std::size_t SizeOfWeight(const FormatInfo& info, std::size_t rows, std::size_t cols, bool halves) {
  const auto few = halves ? cuda::FewFormatOf(info) : std::nullopt;
  return few ? cuda::FewWeight{*few, nullptr, rows, cols}.bytes() : LayOut(info, rows, cols).bytes;
}

std::vector<std::uint8_t> BytesOfWeight(const EncodedMatrixView& matrix, const CudaWeightType& type, ThreadPool& pool) {
  if (type.few) return cuda::PackFew(matrix, *type.few, pool);
  std::vector<std::uint8_t> bytes = BytesOfPlainWeight(matrix, pool);
  if (BecomesHalves(type)) DivideToHalves(type, bytes, pool);
  return bytes;
}

CudaWeight::CudaWeight(const Device& device, const CudaWeightType& type, CudaMemory memory, cudaStream_t stream)
    : Weight(device), type_(type), memory_(std::move(memory)), stream_(stream) {
  const auto at = [&](std::size_t offset) { return reinterpret_cast<const std::uint8_t*>(memory_.data()) + offset; };
  if (type_.few) {
    few_ = {*type_.few, at(0), type_.rows, type_.cols, type_.unit, type_.many_power};
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
             CodingOf(info, type_.halves),
             type_.power,
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
  if (is_few()) {
    static constexpr std::string_view kNames[][2] = {{"cuda/w4-cublas-fp16", "cuda/w4-fp16"},
                                                     {"cuda/w5-cublas-fp16", "cuda/w5-fp16"},
                                                     {"cuda/w6-cublas-fp16", "cuda/w6-fp16"},
                                                     {"", ""},
                                                     {"cuda/w8-cublas-fp16", "cuda/w8-fp16"}};
    return kNames[type_.info.code_bits - 4][type_.many ? 1 : 0];
  }
  if (!type_.halves) return "cuda/plain";
  return is_halves() ? "cuda/cublas-fp16" : "cuda/plain-fp16";
}

bool CudaWeight::is_halves() const { return CodingOf(type_.info, type_.halves) == cuda::Coding::kFp16; }

}  // namespace marlin
