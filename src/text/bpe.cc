#include "text/bpe.h"

#include <algorithm>
#include <bit>
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

BpeMerger::BpeMerger(std::vector<BpeMerge> merges) : merges_(std::move(merges)) {
  MARLIN_CHECK(merges_.size() < kNone, "ranks are 32-bit");
  const std::size_t slots = std::bit_ceil(2 * merges_.size() + 2);
  shift_ = 64 - std::countr_zero(slots);
  table_.resize(slots);
  for (std::uint32_t rank = 0; rank < merges_.size(); ++rank) {
    const std::uint64_t key = PairKey(merges_[rank].left, merges_[rank].right);
    std::size_t slot = Slot(key);
    while (table_[slot].key != kNoPair && table_[slot].key != key) slot = (slot + 1) & (slots - 1);
    table_[slot] = {key, rank};
  }
}

std::uint32_t BpeMerger::RankOf(std::int32_t left, std::int32_t right) const {
  const std::uint64_t key = PairKey(left, right);
  for (std::size_t slot = Slot(key);; slot = (slot + 1) & (table_.size() - 1)) {
    if (table_[slot].key == key) return table_[slot].rank;
    if (table_[slot].key == kNoPair) return kNone;
  }
}

bool BpeMerger::Propose(std::uint32_t left, Workspace& workspace) const {
  const Workspace::Symbol& symbol = workspace.symbols_[left];
  if (symbol.next == kNone) return false;
  const std::uint32_t rank = RankOf(symbol.id, workspace.symbols_[symbol.next].id);
  if (rank == kNone) return false;
  workspace.heap_.push_back(static_cast<std::uint64_t>(rank) << 32 | left);
  return true;
}

void BpeMerger::Merge(Workspace& workspace, std::vector<std::int32_t>& ids) const {
  auto& symbols = workspace.symbols_;
  MARLIN_CHECK(symbols.size() <= kMostSymbols, "positions are 32-bit");
  if (symbols.empty()) return;
  symbols.back().next = kNone;
  auto& heap = workspace.heap_;
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

Bpe::Bpe(BpeModel model)
    : bytes_(model.bytes), merger_(std::move(model.merges)), whole_words_(std::move(model.whole_words)) {}

void Bpe::Encode(std::string_view word, Workspace& workspace, std::vector<std::int32_t>& ids) const {
  if (!whole_words_.empty()) {
    if (const auto whole = whole_words_.find(std::string(word)); whole != whole_words_.end()) {
      ids.push_back(whole->second);
      return;
    }
  }
  workspace.Clear();
  for (const char c : word) {
    const std::int32_t id = bytes_[static_cast<unsigned char>(c)];
    if (id >= 0) workspace.Add(id);
  }
  merger_.Merge(workspace, ids);
}

}  // namespace marlin
