#include "model/block_runner.h"

#include <algorithm>
#include <optional>

#include "base/check.h"
#include "model/embedding.h"

namespace marlin {
namespace {

std::size_t TokenInputWidth(const Description& d) {
  return d.token_embedding ? d.matrices[*d.token_embedding].cols : 0;
}

}  // namespace

std::size_t SequencesTogether(const Device& device, std::size_t tokens, std::size_t sequences) {
  return std::clamp<std::size_t>(device.tokens_at_once() / tokens, 1, sequences);
}

bool FitsMidway(const Block& block) { return block.inputs.size() == 4 && !block.parallel; }

std::vector<BlockRunner::CachePlace> BlockRunner::PlacesOf(const Description& description, CacheShape& kept,
                                                           CacheShape& passing) {
  const auto attention = [&](std::size_t b) -> const Attention& {
    return std::get<Attention>(description.blocks[b].mixer);
  };
  std::vector<std::size_t> users(description.caches);
  for (std::size_t b = 0; b < description.blocks.size(); ++b) ++users[attention(b).cache];
  std::vector<std::optional<std::size_t>> layers(description.caches);  // of the caches that are kept
  std::vector<CachePlace> places;
  for (std::size_t b = 0; b < description.blocks.size(); ++b) {
    const Attention& a = attention(b);
    const auto fits = [&](const CacheLayer& layer) {
      return layer.kv_heads == a.kv_heads && layer.head_dim == a.head_dim;
    };
    const bool is_kept = users[a.cache] > 1;
    if (is_kept && !layers[a.cache]) {
      layers[a.cache] = kept.layers.size();
      kept.layers.push_back({a.kv_heads, a.head_dim});
    }
    if (is_kept) {
      places.push_back({true, *layers[a.cache]});
      continue;
    }
    const auto found = std::ranges::find_if(passing.layers, fits);
    const auto layer = static_cast<std::size_t>(found - passing.layers.begin());
    if (found == passing.layers.end()) passing.layers.push_back({a.kv_heads, a.head_dim});
    places.push_back({false, layer});
  }
  return places;
}

std::uint64_t BlockRunner::Bytes(const Description& description, std::size_t tokens, std::size_t sequences) {
  CacheShape kept{tokens, {}}, passing{tokens, {}};
  PlacesOf(description, kept, passing);
  const std::uint64_t of_sequence = CacheFloats(kept) + std::uint64_t{tokens} * TokenInputWidth(description);
  return BlockScratch::Bytes(description, {tokens, tokens}) +
         sizeof(float) * (CacheFloats(passing) + sequences * of_sequence + tokens * (description.hidden_size + 1));
}

Result<BlockRunner> BlockRunner::Create(const Description& description, Backend& backend, std::size_t tokens,
                                        std::size_t sequences, std::size_t together) {
  BlockRunner runner;
  runner.description_ = &description;
  runner.backend_ = &backend;
  runner.length_ = tokens;
  const std::size_t rows = tokens * together;
  if (auto status = BlockScratch::Create(description, backend, {tokens, rows}).MoveTo(runner.scratch_); !status)
    return status.error();
  const auto allocated = backend.AllocateAll(
      {{&runner.tokens_, tokens, ElementType::kI32}, {&runner.hidden_, rows * description.hidden_size}});
  if (!allocated) return allocated.error();
  CacheShape kept{tokens, {}}, passing{tokens, {}};
  runner.places_ = PlacesOf(description, kept, passing);
  runner.passing_.resize(together);
  for (std::size_t s = 0; s < together && !passing.layers.empty(); ++s) {
    if (auto status = backend.AllocateCache(passing).MoveTo(runner.passing_[s]); !status) return status.error();
  }
  runner.kept_.resize(sequences);
  runner.token_inputs_.resize(sequences);
  for (std::size_t s = 0; s < sequences; ++s) {
    if (!kept.layers.empty()) {
      if (auto status = backend.AllocateCache(kept).MoveTo(runner.kept_[s]); !status) return status.error();
    }
    if (const std::size_t width = TokenInputWidth(description); width != 0) {
      const auto inputs = backend.AllocateAll({{&runner.token_inputs_[s], tokens * width}});
      if (!inputs) return inputs.error();
    }
  }
  runner.scratch_.SetPositions(backend, 0, tokens, together);
  return runner;
}

void BlockRunner::Embed(const LoadedParts& around, std::span<const std::int32_t> tokens, const SequenceState& state) {
  const DeviceTensor ids = View(tokens_, tokens.size(), 1, ElementType::kI32);
  backend_->Upload(tokens, ids);
  EmbedTokens(*backend_, *description_, around, scratch_, ids, state.hidden);
  if (const std::size_t width = TokenInputWidth(*description_); width != 0) {
    backend_->Copy(View(scratch_.token_inputs, tokens.size(), width),
                   View(token_inputs_[state.index], tokens.size(), width));
  }
}

// Puts a sequence in front of a block.
BlockState BlockRunner::Load(const LoadedBlock& block, std::size_t sequence, const DeviceTensor& hidden) {
  const auto index = static_cast<std::size_t>(&block.block - description_->blocks.data());
  const std::size_t count = hidden.rows / length_;
  MARLIN_CHECK(index < places_.size() && sequence + count <= kept_.size() && count <= passing_.size(),
               "a block of the description, and sequences");
  MARLIN_CHECK(count > 0 && hidden.rows == count * length_, "whole sequences");
  const CachePlace& place = places_[index];
  const std::size_t width = TokenInputWidth(*description_);
  for (std::size_t s = 0; s < count && width != 0; ++s) {
    backend_->Copy(View(token_inputs_[sequence + s], length_, width),
                   View(scratch_.token_inputs, hidden.rows, width).Rows(s * length_, length_));
  }
  return {hidden,
          {place.is_kept ? &kept_[sequence] : passing_.data(), count},
          place.layer,
          TokenInputOf(*description_, scratch_, index, hidden.rows)};
}

void BlockRunner::Run(const LoadedBlock& block, const SequenceState& sequence, const InputObserver& observer) {
  RunBlock(*backend_, block, scratch_, Load(block, sequence.index, sequence.hidden), observer);
}

DeviceTensor BlockRunner::Between(std::size_t input, const Midway& at) const {
  return View(BetweenOf(input) == 1 ? scratch_.attention : scratch_.gate, at.between.rows, at.between.cols);
}

void BlockRunner::ShowInput(const LoadedBlock& block, std::size_t input, const Midway& at,
                            const InputObserver& observer) {
  const BlockState state = Load(block, at.index, at.hidden);
  if (input == BetweenOf(input)) backend_->Copy(at.between, Between(input, at));
  observer(input, BlockParts(*backend_, block, scratch_, state).Input(input));
}

void BlockRunner::RunPart(const LoadedBlock& block, std::size_t input, const Midway& at) {
  const BlockState state = Load(block, at.index, at.hidden);
  if (input == BetweenOf(input)) backend_->Copy(at.between, Between(input, at));
  BlockParts(*backend_, block, scratch_, state).Run(input);
  if (input != BetweenOf(input)) backend_->Copy(Between(input, at), at.between);
}

void BlockRunner::RunToInput(const LoadedBlock& block, std::size_t input, const SequenceState& sequence,
                             const InputObserver& observer) {
  const DeviceTensor copy = View(hidden_, sequence.hidden.rows, sequence.hidden.cols);
  backend_->Copy(sequence.hidden, copy);
  const BlockState state = Load(block, sequence.index, copy);
  const BlockParts parts(*backend_, block, scratch_, state);
  for (std::size_t before = 0; before < input; ++before) parts.Run(before);
  observer(input, parts.Input(input));
}

}  // namespace marlin
