#include "kernels/pack.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/check.h"

namespace marlin {
namespace {

void PackRows(const EncodedMatrixView& matrix, const PanelGeometry& geometry, std::uint8_t* bytes, std::size_t begin,
              std::size_t end) {
  std::vector<std::uint32_t> codes;
  for (std::size_t row = begin; row < end; ++row) {
    for (std::size_t g = 0; g < geometry.groups; ++g) {
      const std::size_t length = geometry.GroupLength(g);
      const GroupParams params = geometry.has_scales ? GetParams(matrix, row, g) : GroupParams{};
      SetPackedParams(geometry, bytes, row, g, params);
      codes.assign(geometry.StoredLength(length), params.zero_point);
      GetCodes(matrix, row, g * geometry.group, std::span(codes).first(length));
      SetPackedCodes(geometry, bytes, row, g, 0, codes);
    }
  }
}

}  // namespace

Result<PackedMatrix> Pack(const EncodedMatrixView& matrix, RegionPool& memory, ThreadPool& pool) {
  const FormatInfo& info = matrix.format->info;
  if (matrix.rows == 0 || matrix.cols == 0) {
    return Error{ErrorCode::kUnsupported, fmt::format("cannot pack a {} matrix of {} x {}: it holds no weights",
                                                      info.name, matrix.rows, matrix.cols)};
  }
  PackedMatrix packed;
  packed.format = matrix.format;
  packed.geometry = MakeGeometry(info, matrix.rows, matrix.cols);
  const PanelGeometry& geometry = packed.geometry;
  Result<Region> region = memory.Allocate(geometry.bytes(), "packed weights");
  if (!region) return region.error();
  packed.memory = *std::move(region);

  // Panels share no byte.
  pool.Split(geometry.panels, [&](std::size_t begin, std::size_t end, int) {
    const std::size_t last = std::min(end * kPanelRows, matrix.rows);
    PackRows(matrix, geometry, packed.memory.data(), begin * kPanelRows, last);
  });
  return packed;
}

void DecodePackedRow(const PackedMatrix& packed, std::size_t row, std::span<float> out) {
  const PanelGeometry& geometry = packed.geometry;
  MARLIN_CHECK(row < geometry.rows && out.size() == geometry.cols, "row of a packed matrix");
  std::uint32_t codes[256];
  for (std::size_t g = 0; g < geometry.groups; ++g) {
    const GroupParams params = GetPackedParams(geometry, packed.memory.data(), row, g);
    const std::size_t length = geometry.GroupLength(g);
    for (std::size_t begin = 0; begin < length; begin += std::size(codes)) {
      const std::span<std::uint32_t> part(codes, std::min(length - begin, std::size(codes)));
      GetPackedCodes(geometry, packed.memory.data(), row, g, begin, part);
      packed.format->decode(part, params, out.subspan(g * geometry.group + begin, part.size()));
    }
  }
}

}  // namespace marlin
