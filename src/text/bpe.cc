#include "text/bpe.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "base/check.h"

namespace marlin {
namespace {

constexpr std::uint32_t kNone = 0xffffffff;
constexpr std::int32_t kGone = -1;  // a symbol that was merged into its left neighbour

std::uint64_t PairKey(std::int32_t left, std::int32_t right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
}

}  // namespace

Bpe::Bpe(BpeModel model)
    : bytes_(model.bytes), merges_(std::move(model.merges)), whole_words_(std::move(model.whole_words)) {
  MARLIN_CHECK(merges_.size() < kNone, "ranks are 32-bit");
  ranks_.reserve(merges_.size());
  for (std::uint32_t rank = 0; rank < merges_.size(); ++rank) {
    ranks_[PairKey(merges_[rank].left, merges_[rank].right)] = rank;
  }
}

bool Bpe::Propose(std::uint32_t left, Workspace& workspace) const {
  const Workspace::Symbol& symbol = workspace.symbols[left];
  if (symbol.next == kNone) return false;
  const auto rank = ranks_.find(PairKey(symbol.id, workspace.symbols[symbol.next].id));
  if (rank == ranks_.end()) return false;
  workspace.heap.push_back(static_cast<std::uint64_t>(rank->second) << 32 | left);
  return true;
}

void Bpe::Encode(std::string_view word, Workspace& workspace, std::vector<std::int32_t>& ids) const {
  MARLIN_CHECK(word.size() <= kLongestWord_bytes, "positions are 32-bit");
  if (!whole_words_.empty()) {
    if (const auto whole = whole_words_.find(std::string(word)); whole != whole_words_.end()) {
      ids.push_back(whole->second);
      return;
    }
  }
  auto& symbols = workspace.symbols;
  symbols.clear();
  for (const char c : word) {
    const std::int32_t id = bytes_[static_cast<unsigned char>(c)];
    if (id < 0) continue;
    const auto position = static_cast<std::uint32_t>(symbols.size());
    symbols.push_back({id, position == 0 ? kNone : position - 1, position + 1});
  }
  if (symbols.empty()) return;
  symbols.back().next = kNone;

  auto& heap = workspace.heap;
  heap.clear();
  const auto propose = [&](std::uint32_t position) {
    if (Propose(position, workspace)) std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };
  for (std::uint32_t i = 0; i < symbols.size(); ++i) Propose(i, workspace);
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const auto position = static_cast<std::uint32_t>(heap.back());
    const BpeMerge& merge = merges_[static_cast<std::size_t>(heap.back() >> 32)];
    heap.pop_back();
    Workspace::Symbol& left = symbols[position];
    // An older proposal may name symbols that have changed since.
    if (left.id != merge.left || left.next == kNone || symbols[left.next].id != merge.right) continue;
    Workspace::Symbol& right = symbols[left.next];
    left.id = merge.result;
    right.id = kGone;
    left.next = right.next;
    if (left.next != kNone) symbols[left.next].previous = position;
    propose(position);
    if (left.previous != kNone) propose(left.previous);
  }
  for (std::uint32_t i = 0; i != kNone; i = symbols[i].next) ids.push_back(symbols[i].id);
}

}  // namespace marlin
