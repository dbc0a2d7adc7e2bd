#include "kernels/region.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cstring>
#include <utility>

namespace marlin {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kAlignment = 64;

}  // namespace

struct Region::Mapping {
  void* start = nullptr;
  std::size_t bytes = 0;

  Mapping(void* begin, std::size_t size) : start(begin), bytes(size) {}
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() { munmap(start, bytes); }
};

Result<Region> Region::Allocate(std::size_t bytes, const char* what) {
  const std::size_t slack = bytes >= kHugePage ? kHugePage : 0;  // room to move the start to a huge page
  const std::size_t total = bytes + slack;
  void* start = MAP_FAILED;
  if (bytes > 0 && total > bytes - 1) {
    start = mmap(nullptr, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  }
  if (start == MAP_FAILED) {
    return Error{ErrorCode::kResource,
                 fmt::format("no memory for {}: {} bytes were wanted; close other programs or take a smaller model",
                             what, bytes)};
  }
  Region region;
  region.mapping_ = std::make_shared<Mapping>(start, total);
  region.size_ = bytes;
  const std::size_t beyond = reinterpret_cast<std::uintptr_t>(start) % kHugePage;
  region.data_ = static_cast<std::uint8_t*>(start) + (slack == 0 ? 0 : (kHugePage - beyond) % kHugePage);
#if defined(MADV_HUGEPAGE)
  madvise(start, total, MADV_HUGEPAGE);  // a wish: a system without huge pages is only slower
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
  return *this;
}

Region::~Region() = default;

Result<Region> RegionPool::Allocate(std::size_t bytes, const char* what) {
  if (bytes == 0 || bytes > kPoolBytes / 4) return Region::Allocate(bytes, what);
  const std::size_t whole = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  if (whole > left_) {
    Result<Region> stretch = Region::Allocate(kPoolBytes, what);
    if (!stretch) return Region::Allocate(bytes, what);
    mapping_ = stretch->mapping_;
    next_ = stretch->data_;
    left_ = kPoolBytes;
  }
  Region region;
  region.mapping_ = mapping_;
  region.data_ = std::exchange(next_, next_ + whole);
  region.size_ = bytes;
  left_ -= whole;
  return region;
}

}  // namespace marlin
