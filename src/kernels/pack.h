// Converts the canonical byte layout of a weight matrix to the compute layout (layout.h).
#pragma once

#include <cstddef>
#include <span>

#include "base/result.h"
#include "base/thread_pool.h"
#include "formats/encoded_matrix.h"
#include "kernels/layout.h"
#include "kernels/region.h"

namespace marlin {

struct PackedMatrix {
  const FormatRow* format = nullptr;
  PanelGeometry geometry;
  Region memory;  // geometry.bytes()
};

// Into memory of the pool. Errors: kUnsupported for an empty matrix, kResource.
Result<PackedMatrix> Pack(const EncodedMatrixView& matrix, RegionPool& memory, ThreadPool& pool);

// One row, decoded to fp32; out has cols elements.
void DecodePackedRow(const PackedMatrix& packed, std::size_t row, std::span<float> out);

}  // namespace marlin
