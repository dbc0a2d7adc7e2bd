// For tests: memory with an unreadable page directly before or after it, so that an access out of bounds ends the
// program.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "base/check.h"

namespace marlin {

enum class GuardSide { kBefore, kAfter };

// Pages between two that cannot be read. They are kept for the next test, whose buffers so begin with old contents: to
// map pages takes an emulator longer than most products of these tests.
class GuardedPages {
 public:
  // `bytes` rounded up to whole pages.
  static std::uint8_t* Take(std::size_t bytes) {
    const std::size_t pages = PagesFor(bytes);
    std::vector<std::uint8_t*>& kept = Kept()[pages];
    if (kept.empty()) return Map(pages);
    std::uint8_t* const begin = kept.back();
    kept.pop_back();
    return begin;
  }
  static void GiveBack(std::uint8_t* begin, std::size_t bytes) { Kept()[PagesFor(bytes)].push_back(begin); }
  static std::size_t WholePages(std::size_t bytes) { return PagesFor(bytes) * PageBytes(); }

 private:
  static std::size_t PageBytes() { return static_cast<std::size_t>(sysconf(_SC_PAGESIZE)); }
  static std::size_t PagesFor(std::size_t bytes) { return (bytes + PageBytes() - 1) / PageBytes(); }
  static std::map<std::size_t, std::vector<std::uint8_t*>>& Kept() {
    static std::map<std::size_t, std::vector<std::uint8_t*>> kept;  // pages -> regions
    return kept;
  }
  static std::uint8_t* Map(std::size_t pages) {
    const std::size_t page = PageBytes();
    auto* const base = static_cast<std::uint8_t*>(
        mmap(nullptr, (pages + 2) * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    MARLIN_CHECK(base != MAP_FAILED, "memory for a test");
    MARLIN_CHECK(mprotect(base, page, PROT_NONE) == 0 && mprotect(base + (pages + 1) * page, page, PROT_NONE) == 0,
                 "guard pages");
    return base + page;
  }
};

template <class T>
class GuardMemory {
 public:
  GuardMemory(std::size_t count, GuardSide side) : begin_(GuardedPages::Take(count * sizeof(T))), count_(count) {
    const std::size_t before =
        side == GuardSide::kAfter ? GuardedPages::WholePages(count * sizeof(T)) - count * sizeof(T) : 0;
    data_ = reinterpret_cast<T*>(begin_ + before);
  }
  ~GuardMemory() { GuardedPages::GiveBack(begin_, count_ * sizeof(T)); }
  GuardMemory(const GuardMemory&) = delete;
  GuardMemory& operator=(const GuardMemory&) = delete;

  T* data() const { return data_; }
  std::size_t size() const { return count_; }
  T& operator[](std::size_t i) const { return data_[i]; }

 private:
  std::uint8_t* begin_ = nullptr;
  std::size_t count_ = 0;
  T* data_ = nullptr;
};

}  // namespace marlin
