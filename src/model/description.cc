#include "model/description.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "base/check.h"

namespace marlin {

std::vector<const Parts*> AllParts(const Description& description) {
  std::vector<const Parts*> all = {&description};
  for (const Block& block : description.blocks) all.push_back(&block);
  return all;
}

float Parts::AddedTo(std::size_t vector) const {
  const auto is_rest = [&](const Norm& norm) { return norm.plus_one && norm.weight == vector; };
  return std::ranges::any_of(norms, is_rest) ? 1.0f : 0.0f;
}

namespace {

// The tensors of a description while they are split.
struct Splitter {
  std::vector<StoredTensor> stored;
  std::map<std::string, std::size_t> indexes;
  Description& out;

  std::size_t Add(const std::string& name, std::vector<std::size_t> shape) {
    const auto [place, is_new] = indexes.emplace(name, out.tensors.size());
    if (is_new) out.tensors.push_back({name, std::move(shape)});
    return place->second;
  }

  // The tensor of this name and shape instead of the source, unless that is a whole tensor.
  void Split(const std::string& name, const std::vector<std::size_t>& shape, Source& source) {
    const StoredTensor& whole = stored[source.tensor];
    const bool is_whole = whole.shape == shape && !source.transposed && source.rows.At(0) == 0 &&
                          source.rows.At(shape[0] - 1) == shape[0] - 1;
    if (is_whole) {
      source.tensor = Add(whole.name, shape);
      return;
    }
    const std::size_t tensor = Add(name, shape);
    out.splits.push_back({tensor, whole, source});
    source = {tensor, {0, shape[0], shape[0]}, false, {}};
  }
};

}  // namespace

void SplitStored(Description& description) {
  Splitter splitter{std::exchange(description.tensors, {}), {}, description};
  const auto split = [&](Parts& parts) {
    for (Matrix& matrix : parts.matrices) {
      splitter.Split(matrix.name + ".weight", {matrix.rows, matrix.cols}, matrix.source);
      if (matrix.bias) splitter.Split(matrix.name + ".bias", {matrix.rows}, *matrix.bias);
    }
    for (Vector& vector : parts.vectors) {
      vector.source.tensor = splitter.Add(splitter.stored[vector.source.tensor].name, {vector.size});
    }
  };
  split(description);
  for (Block& block : description.blocks) split(block);
}

Status CheckContext(const Description& description, std::size_t ctx) {
  if (ctx <= description.max_context) return {};
  return Error{ErrorCode::kUsage,
               fmt::format("windows of {} tokens exceed the {} that the model was trained for; take shorter ones "
                           "(--ctx, for a calibration text --calibration-ctx)",
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
