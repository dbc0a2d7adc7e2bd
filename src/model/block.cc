#include "model/block.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <initializer_list>
#include <vector>

#include "base/check.h"

namespace marlin {
namespace {

const Attention& AttentionOf(const Block& block) { return std::get<Attention>(block.mixer); }
const FeedForward& FeedForwardOf(const Block& block) { return std::get<FeedForward>(block.feed_forward); }

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

// A buffer of a scratch and its floats.
struct ScratchPart {
  std::unique_ptr<Buffer> BlockScratch::*buffer;
  std::size_t floats;
};

std::array<ScratchPart, 10> PartsFor(const Description& d, std::size_t m) {
  const Widths widths = WidthsOf(d);
  const std::size_t rotation = m * d.ropes[0].frequencies.size();
  return {{{&BlockScratch::normed, m * d.hidden_size},
           {&BlockScratch::q, m * widths.q},
           {&BlockScratch::k, m * widths.kv},
           {&BlockScratch::v, m * widths.kv},
           {&BlockScratch::attention, m * widths.q},
           {&BlockScratch::gate, m * widths.inner},
           {&BlockScratch::up, m * widths.inner},
           {&BlockScratch::projected, m * d.hidden_size},
           {&BlockScratch::cos, rotation},
           {&BlockScratch::sin, rotation}}};
}

}  // namespace

std::size_t WidestBetween(const Description& description) {
  const Widths widths = WidthsOf(description);
  return std::max(widths.q, widths.inner);
}

std::size_t BlockScratch::Floats(const Description& description, std::size_t m) {
  std::size_t floats = 0;
  for (const ScratchPart& part : PartsFor(description, m)) floats += part.floats;
  return floats;
}

Result<BlockScratch> BlockScratch::Create(const Description& description, Backend& backend, std::size_t m) {
  BlockScratch scratch;
  for (const ScratchPart& part : PartsFor(description, m)) {
    auto buffer = backend.Allocate(part.floats);
    if (!buffer) return buffer.error();
    scratch.*part.buffer = std::move(*buffer);
  }
  return scratch;
}

// Angle of pair i at position p = p * frequency[i], in fp32 as models are trained.
void BlockScratch::PrepareRotation(const Description& description, Backend& backend, std::size_t position,
                                   std::size_t m, std::size_t sequences) {
  const std::vector<float>& frequencies = description.ropes[0].frequencies;
  std::vector<float> cosines(m * frequencies.size());
  std::vector<float> sines(m * frequencies.size());
  for (std::size_t row = 0; row < m; ++row) {
    for (std::size_t i = 0; i < frequencies.size(); ++i) {
      const float angle = static_cast<float>(position + row) * frequencies[i];
      cosines[row * frequencies.size() + i] = static_cast<float>(std::cos(static_cast<double>(angle)));
      sines[row * frequencies.size() + i] = static_cast<float>(std::sin(static_cast<double>(angle)));
    }
  }
  for (std::size_t s = 0; s < sequences; ++s) {
    backend.Upload(cosines, cos->data() + s * cosines.size());
    backend.Upload(sines, sin->data() + s * sines.size());
  }
}

namespace {

// A block at work: what its parts share.
class BlockParts {
 public:
  BlockParts(Backend& backend, const LoadedBlock& block, const BlockScratch& scratch, const BlockState& state,
             const InputObserver& observer)
      : backend_(backend),
        block_(block.block),
        loaded_(block.parts),
        attention_(AttentionOf(block_)),
        part_(FeedForwardOf(block_)),
        scratch_(scratch),
        state_(state),
        observer_(observer) {}

  // What the part multiplies.
  MatrixView<const float> Input(std::size_t input) const {
    if (ReadsHidden(input)) {
      const RmsNormArgs norm = NormOf(input);
      backend_.RmsNorm(norm);
      return norm.y;
    }
    return View(input == 1 ? scratch_.attention : scratch_.gate, m_, ColsOf(input));
  }

  void Run(std::size_t input) const {
    if (observer_) observer_(input, Input(input));
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

  RmsNormArgs Args(std::size_t norm, MatrixView<const float> x, MatrixView<float> y) const {
    return {x, loaded_.vectors[*block_.norms[norm].weight]->data(), block_.norms[norm].eps, y};
  }
  RmsNormArgs NormOf(std::size_t input) const {
    const std::size_t norm = input == 0 ? block_.mixer_norm : block_.feed_forward_norm;
    return Args(norm, state_.hidden, View(scratch_.normed, m_, state_.hidden.cols));
  }

  void Multiply(std::size_t input, std::initializer_list<MatrixView<float>> outs) const {
    const Weight* weights[3];
    const float* biases[3];
    std::size_t count = 0;
    for (const std::size_t index : block_.inputs[input].matrices) {
      MARLIN_CHECK(count < outs.size(), "one output for each matrix of the input");
      const Linear& linear = loaded_.matrices[index];
      weights[count] = linear.weight.get();
      biases[count++] = linear.bias ? linear.bias->data() : nullptr;
    }
    const std::span<const Weight* const> used(weights, count);
    const std::span<const float* const> added(biases, count);
    const std::span<const MatrixView<float>> results(outs.begin(), outs.size());
    if (ReadsHidden(input)) return backend_.NormMatmul(NormOf(input), used, added, results);
    backend_.Matmul(used, added, Input(input), results);
  }

  // Norms every head, where the family does.
  void NormHeads(const std::optional<std::size_t>& norm, MatrixView<float> x) const {
    if (!norm) return;
    const MatrixView<float> heads(x.data, x.rows * x.cols / attention_.head_dim, attention_.head_dim);
    backend_.RmsNorm(Args(*norm, heads, heads));
  }

  void Attend() const {
    const std::size_t d = attention_.head_dim;
    const auto q = View(scratch_.q, m_, attention_.heads * d);
    const auto cos = View(scratch_.cos, m_, d / 2);
    const auto sin = View(scratch_.sin, m_, d / 2);
    const auto k = View(scratch_.k, m_, attention_.kv_heads * d);
    const auto v = View(scratch_.v, m_, attention_.kv_heads * d);
    Multiply(0, {q, k, v});
    NormHeads(attention_.q_norm, q);
    NormHeads(attention_.k_norm, k);
    backend_.Rope(q, d, cos, sin);
    backend_.Rope(k, d, cos, sin);
    const auto out = View(scratch_.attention, m_, attention_.heads * d);
    const std::size_t tokens = m_ / state_.caches.size();
    for (std::size_t s = 0; s < state_.caches.size(); ++s) {
      const std::size_t first = s * tokens;
      KvCache* const cache = state_.caches[s].get();
      const std::size_t layer = state_.cache_layer;
      backend_.Append(*cache, layer, state_.position, k.Rows(first, tokens), v.Rows(first, tokens));
      backend_.Attention({q.Rows(first, tokens), cache, layer, attention_.heads, state_.position, attention_.scale},
                         out.Rows(first, tokens));
    }
  }

  void Gate() const {
    const auto gate = View(scratch_.gate, m_, ColsOf(3));
    const auto up = View(scratch_.up, m_, ColsOf(3));
    Multiply(2, {gate, up});
    backend_.GatedActivation(part_.activation, gate, up);
  }

  void Project(std::size_t input) const {
    const auto projected = View(scratch_.projected, m_, state_.hidden.cols);
    Multiply(input, {projected});
    backend_.Add(state_.hidden, projected);
  }

  Backend& backend_;
  const Block& block_;
  const LoadedParts& loaded_;
  const Attention& attention_;
  const FeedForward& part_;
  const BlockScratch& scratch_;
  const BlockState& state_;
  const InputObserver& observer_;
  std::size_t m_ = state_.hidden.rows;
};

}  // namespace

void RunBlock(Backend& backend, const LoadedBlock& block, const BlockScratch& scratch, const BlockState& state,
              const InputObserver& observer) {
  const BlockParts parts(backend, block, scratch, state, observer);
  for (std::size_t input = 0; input < block.block.inputs.size(); ++input) parts.Run(input);
}

Result<BlockRunner> BlockRunner::Create(const Description& description, Backend& backend, std::size_t tokens) {
  BlockRunner runner;
  runner.description_ = &description;
  runner.backend_ = &backend;
  auto scratch = BlockScratch::Create(description, backend, tokens);
  if (!scratch) return scratch.error();
  runner.scratch_ = std::move(*scratch);
  auto hidden = backend.Allocate(tokens * description.hidden_size);
  if (!hidden) return hidden.error();
  runner.hidden_ = std::move(*hidden);
  const Attention& attention = AttentionOf(description.blocks[0]);
  auto cache = backend.AllocateCache({1, tokens, attention.kv_heads, attention.head_dim});
  if (!cache) return cache.error();
  runner.cache_ = std::move(*cache);
  runner.scratch_.PrepareRotation(description, backend, 0, tokens);
  return runner;
}

BlockState BlockRunner::State(std::size_t tokens) const {
  return {View(hidden_, tokens, description_->hidden_size), {&cache_, 1}, 0, 0};
}

void BlockRunner::Run(const LoadedBlock& block, MatrixView<float> hidden, const InputObserver& observer) {
  backend_->Upload({hidden.data, hidden.rows * hidden.cols}, hidden_->data());
  RunBlock(*backend_, block, scratch_, State(hidden.rows), observer);
  backend_->Download(hidden_->data(), {hidden.data, hidden.rows * hidden.cols});
}

Buffer& BlockRunner::Between(std::size_t input) const {
  return BetweenOf(input) == 1 ? *scratch_.attention : *scratch_.gate;
}

// What the part reads.
void BlockRunner::Load(std::size_t input, const Midway& at) {
  backend_->Upload({at.hidden.data, at.hidden.rows * at.hidden.cols}, hidden_->data());
  if (input != BetweenOf(input)) return;
  backend_->Upload({at.between.data, at.between.rows * at.between.cols}, Between(input).data());
}

void BlockRunner::ShowInput(const LoadedBlock& block, std::size_t input, const Midway& at,
                            const InputObserver& observer) {
  Load(input, at);
  const BlockState state = State(at.hidden.rows);
  observer(input, BlockParts(*backend_, block, scratch_, state, observer).Input(input));
}

void BlockRunner::RunPart(const LoadedBlock& block, std::size_t input, const Midway& at) {
  Load(input, at);
  const BlockState state = State(at.hidden.rows);
  const InputObserver nobody;
  BlockParts(*backend_, block, scratch_, state, nobody).Run(input);
  const bool ends = input == BetweenOf(input);
  const MatrixView<float>& out = ends ? at.hidden : at.between;
  Buffer& from = ends ? *hidden_ : Between(input);
  backend_->Download(from.data(), {out.data, out.rows * out.cols});
}

}  // namespace marlin
