// What every evaluation over windows shares: the windows of a text, and the sum of their losses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "eval/perplexity.h"

namespace marlin {

// Logits exist for this many positions at a time: half a window of 512, in whole tiles of 6 tokens. Fewer would unpack
// the head more often; 258 x 152,000 floats are 157 MB.
inline constexpr std::size_t kHeadRows = 258;

// Errors: kInput (fewer than `windows` windows; a token that a vocabulary of `vocab` does not have).
Status CheckStream(const TokenStream& stream, std::size_t vocab, std::size_t ctx, std::size_t windows);

// A result without windows yet, and how many there will be. Errors: as CheckStream.
Result<PerplexityResult> StartResult(const TokenStream& stream, std::size_t vocab, const PerplexityOptions& options);
std::size_t WindowsToScore(const PerplexityResult& started, const PerplexityOptions& options);

// Adds the next window: nll[i] belongs to target i + 1. Errors: kNumerical (names the window).
Status AddWindow(const TokenStream& stream, std::span<const double> nll, std::size_t windows, PerplexityResult& result);

}  // namespace marlin
