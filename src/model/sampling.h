// The choice of the next token from the logits of one position: pure functions of numbers. They are in this room
// because logits are what a model gives, and evaluation and generation may both want to draw.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/rng.h"

namespace marlin {

// Applied in this order, which is that of Hugging Face transformers: each step sees the probabilities that the step
// before left.
struct SamplingOptions {
  double temperature = 0;  // logits are divided by it; 0 = always the most likely token, and nothing else matters
  std::size_t top_k = 0;   // the k most likely tokens, and those as likely as the last of them; 0 = all
  double top_p = 1;        // the fewest most likely tokens whose probabilities reach this sum
  double min_p = 0;        // tokens with at least this share of the probability of the most likely one
  std::uint64_t seed = 0;
};

struct Candidate {
  std::int32_t token = 0;
  double probability = 0;
};

// The tokens that may be drawn, in rising order, at least one; their probabilities add up to 1. Among tokens of equal
// probability top_p keeps the lower numbers. temperature > 0, 0 < top_p <= 1, 0 <= min_p <= 1. Errors: kNumerical
// (a logit is NaN or +infinity, or all are -infinity).
Result<std::vector<Candidate>> Candidates(std::span<const float> logits, const SamplingOptions& options);

// The token at `uniform`, in [0, 1), of the cumulated probabilities.
std::int32_t Draw(std::span<const Candidate> candidates, double uniform);

// Draws one token after the other. The same logits and the same seed give the same tokens.
class Sampler {
 public:
  explicit Sampler(const SamplingOptions& options) : options_(options), rng_(options.seed) {}
  // Errors: as Candidates.
  Result<std::int32_t> Next(std::span<const float> logits);

 private:
  SamplingOptions options_;
  Rng rng_;
};

}  // namespace marlin
