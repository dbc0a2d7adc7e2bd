// Values that a 16-bit number cannot hold: quantization cuts them off, and says so.
#pragma once

#include <cstddef>
#include <string>

#include "formats/encoded_matrix.h"

namespace marlin {

struct ClippedTensor {
  std::string name;
  std::string format;
  std::size_t count = 0;  // scales, or values of a tensor without scales
  bool has_scales = false;
  float largest = 0;  // scale of the format; 0 without scales
};

// Scales at the end of their range, or fp16 values beyond it. count 0 = none.
ClippedTensor FindClipped(const std::string& name, const EncodedMatrixView& matrix);

// "tensor x: 3 scales of fp4-g128 ..."
std::string Describe(const ClippedTensor& tensor);

}  // namespace marlin
