// Zeroed memory for weights and work space, with huge pages where possible: they gain 10 % of the read bandwidth.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/result.h"

namespace marlin {

class Region {
 public:
  // Starts at a page (a multiple of 2 MiB when it is that large). Errors: kResource, naming `what`.
  static Result<Region> Allocate(std::size_t bytes, const char* what);

  // The same bytes in memory of their own. Errors: kResource.
  Result<Region> Clone() const;

  Region() = default;
  Region(Region&& other) noexcept;
  Region& operator=(Region&& other) noexcept;
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;
  ~Region();

  std::uint8_t* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  friend class RegionPool;
  struct Mapping;
  std::uint8_t* data_ = nullptr;
  std::size_t size_ = 0;
  std::shared_ptr<Mapping> mapping_;  // shared by the regions of a pool that lie in it
};

// Regions one behind the other in the order of their allocation, so that many small ones share huge pages. Memory
// goes back to the system when all regions of a stretch of kPoolBytes are gone.
class RegionPool {
 public:
  static constexpr std::size_t kPoolBytes = std::size_t{64} << 20;

  // Starts at a multiple of 64 bytes; more than a quarter of kPoolBytes has memory of its own. Errors: kResource.
  Result<Region> Allocate(std::size_t bytes, const char* what);

 private:
  std::shared_ptr<Region::Mapping> mapping_;
  std::uint8_t* next_ = nullptr;
  std::size_t left_ = 0;
};

}  // namespace marlin
