#include "model/block.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "base/check.h"

namespace marlin {
namespace {

const Attention& AttentionOf(const Block& block) { return std::get<Attention>(block.mixer); }
const FeedForward& FeedForwardOf(const Block& block) { return std::get<FeedForward>(block.feed_forward); }
std::span<float> Values(MatrixView<float> matrix) { return {matrix.data, matrix.rows * matrix.cols}; }

// Attention over all positions with its own keys and values, then a gated feed-forward part, one after the other.
bool IsRun(const Block& block, const Rope& rope) {
  const auto* const a = std::get_if<Attention>(&block.mixer);
  const auto* const f = std::get_if<FeedForward>(&block.feed_forward);
  if (a == nullptr || f == nullptr || block.inputs.size() != 4 || block.parallel) return false;
  if (a->head_dim != rope.dims || 2 * rope.frequencies.size() != rope.dims || rope.neighbours) return false;
  return a->k && a->v && a->rope && !a->gate && !a->v_norm && !a->sinks && !a->window && f->gate && !f->limit &&
         !block.after_mixer && !block.after_feed_forward && !block.token_input && !block.scalar;
}

// What of the description is not run; null = nothing.
const char* FindNotRun(const Description& d) {
  const auto is_run = [](const Norm& n) { return n.kind == NormKind::kRms && n.weight && !n.bias && !n.plus_one; };
  const auto is_whole = [&](const Matrix& m) {
    return !m.source.transposed && d.tensors[m.source.tensor].shape == std::vector<std::size_t>{m.rows, m.cols};
  };
  if (d.positions || d.embedding_scale != 1 || d.token_embedding || d.logit_softcap) return "embedding or head";
  if (d.ropes.size() != 1) return "rotary positions";
  for (const Block& block : d.blocks) {
    if (!IsRun(block, d.ropes[0])) return "blocks";
  }
  for (const Parts* parts : AllParts(d)) {
    if (!std::ranges::all_of(parts->norms, is_run)) return "norms";
    if (!std::ranges::all_of(parts->matrices, is_whole)) return "tensors that hold several matrices";
  }
  return nullptr;
}

// Sizes that are enough for every block.
struct Widths {
  std::size_t q = 0, kv = 0, inner = 0;
};

Widths WidthsOf(const Description& description) {
  Widths out;
  for (const Block& block : description.blocks) {
    const Attention& attention = AttentionOf(block);
    out.q = std::max(out.q, attention.heads * attention.head_dim);
    out.kv = std::max(out.kv, attention.kv_heads * attention.head_dim);
    out.inner = std::max(out.inner, block.matrices[FeedForwardOf(block).up].rows);
  }
  return out;
}

std::array<BufferRequest, 11> BuffersOf(BlockScratch& scratch, const Description& d, const BatchLimits& limits) {
  const Widths widths = WidthsOf(d);
  const std::size_t m = limits.tokens;
  const std::size_t angles = limits.context * d.ropes[0].frequencies.size();
  return {{{&scratch.normed, m * d.hidden_size},
           {&scratch.q, m * widths.q},
           {&scratch.k, m * widths.kv},
           {&scratch.v, m * widths.kv},
           {&scratch.attention, m * widths.q},
           {&scratch.gate, m * widths.inner},
           {&scratch.up, m * widths.inner},
           {&scratch.projected, m * d.hidden_size},
           {&scratch.cos, angles},
           {&scratch.sin, angles},
           {&scratch.positions, m, ElementType::kI32}}};
}

// Angle of pair i at position p = p * frequency[i], in fp32 as models are trained.
void UploadAngles(const std::vector<float>& frequencies, std::size_t context, const BlockScratch& scratch,
                  Backend& backend) {
  std::vector<float> cosines, sines;
  cosines.reserve(context * frequencies.size());
  sines.reserve(context * frequencies.size());
  for (std::size_t position = 0; position < context; ++position) {
    for (const float frequency : frequencies) {
      const auto angle = static_cast<double>(static_cast<float>(position) * frequency);
      cosines.push_back(static_cast<float>(std::cos(angle)));
      sines.push_back(static_cast<float>(std::sin(angle)));
    }
  }
  backend.Upload(cosines, View(scratch.cos, context, frequencies.size()));
  backend.Upload(sines, View(scratch.sin, context, frequencies.size()));
}

}  // namespace

Status CheckRunnable(const Description& description) {
  const char* const part = FindNotRun(description);
  if (part == nullptr) return {};
  return Error{ErrorCode::kUnsupported, std::string("this program cannot run the model's ") + part + " yet"};
}

bool FitsMidway(const Block& block) { return block.inputs.size() == 4 && !block.parallel; }

std::size_t WidestBetween(const Description& description) {
  const Widths widths = WidthsOf(description);
  return std::max(widths.q, widths.inner);
}

std::size_t BlockScratch::Bytes(const Description& description, const BatchLimits& limits) {
  BlockScratch none;
  std::size_t bytes = 0;
  for (const auto& buffer : BuffersOf(none, description, limits)) bytes += buffer.elements * BytesOf(buffer.type);
  return bytes;
}

Result<BlockScratch> BlockScratch::Create(const Description& description, Backend& backend, const BatchLimits& limits) {
  BlockScratch scratch;
  const auto buffers = BuffersOf(scratch, description, limits);
  if (auto status = backend.AllocateAll(buffers); !status) return status.error();
  UploadAngles(description.ropes[0].frequencies, limits.context, scratch, backend);
  return scratch;
}

void BlockScratch::SetPositions(Backend& backend, std::size_t position, std::size_t m, std::size_t sequences) {
  std::vector<std::int32_t> all(m * sequences);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::int32_t>(position + i % m);
  backend.Upload(all, View(positions, all.size(), 1, ElementType::kI32));
}

namespace {

// A block at work: what its parts share.
class BlockParts {
 public:
  BlockParts(Backend& backend, const LoadedBlock& block, const BlockScratch& scratch, const BlockState& state)
      : backend_(backend), block_(block.block), loaded_(block.parts), scratch_(scratch), state_(state) {}

  // What the part multiplies.
  DeviceTensor Input(std::size_t input) const {
    if (ReadsHidden(input)) {
      const NormArgs norm = NormOf(input);
      backend_.Norm(norm);
      return norm.y;
    }
    return View(input == 1 ? scratch_.attention : scratch_.gate, m_, ColsOf(input));
  }

  void Run(std::size_t input) const {
    switch (input) {
      case 0:
        return Attend();
      case 2:
        return Gate();
      default:
        return Project(input);
    }
  }

 private:
  static bool ReadsHidden(std::size_t input) { return input % 2 == 0; }
  std::size_t ColsOf(std::size_t input) const { return block_.matrices[block_.inputs[input].matrices[0]].cols; }

  NormArgs Args(std::size_t norm, const DeviceTensor& x, const DeviceTensor& y) const {
    return {x, View(loaded_.vectors[*block_.norms[norm].weight], 1, x.cols), block_.norms[norm].eps, y};
  }
  NormArgs NormOf(std::size_t input) const {
    const std::size_t norm = input == 0 ? block_.mixer_norm : block_.feed_forward_norm;
    return Args(norm, state_.hidden, View(scratch_.normed, m_, state_.hidden.cols));
  }

  void Multiply(std::size_t input, std::initializer_list<DeviceTensor> outs) const {
    const Weight* weights[3];
    DeviceTensor biases[3];
    std::size_t count = 0;
    for (const std::size_t index : block_.inputs[input].matrices) {
      MARLIN_CHECK(count < outs.size(), "one output for each matrix of the input");
      const Linear& linear = loaded_.matrices[index];
      weights[count] = linear.weight.get();
      biases[count++] = linear.bias ? View(linear.bias, 1, linear.weight->rows()) : DeviceTensor();
    }
    const std::span<const Weight* const> used(weights, count);
    const std::span<const DeviceTensor> added(biases, count);
    const std::span<const DeviceTensor> results(outs.begin(), outs.size());
    if (ReadsHidden(input)) return backend_.NormMatmul(NormOf(input), used, added, results);
    backend_.Matmul(used, added, Input(input), results);
  }

  // Norms every head, where the family does.
  void NormHeads(const std::optional<std::size_t>& norm, const DeviceTensor& x) const {
    if (!norm) return;
    const DeviceTensor heads = x.Reshape(x.rows * x.cols / attention_.head_dim, attention_.head_dim);
    backend_.Norm(Args(*norm, heads, heads));
  }

  DeviceTensor Angles(const std::unique_ptr<Buffer>& table) const {
    const std::size_t pairs = attention_.head_dim / 2;
    return View(table, table->bytes() / sizeof(float) / pairs, pairs);
  }

  void Attend() const {
    const std::size_t d = attention_.head_dim;
    const auto q = View(scratch_.q, m_, attention_.heads * d);
    const auto k = View(scratch_.k, m_, attention_.kv_heads * d);
    const auto v = View(scratch_.v, m_, attention_.kv_heads * d);
    Multiply(0, {q, k, v});
    NormHeads(attention_.q_norm, q);
    NormHeads(attention_.k_norm, k);
    const auto positions = View(scratch_.positions, m_, 1, ElementType::kI32);
    for (const DeviceTensor& x : {q, k}) backend_.Rope({x, d, Angles(scratch_.cos), Angles(scratch_.sin), positions});
    const auto out = View(scratch_.attention, m_, attention_.heads * d);
    const std::size_t tokens = m_ / state_.caches.size();
    for (std::size_t s = 0; s < state_.caches.size(); ++s) {
      const std::size_t first = s * tokens;
      KvCache* const cache = state_.caches[s].get();
      const std::size_t layer = state_.cache_layer;
      const DeviceTensor own = positions.Rows(first, tokens);
      backend_.Append({cache, layer, own, k.Rows(first, tokens), v.Rows(first, tokens)});
      backend_.Attention({q.Rows(first, tokens), cache, layer, attention_.heads, own, attention_.scale},
                         out.Rows(first, tokens));
    }
  }

  void Gate() const {
    const auto gate = View(scratch_.gate, m_, ColsOf(3));
    const auto up = View(scratch_.up, m_, ColsOf(3));
    Multiply(2, {gate, up});
    backend_.GatedActivation(FeedForwardOf(block_).activation, gate, up);
  }

  void Project(std::size_t input) const {
    const auto projected = View(scratch_.projected, m_, state_.hidden.cols);
    Multiply(input, {projected});
    backend_.Add(state_.hidden, projected);
  }

  Backend& backend_;
  const Block& block_;
  const LoadedParts& loaded_;
  const BlockScratch& scratch_;
  const BlockState& state_;
  const Attention& attention_ = AttentionOf(block_);
  const std::size_t m_ = state_.hidden.rows;
};

}  // namespace

void RunBlock(Backend& backend, const LoadedBlock& block, const BlockScratch& scratch, const BlockState& state,
              const InputObserver& observer) {
  const BlockParts parts(backend, block, scratch, state);
  for (std::size_t input = 0; input < block.block.inputs.size(); ++input) {
    if (observer) observer(input, parts.Input(input));
    parts.Run(input);
  }
}

Result<BlockRunner> BlockRunner::Create(const Description& description, Backend& backend, std::size_t tokens) {
  BlockRunner runner;
  runner.description_ = &description;
  runner.backend_ = &backend;
  if (auto status = BlockScratch::Create(description, backend, {tokens, tokens}).MoveTo(runner.scratch_); !status)
    return status.error();
  const auto allocated = backend.AllocateAll(
      {{&runner.tokens_, tokens, ElementType::kI32}, {&runner.hidden_, tokens * description.hidden_size}});
  if (!allocated) return allocated.error();
  const Attention& attention = AttentionOf(description.blocks[0]);
  auto cache = backend.AllocateCache({tokens, {{attention.kv_heads, attention.head_dim}}});
  if (!cache) return cache.error();
  runner.cache_ = std::move(*cache);
  runner.scratch_.SetPositions(backend, 0, tokens);
  return runner;
}

BlockState BlockRunner::State(std::size_t tokens) const {
  return {View(hidden_, tokens, description_->hidden_size), {&cache_, 1}, 0};
}

Status BlockRunner::Embed(const Weight& table, std::span<const std::int32_t> tokens, MatrixView<float> hidden) {
  const DeviceTensor ids = View(tokens_, tokens.size(), 1, ElementType::kI32);
  const DeviceTensor rows = View(hidden_, hidden.rows, hidden.cols);
  backend_->Upload(tokens, ids);
  backend_->Embed(table, ids, rows);
  return backend_->Read(rows, Values(hidden));
}

Status BlockRunner::Run(const LoadedBlock& block, MatrixView<float> hidden, const InputObserver& observer) {
  const BlockState state = State(hidden.rows);
  backend_->Upload(Values(hidden), state.hidden);
  RunBlock(*backend_, block, scratch_, state, observer);
  return backend_->Read(state.hidden, Values(hidden));
}

DeviceTensor BlockRunner::Between(std::size_t input, const Midway& at) const {
  return View(BetweenOf(input) == 1 ? scratch_.attention : scratch_.gate, at.between.rows, at.between.cols);
}

// What the part reads.
void BlockRunner::Load(std::size_t input, const Midway& at) {
  backend_->Upload(Values(at.hidden), State(at.hidden.rows).hidden);
  if (input == BetweenOf(input)) backend_->Upload(Values(at.between), Between(input, at));
}

Status BlockRunner::ShowInput(const LoadedBlock& block, std::size_t input, const Midway& at,
                              const InputObserver& observer) {
  Load(input, at);
  const BlockState state = State(at.hidden.rows);
  observer(input, BlockParts(*backend_, block, scratch_, state).Input(input));
  return backend_->Synchronize();
}

Status BlockRunner::RunToInput(const LoadedBlock& block, std::size_t input, MatrixView<const float> hidden,
                               const InputObserver& observer) {
  const BlockState state = State(hidden.rows);
  backend_->Upload(std::span(hidden.data, hidden.rows * hidden.cols), state.hidden);
  const BlockParts parts(*backend_, block, scratch_, state);
  for (std::size_t before = 0; before < input; ++before) parts.Run(before);
  observer(input, parts.Input(input));
  return backend_->Synchronize();
}

Status BlockRunner::RunPart(const LoadedBlock& block, std::size_t input, const Midway& at) {
  Load(input, at);
  const BlockState state = State(at.hidden.rows);
  BlockParts(*backend_, block, scratch_, state).Run(input);
  if (input == BetweenOf(input)) return backend_->Read(state.hidden, Values(at.hidden));
  return backend_->Read(Between(input, at), Values(at.between));
}

}  // namespace marlin
