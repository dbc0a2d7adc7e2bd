#include "model/runnable.h"

#include <algorithm>
#include <string>

namespace marlin {
namespace {

// Attention, then a feed-forward part, then perhaps what the token says of itself.
bool IsRun(const Block& block) {
  const auto* const a = std::get_if<Attention>(&block.mixer);
  const auto* const f = std::get_if<FeedForward>(&block.feed_forward);
  if (a == nullptr || f == nullptr || block.inputs.size() != (block.token_input ? 6u : 4u)) return false;
  // Keys that are also values are read from the product before their norm.
  const bool has_values = !a->k || a->v || (a->k_norm && a->v_norm);
  return has_values && !a->gate && !a->sinks && !f->limit;
}

bool IsRun(const Rope& rope) {
  const auto fits = [&](const std::vector<float>& frequencies) { return 2 * frequencies.size() == rope.dims; };
  return fits(rope.scaling.frequencies) &&
         (rope.scaling.long_frequencies.empty() || fits(rope.scaling.long_frequencies));
}

// What of the description is not run; null = nothing.
const char* FindNotRun(const Description& d) {
  if (d.matrices[d.head].bias) return "head with a bias";
  if (!std::ranges::all_of(d.ropes, [](const Rope& rope) { return IsRun(rope); })) return "rotary positions";
  if (!std::ranges::all_of(d.blocks, [](const Block& block) { return IsRun(block); })) return "blocks";
  return nullptr;
}

}  // namespace

Status CheckRunnable(const Description& description) {
  const char* const part = FindNotRun(description);
  if (part == nullptr) return {};
  return Error{ErrorCode::kUnsupported, std::string("this program cannot run the model's ") + part + " yet"};
}

}  // namespace marlin
