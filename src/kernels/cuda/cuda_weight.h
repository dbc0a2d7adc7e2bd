// A weight matrix in the memory of a CUDA device.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/backend.h"
#include "kernels/cuda/cuda_memory.h"
#include "kernels/cuda/few_layout.h"
#include "kernels/cuda/many.h"
#include "kernels/cuda/operations.h"

namespace marlin {

// How a weight is stored and multiplied.
struct CudaWeightType {
  FormatInfo info;
  std::size_t rows = 0, cols = 0;
  std::optional<cuda::FewFormat> few;  // in the layout of few_layout.h; none: as the plain kernels read it
  float unit = 1;                      // FewWeight::unit
  bool halves = false;                 // products of many tokens round their operands to fp16,
  float power = 1;                     // the weights divided by this; bf16 is stored so, in fp16
  bool many = false;                   // if `few`: by the kernel of many.h,
  float many_power = 1;                // which divides by this
};

// halves: whether products may round their operands.
CudaWeightType CudaWeightTypeOf(const EncodedMatrixView& matrix, bool halves, ThreadPool& pool);

// What BytesOfWeight gives has so many bytes.
std::size_t SizeOfWeight(const FormatInfo& info, std::size_t rows, std::size_t cols, bool halves);

// As it lies in the device's memory.
std::vector<std::uint8_t> BytesOfWeight(const EncodedMatrixView& matrix, const CudaWeightType& type, ThreadPool& pool);

class CudaWeight final : public Weight {
 public:
  // memory: holds BytesOfWeight.
  CudaWeight(const Device& device, const CudaWeightType& type, CudaMemory memory, cudaStream_t stream);

  std::size_t rows() const override { return type_.rows; }
  std::size_t cols() const override { return type_.cols; }
  const FormatInfo& format() const override { return type_.info; }
  std::size_t resident_bytes() const override { return memory_.bytes(); }
  Result<std::unique_ptr<Weight>> Clone() const override;
  // What multiplies few tokens and many: few.h and many.h are one name; few.h and cuBLAS another.
  std::string_view kernel() const override;

  bool is_few() const { return type_.few.has_value(); }
  bool is_halves() const;  // fp16 numbers, divided by power(), which cuBLAS multiplies as they are
  bool rounds() const { return type_.halves; }
  float power() const { return type_.power; }
  const cuda::PackedCodes& packed() const { return packed_; }  // unless is_few
  const cuda::FewWeight& few() const { return few_; }          // if is_few
  // Whether many.h multiplies so many tokens.
  bool IsForMany(std::size_t tokens) const { return is_few() && type_.many && cuda::AreMany(tokens); }

 private:
  CudaWeightType type_;
  CudaMemory memory_;
  cudaStream_t stream_;
  cuda::PackedCodes packed_;
  cuda::FewWeight few_;
};

}  // namespace marlin
