#include "model/block_scratch.h"

#include <algorithm>
#include <cstdint>

namespace marlin {
namespace {

// Sizes that are enough for every block.
struct Widths {
  std::size_t q = 0, kv = 0, inner = 0;
  std::size_t held = 0;
};

Widths WidthsOf(const Description& description) {
  Widths out;
  for (const Block& block : description.blocks) {
    const Attention& attention = std::get<Attention>(block.mixer);
    out.q = std::max(out.q, attention.heads * attention.head_dim);
    out.kv = std::max(out.kv, attention.kv_heads * attention.head_dim);
    out.inner = std::max(out.inner, block.matrices[std::get<FeedForward>(block.feed_forward).up].rows);
    if (block.token_input) out.inner = std::max(out.inner, block.matrices[block.token_input->gate].rows);
    if (block.parallel) out.held = description.hidden_size;
  }
  return out;
}

std::vector<BufferRequest> BuffersOf(BlockScratch& scratch, const Description& d, const BatchLimits& limits) {
  const Widths widths = WidthsOf(d);
  const std::size_t m = limits.tokens;
  std::vector<BufferRequest> buffers = {{&scratch.normed, m * d.hidden_size},
                                        {&scratch.q, m * widths.q},
                                        {&scratch.k, m * widths.kv},
                                        {&scratch.v, m * widths.kv},
                                        {&scratch.attention, m * widths.q},
                                        {&scratch.gate, m * widths.inner},
                                        {&scratch.up, m * widths.inner},
                                        {&scratch.projected, m * d.hidden_size},
                                        {&scratch.positions, m, ElementType::kI32}};
  if (widths.held != 0) buffers.push_back({&scratch.held, m * widths.held});
  if (d.token_embedding) {
    const std::size_t width = d.matrices[*d.token_embedding].cols;
    buffers.push_back({&scratch.token_inputs, m * width});
    buffers.push_back({&scratch.projections, m * width});
  }
  return buffers;
}

}  // namespace

std::uint64_t CacheFloats(const CacheShape& shape) {
  std::uint64_t floats = 0;
  for (const CacheLayer& layer : shape.layers) floats += 2 * shape.context * layer.kv_heads * layer.head_dim;
  return floats;
}

std::size_t WidestBetween(const Description& description) {
  const Widths widths = WidthsOf(description);
  return std::max(widths.q, widths.inner);
}

std::size_t BlockScratch::Bytes(const Description& description, const BatchLimits& limits) {
  BlockScratch none;
  std::size_t bytes = 0;
  for (const auto& buffer : BuffersOf(none, description, limits)) bytes += buffer.elements * BytesOf(buffer.type);
  for (const Rope& rope : description.ropes) bytes += RopeTable::Bytes(rope, limits.context);
  return bytes;
}

Result<BlockScratch> BlockScratch::Create(const Description& description, Backend& backend, const BatchLimits& limits) {
  BlockScratch scratch;
  const auto buffers = BuffersOf(scratch, description, limits);
  if (auto status = backend.AllocateAll(buffers); !status) return status.error();
  for (const Rope& rope : description.ropes) {
    auto table = RopeTable::Create(rope, limits.context, backend);
    if (!table) return table.error();
    scratch.ropes.push_back(*std::move(table));
  }
  return scratch;
}

void BlockScratch::SetPositions(Backend& backend, std::size_t position, std::size_t m, std::size_t sequences) {
  std::vector<std::int32_t> all(m * sequences);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::int32_t>(position + i % m);
  backend.Upload(all, View(positions, all.size(), 1, ElementType::kI32));
}

}  // namespace marlin
