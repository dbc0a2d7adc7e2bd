// Byte-pair encoding of one word. It starts from the bytes and applies the merge of lowest rank, leftmost first, until
// no two neighbours have a merge.
#pragma once

#include <array>
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

struct BpeModel {
  std::array<std::int32_t, 256> bytes{};  // id of each byte; -1 = not in the vocabulary, dropped from every word
  std::vector<BpeMerge> merges;           // rank = position; of two merges of one pair the later counts
  std::unordered_map<std::string, std::int32_t> whole_words;  // words (bytes) taken whole, whatever the merges say
};

class Bpe {
 public:
  explicit Bpe(BpeModel model);

  // Scratch for Encode; one per thread.
  struct Workspace {
    struct Symbol {
      std::int32_t id;
      std::uint32_t previous;
      std::uint32_t next;
    };
    std::vector<Symbol> symbols;
    std::vector<std::uint64_t> heap;  // proposals: rank << 32 | position of the left symbol; least on top
  };

  // Longest word Encode takes: positions are 32-bit.
  static constexpr std::size_t kLongestWord_bytes = 0xfffffffe;

  // Appends the ids of a word. Time O(n log n).
  void Encode(std::string_view word, Workspace& workspace, std::vector<std::int32_t>& ids) const;

 private:
  struct PairHash {
    std::size_t operator()(std::uint64_t key) const {
      return static_cast<std::size_t>((key * 0x9e3779b97f4a7c15u) >> 16);
    }
  };

  // Adds the merge of the symbol at `left` with its neighbour, if there is one, to the end of the heap's array.
  bool Propose(std::uint32_t left, Workspace& workspace) const;

  std::array<std::int32_t, 256> bytes_;
  std::vector<BpeMerge> merges_;
  std::unordered_map<std::uint64_t, std::uint32_t, PairHash> ranks_;  // left << 32 | right -> rank
  std::unordered_map<std::string, std::int32_t> whole_words_;
};

}  // namespace marlin
