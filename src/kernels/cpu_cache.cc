#include "kernels/cpu_cache.h"

#include <algorithm>
#include <limits>

#include "kernels/cpu/tile.h"

namespace marlin {
namespace {

constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max();

// The largest size where a result leaves the range: no system grants that.
std::size_t Times(std::size_t a, std::size_t b) { return b != 0 && a > kMost / b ? kMost : a * b; }
std::size_t Plus(std::size_t a, std::size_t b) { return a > kMost - b ? kMost : a + b; }

}  // namespace

Result<std::unique_ptr<CpuCache>> CpuCache::Create(const Device& device, const CacheShape& shape, ToHalf to_half,
                                                   RegionPool& memory) {
  std::unique_ptr<CpuCache> cache(new CpuCache(device, shape, to_half));
  const std::size_t element = cache->half() ? sizeof(std::uint16_t) : sizeof(float);
  const std::size_t blocks = shape.context / kKeyBlock + (shape.context % kKeyBlock != 0 ? 1 : 0);
  std::size_t bytes = 0;
  for (const CacheLayer& layer : shape.layers) {
    MARLIN_CHECK(layer.head_dim > 0 && layer.head_dim <= kMaxHeadDim, "shape of a cache");
    cache->parts_.push_back({bytes, Times(Times(blocks, layer.head_dim), kKeyBlock * element)});
    bytes = Plus(bytes, Times(Times(layer.kv_heads, 2), cache->parts_.back().bytes));
  }
  const std::size_t behind = kKeyBlock * element;  // attention reads past the last values
  auto region = memory.Allocate(Plus(bytes, behind), "keys and values");
  if (!region) return region.error();
  cache->memory_ = *std::move(region);
  return cache;
}

template <class Element>
void CpuCache::Put(std::size_t layer, std::size_t kv_head, std::size_t position, const Element* key,
                   const Element* value) {
  std::uint8_t* const place = Place(layer, kv_head);
  auto* const keys = reinterpret_cast<Element*>(place);
  auto* const values = reinterpret_cast<Element*>(place + parts_[layer].bytes);
  const std::size_t dim = shape_.layers[layer].head_dim;
  Element* const column = keys + position / kKeyBlock * kKeyBlock * dim + position % kKeyBlock;
  for (std::size_t d = 0; d < dim; ++d) column[d * kKeyBlock] = key[d];
  std::copy_n(value, dim, values + position * dim);
}

void CpuCache::Set(std::size_t layer, std::size_t kv_head, std::size_t position, const float* key, const float* value) {
  if (!half()) return Put(layer, kv_head, position, key, value);
  const std::size_t dim = shape_.layers[layer].head_dim;
  std::uint16_t rounded[2][kMaxHeadDim];
  to_half_(key, dim, rounded[0]);
  to_half_(value, dim, rounded[1]);
  Put<std::uint16_t>(layer, kv_head, position, rounded[0], rounded[1]);
}

}  // namespace marlin
