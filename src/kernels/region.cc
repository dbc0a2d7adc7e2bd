#include "kernels/region.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cstring>
#include <utility>

namespace marlin {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

}  // namespace

Result<Region> Region::Allocate(std::size_t bytes, const char* what) {
  const std::size_t slack = bytes >= kHugePage ? kHugePage : 0;  // room to move the start to a huge page
  const std::size_t total = bytes + slack;
  void* mapping = MAP_FAILED;
  if (bytes > 0 && total > bytes - 1) {
    mapping = mmap(nullptr, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  }
  if (mapping == MAP_FAILED) {
    return Error{ErrorCode::kResource,
                 fmt::format("no memory for {}: {} bytes were wanted; close other programs or take a smaller model",
                             what, bytes)};
  }
  Region region;
  region.mapping_ = mapping;
  region.mapping_bytes_ = total;
  region.size_ = bytes;
  const auto start = reinterpret_cast<std::uintptr_t>(mapping);
  region.data_ = static_cast<std::uint8_t*>(mapping) + (slack == 0 ? 0 : (kHugePage - start % kHugePage) % kHugePage);
#if defined(MADV_HUGEPAGE)
  madvise(mapping, total, MADV_HUGEPAGE);  // a wish: a system without huge pages is only slower
#endif
  return region;
}

Result<Region> Region::Clone() const {
  auto copy = Allocate(size_, "a copy of packed weights");
  if (copy) std::memcpy(copy->data_, data_, size_);
  return copy;
}

Region::Region(Region&& other) noexcept { *this = std::move(other); }

Region& Region::operator=(Region&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(mapping_, other.mapping_);
  std::swap(mapping_bytes_, other.mapping_bytes_);
  return *this;
}

Region::~Region() {
  if (mapping_ != nullptr) munmap(mapping_, mapping_bytes_);
}

}  // namespace marlin
