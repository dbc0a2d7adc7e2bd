// Makes the layout of few_layout.h from an encoded matrix, on the host. Needs nothing of CUDA.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "formats/encoded_matrix.h"
#include "kernels/cuda/few_layout.h"

namespace marlin::cuda {

// None where there is no kernel for the format: it has no groups, or kFewFormats lacks it.
std::optional<FewFormat> FewFormatOf(const FormatInfo& info);

// FewWeight::unit.
float FewUnitOf(const EncodedMatrixView& matrix, const FewFormat& format);

// The bytes at FewWeight::records.
std::vector<std::uint8_t> PackFew(const EncodedMatrixView& matrix, const FewFormat& format, ThreadPool& pool);

// A row, decoded from these bytes as the kernels do it, for tests: out [cols].
void DecodeFewRow(const FewWeight& weight, std::size_t row, std::span<float> out);

}  // namespace marlin::cuda
