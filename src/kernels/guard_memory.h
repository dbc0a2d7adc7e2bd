// For tests: memory with an unreadable page directly before or after it, so that an access out of bounds ends the
// program.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>

#include "base/check.h"

namespace marlin {

enum class GuardSide { kBefore, kAfter };

template <class T>
class GuardMemory {
 public:
  GuardMemory(std::size_t count, GuardSide side) : count_(count) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t inside = (count * sizeof(T) + page - 1) / page * page;
    bytes_ = inside + 2 * page;
    base_ =
        static_cast<std::uint8_t*>(mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    MARLIN_CHECK(base_ != MAP_FAILED, "memory for a test");
    MARLIN_CHECK(mprotect(base_, page, PROT_NONE) == 0 && mprotect(base_ + page + inside, page, PROT_NONE) == 0,
                 "guard pages");
    std::uint8_t* start = base_ + page + (side == GuardSide::kAfter ? inside - count * sizeof(T) : 0);
    data_ = reinterpret_cast<T*>(start);
  }
  ~GuardMemory() { munmap(base_, bytes_); }
  GuardMemory(const GuardMemory&) = delete;
  GuardMemory& operator=(const GuardMemory&) = delete;

  T* data() const { return data_; }
  std::size_t size() const { return count_; }
  T& operator[](std::size_t i) const { return data_[i]; }

 private:
  std::uint8_t* base_ = nullptr;
  std::size_t bytes_ = 0;
  std::size_t count_ = 0;
  T* data_ = nullptr;
};

}  // namespace marlin
