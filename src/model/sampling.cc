#include "model/sampling.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "base/check.h"

namespace marlin {
namespace {

void Normalize(std::vector<Candidate>& candidates) {
  double sum = 0;
  for (const Candidate& candidate : candidates) sum += candidate.probability;
  for (Candidate& candidate : candidates) candidate.probability /= sum;
}

void KeepTopK(std::vector<Candidate>& candidates, std::size_t k) {
  if (k == 0 || k >= candidates.size()) return;
  std::vector<double> probabilities;
  for (const Candidate& candidate : candidates) probabilities.push_back(candidate.probability);
  const auto last = probabilities.begin() + static_cast<std::ptrdiff_t>(k - 1);
  std::nth_element(probabilities.begin(), last, probabilities.end(), std::greater<>());
  std::erase_if(candidates, [least = *last](const Candidate& c) { return c.probability < least; });
}

// Drops the least likely tokens as long as all of them together have at most 1 - p.
void KeepTopP(std::vector<Candidate>& candidates, double p) {
  if (p >= 1) return;
  std::ranges::sort(candidates, [](const Candidate& a, const Candidate& b) {
    return a.probability != b.probability ? a.probability < b.probability : a.token > b.token;
  });
  double tail = 0;
  std::size_t dropped = 0;
  for (; dropped + 1 < candidates.size(); ++dropped) {
    tail += candidates[dropped].probability;
    if (tail > 1 - p) break;
  }
  candidates.erase(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(dropped));
  std::ranges::sort(candidates, {}, &Candidate::token);
}

void KeepMinP(std::vector<Candidate>& candidates, double share) {
  const double least = share * std::ranges::max(candidates, {}, &Candidate::probability).probability;
  std::erase_if(candidates, [least](const Candidate& c) { return c.probability < least; });
}

}  // namespace

Result<std::vector<Candidate>> Candidates(std::span<const float> logits, const SamplingOptions& options) {
  MARLIN_CHECK(options.temperature > 0, "a temperature to sample at");
  float largest = -std::numeric_limits<float>::infinity();
  for (const float logit : logits) {
    if (std::isnan(logit)) return Error{ErrorCode::kNumerical, "the model's logits are not finite"};
    largest = std::max(largest, logit);
  }
  if (!std::isfinite(largest)) return Error{ErrorCode::kNumerical, "the model's logits are not finite"};
  std::vector<Candidate> candidates(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const double scaled = (static_cast<double>(logits[i]) - static_cast<double>(largest)) / options.temperature;
    candidates[i] = {static_cast<std::int32_t>(i), std::exp(scaled)};
  }
  KeepTopK(candidates, options.top_k);
  Normalize(candidates);
  KeepTopP(candidates, options.top_p);
  KeepMinP(candidates, options.min_p);
  Normalize(candidates);
  return candidates;
}

std::int32_t Draw(std::span<const Candidate> candidates, double uniform) {
  double sum = 0;
  const Candidate* last = &candidates.front();
  for (const Candidate& candidate : candidates) {
    if (candidate.probability > 0) last = &candidate;
    sum += candidate.probability;
    if (uniform < sum) return candidate.token;
  }
  return last->token;  // the sum may be a little below 1
}

Result<std::int32_t> Sampler::Next(std::span<const float> logits) {
  const auto candidates = Candidates(logits, options_);
  if (!candidates) return candidates.error();
  return Draw(*candidates, rng_.Uniform());
}

}  // namespace marlin
