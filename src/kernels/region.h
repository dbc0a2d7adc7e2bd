// Zeroed memory for weights and work space: starts at a page (a multiple of 2 MiB when it is that large) and asks the
// system for huge pages, which are worth 10 % of the read bandwidth.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/result.h"

namespace marlin {

class Region {
 public:
  // Errors: kResource, naming `what`.
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
  std::uint8_t* data_ = nullptr;
  std::size_t size_ = 0;
  void* mapping_ = nullptr;
  std::size_t mapping_bytes_ = 0;
};

}  // namespace marlin
