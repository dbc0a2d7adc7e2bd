// The kernel of formats that have no faster one: a block is decoded by the format's own Decode, then multiplied in the
// register tiles of the instruction set. Included after matmul_body.h.
#pragma once

#include "formats/format.h"
#include "kernels/cpu/matmul_body.h"

namespace marlin {
namespace {

struct AnyCode {
  // Weights of missing rows are decoded like all others; their sums are not read.
  static void Unpack(const MatmulTile& tile, const Block& block, float* weights, float* scales) {
    const PanelGeometry& geometry = *tile.geometry;
    const std::size_t group = block.k / geometry.group;
    std::uint32_t codes[kBlockLength];
    float values[kBlockLength];
    for (std::size_t r = 0; r < kPanelRows; ++r) {
      const GroupParams params = GetPackedParams(geometry, tile.panel, r, group);
      GetPackedCodes(geometry, tile.panel, r, group, block.k % geometry.group, {codes, block.length});
      tile.format->decode({codes, block.length}, params, {values, block.length});
      for (std::size_t k = 0; k < block.length; ++k) weights[k * 64 + r] = values[k];
      scales[r] = 1;  // the values are scaled already
    }
  }
};

inline void MatmulAny(const MatmulTile& tile) noexcept { MatmulManyTokens<AnyCode>(tile); }

}  // namespace
}  // namespace marlin
