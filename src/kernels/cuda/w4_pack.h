// Makes the layout of w4_layout.h from an encoded matrix, on the host.
#pragma once

#include <optional>
#include <vector>

#include "base/thread_pool.h"
#include "formats/encoded_matrix.h"
#include "kernels/cuda/w4_layout.h"

namespace marlin::cuda {

// None where the kernels do not take the format: they take codes of 4 bits that are FP4 or integers, with scales that
// fp16 holds in groups of 32 or more, without biases.
std::optional<W4Format> W4FormatOf(const FormatInfo& info);

std::vector<std::uint8_t> PackW4(const EncodedMatrixView& matrix, const W4Format& format, ThreadPool& pool);

}  // namespace marlin::cuda
