#include "kernels/cpu_cache.h"

#include <algorithm>
#include <limits>

#include "kernels/cpu/tile.h"

namespace marlin {
namespace {

// The largest size where a product leaves the range: no system grants that.
std::size_t Times(std::size_t a, std::size_t b) {
  constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max();
  return b != 0 && a > kMost / b ? kMost : a * b;
}

}  // namespace

Result<std::unique_ptr<CpuCache>> CpuCache::Create(const Device& device, const CacheShape& shape, ToHalf to_half,
                                                   RegionPool& memory) {
  std::unique_ptr<CpuCache> cache(new CpuCache(device, shape, to_half));
  const std::size_t element = cache->half() ? sizeof(std::uint16_t) : sizeof(float);
  const std::size_t blocks = shape.context / kKeyBlock + (shape.context % kKeyBlock != 0 ? 1 : 0);
  cache->part_bytes_ = Times(Times(blocks, shape.head_dim), kKeyBlock * element);
  const std::size_t parts = Times(Times(shape.layers, shape.kv_heads), 2);
  const std::size_t behind = kKeyBlock * element;  // attention reads past the last values
  const std::size_t bytes = Times(parts, cache->part_bytes_);
  auto region = memory.Allocate(std::max(bytes, bytes + behind), "keys and values");
  if (!region) return region.error();
  cache->memory_ = *std::move(region);
  return cache;
}

template <class Element>
void CpuCache::Put(std::uint8_t* place, std::size_t position, const Element* key, const Element* value) {
  auto* const keys = reinterpret_cast<Element*>(place);
  auto* const values = reinterpret_cast<Element*>(place + part_bytes_);
  const std::size_t dim = shape_.head_dim;
  Element* const column = keys + position / kKeyBlock * kKeyBlock * dim + position % kKeyBlock;
  for (std::size_t d = 0; d < dim; ++d) column[d * kKeyBlock] = key[d];
  std::copy_n(value, dim, values + position * dim);
}

void CpuCache::Set(std::size_t layer, std::size_t kv_head, std::size_t position, const float* key, const float* value) {
  std::uint8_t* const place = Place(layer, kv_head);
  if (!half()) return Put(place, position, key, value);
  std::uint16_t rounded[2][kMaxHeadDim];
  to_half_(key, shape_.head_dim, rounded[0]);
  to_half_(value, shape_.head_dim, rounded[1]);
  Put<std::uint16_t>(place, position, rounded[0], rounded[1]);
}

}  // namespace marlin
