// What methods of quantization do with groups and rows (kernels/backend.h: Quantizer), on pointers into the device's
// memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "formats/format.h"
#include "kernels/cuda/operations.h"

namespace marlin::cuda {

// params: [n, groups] without gaps.
void SearchScales(const FormatInfo& format, View<const float> weights, View<const float> importance,
                  GroupParams* params, bool improves, cudaStream_t stream);

void Transpose(View<const float> from, View<float> to, cudaStream_t stream);
void PackCodes(View<std::int32_t> codes, View<std::int32_t> bytes, cudaStream_t stream);

// As kernels/backend.h has them.
struct CodedMatrix {
  const FormatInfo* format = nullptr;
  View<const float> weights;      // [k, n]
  View<std::int32_t> codes;       // [k, n]
  GroupParams* params = nullptr;  // [n, groups]
  std::size_t groups = 0;         // of a row
};
struct BlockToRound {
  const std::int32_t* order = nullptr;
  const double* pivots = nullptr;
  View<const double> feedback;
  View<double> fed, errors;
};
struct BlockToDescend {
  std::size_t low = 0;
  View<const float> square;
  View<float> gradient, errors;  // errors: of all columns
  std::int32_t* changed = nullptr;
};
void RoundBlock(const CodedMatrix& matrix, const BlockToRound& block, cudaStream_t stream);
void FindErrors(const CodedMatrix& matrix, View<float> errors, cudaStream_t stream);
void DescendBlock(const CodedMatrix& matrix, const BlockToDescend& block, cudaStream_t stream);

}  // namespace marlin::cuda
