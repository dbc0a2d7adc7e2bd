// Keys and values of a sequence as the CPU's attention reads them (AttentionTile): for every layer and kv head of it
//
//   keys    [blocks][head_dim][64 positions]   so that queries multiply a block without transposing it
//   values  [blocks * 64][head_dim]
//
// in fp32 or in fp16.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/check.h"
#include "base/result.h"
#include "kernels/backend.h"
#include "kernels/region.h"

namespace marlin {

class CpuCache final : public KvCache {
 public:
  using ToHalf = void (*)(const float* x, std::size_t n, std::uint16_t* y) noexcept;

  // to_half: rounds to fp16; null keeps fp32. Errors: kResource.
  static Result<std::unique_ptr<CpuCache>> Create(const Device& device, const CacheShape& shape, ToHalf to_half,
                                                  RegionPool& memory);

  std::size_t resident_bytes() const override { return memory_.size(); }
  const CacheShape& shape() const { return shape_; }
  const CacheLayer& layer(std::size_t index) const {
    MARLIN_CHECK(index < shape_.layers.size(), "a layer of a cache");
    return shape_.layers[index];
  }
  bool half() const { return to_half_ != nullptr; }

  const void* Keys(std::size_t layer, std::size_t kv_head) const { return Place(layer, kv_head); }
  const void* Values(std::size_t layer, std::size_t kv_head) const {
    return Place(layer, kv_head) + parts_[layer].bytes;
  }

  // key, value [head_dim] of one position. Positions of one block of one head share cache lines.
  void Set(std::size_t layer, std::size_t kv_head, std::size_t position, const float* key, const float* value);

 private:
  // Where a layer lies: the keys of a head, its values, the keys of the next head, ...
  struct Parts {
    std::size_t begin;  // in bytes
    std::size_t bytes;  // of the keys of one head; as many of its values
  };

  CpuCache(const Device& device, const CacheShape& shape, ToHalf to_half)
      : KvCache(device), shape_(shape), to_half_(to_half) {}
  std::uint8_t* Place(std::size_t layer, std::size_t kv_head) const {
    return memory_.data() + parts_[layer].begin + kv_head * 2 * parts_[layer].bytes;
  }
  template <class Element>
  void Put(std::size_t layer, std::size_t kv_head, std::size_t position, const Element* key, const Element* value);

  CacheShape shape_;
  ToHalf to_half_;
  std::vector<Parts> parts_;  // one per layer
  Region memory_;
};

}  // namespace marlin
