#include "kernels/work_split.h"

#include <algorithm>

#include "kernels/cpu/tile.h"

namespace marlin {
namespace {

// Parts are whole tiles, so that only the last one runs a narrow one.
constexpr std::size_t kTile = kTokenTile;
// Below this a part spends more than a tenth of its time on unpacking.
constexpr std::size_t kLeastTokens = 24;
// Unpacking a panel costs about as much as multiplying it by this many tokens.
constexpr std::size_t kUnpackTokens = 3;

constexpr std::size_t CeilDiv(std::size_t a, std::size_t b) { return (a + b - 1) / b; }

}  // namespace

WorkSplit SplitWork(std::size_t panels, std::size_t m, std::size_t threads) {
  WorkSplit best;
  std::size_t best_cost = 0;
  const std::size_t most_parts = std::max(CeilDiv(m, kMaxTileTokens), CeilDiv(m, kLeastTokens));
  for (std::size_t wanted = CeilDiv(m, kMaxTileTokens); wanted <= most_parts; ++wanted) {
    const std::size_t tokens = std::min({CeilDiv(CeilDiv(m, wanted), kTile) * kTile, kMaxTileTokens, m});
    const std::size_t parts = CeilDiv(m, tokens);
    const std::size_t cost = CeilDiv(panels * parts, threads) * (tokens + kUnpackTokens);
    if (best.parts == 0 || cost < best_cost) {
      best = {tokens, parts};
      best_cost = cost;
    }
  }
  return best;
}

}  // namespace marlin
