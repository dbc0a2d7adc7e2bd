// Byte-pair encoding of one word. It starts from symbols (bytes or characters) and applies the merge of lowest rank,
// leftmost first, until no two neighbours have a merge.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace marlin {

struct BpeMerge {
  std::int32_t left = 0;
  std::int32_t right = 0;
  std::int32_t result = 0;
};

class BpeMerger {
 public:
  // Rank = position; of two merges of one pair the later counts.
  explicit BpeMerger(std::vector<BpeMerge> merges);

  // The symbols of one word; one workspace per thread.
  class Workspace {
   public:
    void Clear() { symbols_.clear(); }
    void Add(std::int32_t id) {
      const auto position = static_cast<std::uint32_t>(symbols_.size());
      symbols_.push_back({id, position - 1, position + 1});  // of the first symbol, `previous` is kNone
    }

   private:
    friend class BpeMerger;
    struct Symbol {
      std::int32_t id;
      std::uint32_t previous;
      std::uint32_t next;
    };
    std::vector<Symbol> symbols_;
    std::vector<std::uint64_t> heap_;  // proposals: rank << 32 | position of the left symbol; least on top
  };

  // The most symbols of a word: positions are 32-bit.
  static constexpr std::size_t kMostSymbols = 0xfffffffe;

  // Merges the symbols of the workspace and appends what is left to `ids`. Time O(n log n).
  void Merge(Workspace& workspace, std::vector<std::int32_t>& ids) const;

 private:
  struct Entry {
    std::uint64_t key = kNoPair;  // left << 32 | right
    std::uint32_t rank = 0;
  };
  static constexpr std::uint64_t kNoPair = ~std::uint64_t{0};

  std::size_t Slot(std::uint64_t key) const { return static_cast<std::size_t>((key * 0x9e3779b97f4a7c15u) >> shift_); }
  // The rank of a pair; kNone = it has no merge.
  std::uint32_t RankOf(std::int32_t left, std::int32_t right) const;
  // Adds the merge of the symbol at `left` with its neighbour, if there is one, to the end of the heap's array.
  bool Propose(std::uint32_t left, Workspace& workspace) const;

  std::vector<BpeMerge> merges_;
  std::vector<Entry> table_;  // open addressing, at most half full
  int shift_ = 63;
};

struct BpeModel {
  std::array<std::int32_t, 256> bytes{};  // id of each byte; -1 = not in the vocabulary, dropped from every word
  std::vector<BpeMerge> merges;
  std::unordered_map<std::string, std::int32_t> whole_words;  // words (bytes) taken whole, whatever the merges say
};

// Of bytes.
class Bpe {
 public:
  explicit Bpe(BpeModel model);

  using Workspace = BpeMerger::Workspace;

  // Longest word Encode takes.
  static constexpr std::size_t kLongestWord_bytes = BpeMerger::kMostSymbols;

  // Appends the ids of a word. Time O(n log n).
  void Encode(std::string_view word, Workspace& workspace, std::vector<std::int32_t>& ids) const;

 private:
  std::array<std::int32_t, 256> bytes_;
  BpeMerger merger_;
  std::unordered_map<std::string, std::int32_t> whole_words_;
};

}  // namespace marlin
