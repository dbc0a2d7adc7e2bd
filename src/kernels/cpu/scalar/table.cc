// Portable kernels. One of them supports every format through the format's own Decode, so a new format works at once.
#include "formats/format.h"
#include "kernels/cpu/scalar/vec.h"
// The bodies come after the vectors they are written in.
#include "kernels/cpu/matmul_body.h"
#include "kernels/cpu/ops_body.h"

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

}  // namespace

const IsaTable kScalarTable = {
    .any = [](const MatmulTile& tile) noexcept { MatmulManyTokens<AnyCode>(tile); },
    .fp4 = nullptr,
    .int4 = nullptr,
    .int8 = nullptr,
    .bf16 = nullptr,
    .fp16 = nullptr,
    .fp32 = nullptr,
    .ops = kOps,
};

}  // namespace marlin
