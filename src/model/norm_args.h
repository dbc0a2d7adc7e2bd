// A norm of a description with its loaded vectors, as an operation takes it.
#pragma once

#include <cstddef>
#include <optional>

#include "kernels/backend.h"
#include "model/description.h"
#include "model/weights.h"

namespace marlin {

inline NormArgs ArgsOf(const Parts& parts, const LoadedParts& loaded, std::size_t index, const DeviceTensor& x,
                       const DeviceTensor& y) {
  const Norm& norm = parts.norms[index];
  const auto vector = [&](const std::optional<std::size_t>& v) {
    return v ? View(loaded.vectors[*v], 1, x.cols) : DeviceTensor();
  };
  return {x, vector(norm.weight), norm.eps, y, norm.kind, vector(norm.bias)};
}

}  // namespace marlin
