#include "model/description.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"

namespace marlin {

std::vector<const Parts*> AllParts(const Description& description) {
  std::vector<const Parts*> all = {&description};
  for (const Block& block : description.blocks) all.push_back(&block);
  return all;
}

Status CheckContext(const Description& description, std::size_t ctx) {
  if (ctx <= description.max_context) return {};
  return Error{ErrorCode::kUsage,
               fmt::format("windows of {} tokens exceed the {} that the model was trained for; take a "
                           "smaller --ctx",
                           ctx, description.max_context)};
}

std::size_t Block::InputOf(std::size_t m) const {
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (std::ranges::find(inputs[i].matrices, m) != inputs[i].matrices.end()) return i;
  }
  MARLIN_CHECK(false, "every matrix of a block reads an input");
}

std::size_t CountParameters(const Description& description) {
  std::size_t parameters = 0;
  for (const StoredTensor& tensor : description.tensors) {
    std::size_t size = 1;
    for (const std::size_t axis : tensor.shape) size *= axis;
    parameters += size;
  }
  return parameters;
}

Dimensions DimensionsOf(const Description& description) {
  for (const Block& block : description.blocks) {
    const auto* attention = std::get_if<Attention>(&block.mixer);
    const auto* part = std::get_if<FeedForward>(&block.feed_forward);
    if (attention == nullptr || part == nullptr) continue;
    return {attention->heads, attention->kv_heads, attention->head_dim, block.matrices[part->up].rows};
  }
  return {};
}

}  // namespace marlin
