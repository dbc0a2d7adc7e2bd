// Remembers the ids of words while one text is encoded. Most words of a text occur many times.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace marlin {

class WordCache {
 public:
  static constexpr std::size_t kLongest_bytes = 64;

  // `ids` outlives the cache and only grows: long entries are places in it.
  explicit WordCache(std::vector<std::int32_t>& ids) : ids_(ids), table_(kFirstSlots) {}

  // Appends the ids of a word that is known. Words have 1 to kLongest_bytes bytes.
  bool Append(std::string_view word) {
    const Key key = KeyOf(word);
    for (std::size_t slot = Slot(key);; slot = (slot + 1) & (table_.size() - 1)) {
      const Entry& entry = table_[slot];
      if (entry.key.size == 0) return false;
      if (!Same(entry, key, word)) continue;
      if (entry.count <= kInline) {
        ids_.insert(ids_.end(), entry.ids, entry.ids + entry.count);
        return true;
      }
      for (std::size_t i = 0; i < entry.count; ++i) {
        const std::int32_t id = ids_[entry.place + i];  // the vector may move while it grows
        ids_.push_back(id);
      }
      return true;
    }
  }

  // Remembers that the ids from `place` on belong to a word that was not known. The word outlives the cache.
  void Add(std::string_view word, std::size_t place) {
    if (2 * (size_ + 1) > table_.size()) Grow();
    Entry entry;
    entry.key = KeyOf(word);
    entry.word = word.data();
    entry.count = static_cast<std::uint32_t>(ids_.size() - place);
    if (entry.count <= kInline) {
      std::memcpy(entry.ids, ids_.data() + place, entry.count * sizeof(std::int32_t));
    } else {
      entry.place = place;
    }
    Put(entry);
    ++size_;
  }

 private:
  static constexpr std::size_t kFirstSlots = std::size_t{1} << 8;
  static constexpr std::size_t kMostSlots = std::size_t{1} << 19;  // 28 MiB
  static constexpr std::uint32_t kInline = 4;

  // Two words of at most 16 bytes are equal when their keys are.
  struct Key {
    std::uint64_t first = 0;
    std::uint64_t second = 0;
    std::uint32_t size = 0;  // 0 = a free entry
  };
  struct Entry {
    Key key;
    std::uint32_t count = 0;
    union {
      std::int32_t ids[kInline];
      std::size_t place;
    };
    const char* word = nullptr;
    Entry() : ids{} {}
  };

  template <class Number>
  static std::uint64_t Load(const char* bytes) {
    Number number;
    std::memcpy(&number, bytes, sizeof(number));
    return number;
  }

  static Key KeyOf(std::string_view word) {
    const char* p = word.data();
    const std::size_t size = word.size();
    Key key{0, 0, static_cast<std::uint32_t>(size)};
    if (size > 16) {
      for (std::size_t i = 0; i + 8 <= size; i += 8) {
        key.first = (key.first ^ Load<std::uint64_t>(p + i)) * 0x9e3779b97f4a7c15u;
        key.first ^= key.first >> 32;
      }
      key.second = Load<std::uint64_t>(p + size - 8);
    } else if (size >= 8) {
      key.first = Load<std::uint64_t>(p);
      key.second = Load<std::uint64_t>(p + size - 8);
    } else if (size >= 4) {
      key.first = Load<std::uint32_t>(p);
      key.second = Load<std::uint32_t>(p + size - 4);
    } else {
      key.first = static_cast<unsigned char>(p[0]) |
                  static_cast<std::uint64_t>(static_cast<unsigned char>(p[size / 2])) << 8 |
                  static_cast<std::uint64_t>(static_cast<unsigned char>(p[size - 1])) << 16;
    }
    return key;
  }
  static bool Same(const Entry& entry, const Key& key, std::string_view word) {
    return entry.key.first == key.first && entry.key.second == key.second && entry.key.size == key.size &&
           (key.size <= 16 || std::memcmp(entry.word, word.data(), word.size()) == 0);
  }
  std::size_t Slot(const Key& key) const {
    std::uint64_t mixed = (key.first ^ key.size) * 0x9e3779b97f4a7c15u ^ (key.second * 0xc2b2ae3d27d4eb4fu);
    mixed ^= mixed >> 29;
    mixed *= 0xbf58476d1ce4e5b9u;
    return static_cast<std::size_t>(mixed >> 32) & (table_.size() - 1);
  }
  void Put(const Entry& entry) {
    std::size_t slot = Slot(entry.key);
    while (table_[slot].key.size != 0) slot = (slot + 1) & (table_.size() - 1);
    table_[slot] = entry;
  }
  // Doubles the table; a table that is large enough is emptied instead.
  void Grow() {
    std::vector<Entry> old(table_.size() < kMostSlots ? 2 * table_.size() : table_.size());
    old.swap(table_);
    const bool keep = table_.size() > old.size();
    if (!keep) size_ = 0;
    for (const Entry& entry : old) {
      if (keep && entry.key.size != 0) Put(entry);
    }
  }

  std::vector<std::int32_t>& ids_;
  std::vector<Entry> table_;  // open addressing, at most half full
  std::size_t size_ = 0;
};

}  // namespace marlin
