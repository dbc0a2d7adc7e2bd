#include "text/byte_trie.h"

#include <utility>

namespace marlin {

void ByteTrie::Put(Edge edge) {
  std::size_t slot = Slot(edge.key);
  while (table_[slot].key != 0) slot = (slot + 1) & (table_.size() - 1);
  table_[slot] = edge;
}

void ByteTrie::Insert(std::string_view key, std::int32_t value) {
  std::uint32_t node = kRoot;
  for (const char byte : key) {
    std::uint32_t next = Next(node, byte);
    if (next == kNone) {
      if (2 * values_.size() >= table_.size()) {
        std::vector<Edge> old(2 * table_.size());
        old.swap(table_);
        for (const Edge& edge : old) {
          if (edge.key != 0) Put(edge);
        }
      }
      next = static_cast<std::uint32_t>(values_.size());
      values_.push_back(-1);
      Put({Key(node, byte), next});
    }
    node = next;
  }
  values_[node] = value;
}

}  // namespace marlin
