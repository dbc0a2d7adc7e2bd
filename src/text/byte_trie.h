// A set of byte strings with a number each, for finding those that a text begins with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace marlin {

class ByteTrie {
 public:
  static constexpr std::uint32_t kNone = 0xffffffff;
  static constexpr std::uint32_t kRoot = 0;

  ByteTrie() : values_(1, -1), table_(16) {}

  // A later value of the same key counts. `value` is not negative.
  void Insert(std::string_view key, std::int32_t value);

  // The node behind `byte`; kNone = no key goes on so.
  std::uint32_t Next(std::uint32_t node, char byte) const {
    const std::uint64_t key = Key(node, byte);
    for (std::size_t slot = Slot(key);; slot = (slot + 1) & (table_.size() - 1)) {
      if (table_[slot].key == key) return table_[slot].node;
      if (table_[slot].key == 0) return kNone;
    }
  }
  // The value of the key that ends at a node; -1 = none does.
  std::int32_t ValueAt(std::uint32_t node) const { return values_[node]; }

 private:
  struct Edge {
    std::uint64_t key = 0;  // (node + 1) << 8 | byte
    std::uint32_t node = 0;
  };
  static std::uint64_t Key(std::uint32_t node, char byte) {
    return (static_cast<std::uint64_t>(node) + 1) << 8 | static_cast<unsigned char>(byte);
  }
  std::size_t Slot(std::uint64_t key) const {
    return static_cast<std::size_t>((key * 0x9e3779b97f4a7c15u) >> 20) & (table_.size() - 1);
  }
  void Put(Edge edge);

  std::vector<std::int32_t> values_;  // by node
  std::vector<Edge> table_;           // open addressing, at most half full
};

}  // namespace marlin
