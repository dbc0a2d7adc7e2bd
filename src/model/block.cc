#include "model/block.h"

#include <initializer_list>
#include <optional>
#include <vector>

#include "base/check.h"
#include "model/norm_args.h"

namespace marlin {
namespace {

// Inputs that are the hidden state or its norm.
bool ReadsHidden(std::size_t input) { return input % 2 == 0; }

DeviceTensor BiasOf(const Linear& linear) {
  return linear.bias ? View(linear.bias, 1, linear.weight->rows()) : DeviceTensor();
}

}  // namespace

BlockParts::BlockParts(Backend& backend, const LoadedBlock& block, const BlockScratch& scratch, const BlockState& state)
    : backend_(backend),
      block_(block.block),
      loaded_(block.parts),
      scratch_(scratch),
      state_(state),
      attention_(std::get<Attention>(block.block.mixer)),
      feed_forward_(std::get<FeedForward>(block.block.feed_forward)),
      m_(state.hidden.rows) {}

std::optional<std::size_t> BlockParts::NormOf(std::size_t input) const {
  if (input == 0) return block_.mixer_norm;
  if (input == 2) return block_.feed_forward_norm;
  return {};
}

NormArgs BlockParts::NormOfHidden(std::size_t norm) const {
  return ArgsOf(block_, loaded_, norm, state_.hidden, View(scratch_.normed, m_, state_.hidden.cols));
}

DeviceTensor BlockParts::Input(std::size_t input) const {
  if (!ReadsHidden(input)) return View(input == 1 ? scratch_.attention : scratch_.gate, m_, ColsOf(input));
  const auto norm = NormOf(input);
  if (!norm) return state_.hidden;
  const NormArgs args = NormOfHidden(*norm);
  backend_.Norm(args);
  return args.y;
}

BlockParts::Factors BlockParts::FactorsOf(std::size_t input) const {
  Factors factors;
  for (const std::size_t index : block_.inputs[input].matrices) {
    MARLIN_CHECK(factors.count < Factors::kMost, "matrices of an input");
    const Linear& linear = loaded_.matrices[index];
    factors.weight[factors.count] = linear.weight.get();
    factors.bias[factors.count++] = BiasOf(linear);
  }
  return factors;
}

void BlockParts::Multiply(std::size_t input, std::initializer_list<DeviceTensor> outs) const {
  const Factors factors = FactorsOf(input);
  MARLIN_CHECK(factors.count <= outs.size(), "one output for each matrix of the input");
  const std::span<const DeviceTensor> results(outs.begin(), factors.count);
  if (const auto norm = NormOf(input)) {
    return backend_.NormMatmul(NormOfHidden(*norm), factors.weights(), factors.biases(), results);
  }
  backend_.Matmul(factors.weights(), factors.biases(), Input(input), results);
}

// Norms every head, or all heads together.
void BlockParts::NormHeads(std::size_t norm, const DeviceTensor& x, const DeviceTensor& y) const {
  const auto& weight = block_.norms[norm].weight;
  const std::size_t size = weight ? block_.vectors[*weight].size : attention_.head_dim;
  const auto cut = [&](const DeviceTensor& all) { return all.Reshape(all.rows * all.cols / size, size); };
  backend_.Norm(ArgsOf(block_, loaded_, norm, cut(x), cut(y)));
}

// From the products: of keys and values, or of the one that is both, which is in v.
void BlockParts::MakeKeysAndValues(const DeviceTensor& k, const DeviceTensor& v) const {
  if (attention_.k_norm) NormHeads(*attention_.k_norm, attention_.v ? k : v, k);
  if (attention_.v_norm) NormHeads(*attention_.v_norm, v, v);
}

void BlockParts::Attend() const {
  const std::size_t d = attention_.head_dim;
  const auto q = View(scratch_.q, m_, attention_.heads * d);
  const auto k = View(scratch_.k, m_, attention_.kv_heads * d);
  const auto v = View(scratch_.v, m_, attention_.kv_heads * d);
  const auto positions = View(scratch_.positions, m_, 1, ElementType::kI32);
  const RopeTable* const rope = attention_.rope ? &scratch_.ropes[*attention_.rope] : nullptr;
  const std::size_t layer = state_.cache_layer;
  Multiply(0, {q, attention_.v ? k : v, v});
  if (attention_.q_norm) NormHeads(*attention_.q_norm, q, q);
  if (attention_.k) MakeKeysAndValues(k, v);
  const bool together = rope != nullptr && attention_.k && state_.caches.size() == 1;
  if (together) {
    backend_.RopeAppend(rope->Args(q, d, positions, true), rope->Args(k, d, positions, false),
                        {state_.caches[0].get(), layer, positions, k, v});
  } else if (rope != nullptr) {
    backend_.Rope(rope->Args(q, d, positions, true));
    if (attention_.k) backend_.Rope(rope->Args(k, d, positions, false));
  }
  const auto out = View(scratch_.attention, m_, attention_.heads * d);
  const std::size_t tokens = m_ / state_.caches.size();
  for (std::size_t s = 0; s < state_.caches.size(); ++s) {
    const std::size_t first = s * tokens;
    KvCache* const cache = state_.caches[s].get();
    const DeviceTensor own = positions.Rows(first, tokens);
    if (attention_.k && !together) backend_.Append({cache, layer, own, k.Rows(first, tokens), v.Rows(first, tokens)});
    backend_.Attention({q.Rows(first, tokens), cache, layer, attention_.heads, own, attention_.scale,
                        attention_.window.value_or(0), attention_.softcap},
                       out.Rows(first, tokens));
  }
}

void BlockParts::Gate() const {
  const auto gate = View(scratch_.gate, m_, ColsOf(3));
  if (!feed_forward_.gate) {
    Multiply(2, {gate});
    return backend_.Activate(feed_forward_.activation, gate);
  }
  const Factors factors = FactorsOf(2);
  const auto norm = NormOf(2);
  GatedArgs args{{}, state_.hidden, gate, View(scratch_.up, m_, ColsOf(3)), feed_forward_.activation};
  if (norm) {
    args.norm = NormOfHidden(*norm);
    args.x = args.norm->y;
  }
  backend_.GatedMatmul(args, factors.weights(), factors.biases());
}

void BlockParts::GateToken() const {
  const auto gate = View(scratch_.gate, m_, ColsOf(5));
  Multiply(4, {gate});
  backend_.GatedActivation(block_.token_input->activation, gate, state_.token_input);
}

void BlockParts::AddTo(const DeviceTensor& projected, std::optional<std::size_t> norm) const {
  if (norm) backend_.Norm(ArgsOf(block_, loaded_, *norm, projected, projected));
  backend_.Add(state_.hidden, projected, block_.added_scale);
}

void BlockParts::Project(std::size_t input) const {
  const auto projected = View(scratch_.projected, m_, state_.hidden.cols);
  if (input == 1 && block_.parallel) return Multiply(input, {View(scratch_.held, m_, state_.hidden.cols)});
  const auto norm = input == 1 ? block_.after_mixer : input == 5 ? block_.token_input->norm : block_.after_feed_forward;
  if (!block_.parallel && !norm) {
    const Factors factors = FactorsOf(input);
    return backend_.MatmulAdd(*factors.weight[0], factors.bias[0], Input(input), projected, state_.hidden,
                              block_.added_scale);
  }
  Multiply(input, {projected});
  if (block_.parallel && input == 3) AddTo(View(scratch_.held, m_, state_.hidden.cols), block_.after_mixer);
  AddTo(projected, norm);
}

void BlockParts::Run(std::size_t input) const {
  switch (input) {
    case 0:
      Attend();
      break;
    case 2:
      Gate();
      break;
    case 4:
      GateToken();
      break;
    default:
      Project(input);
  }
  const bool is_last = input + 1 == block_.inputs.size();
  if (is_last && loaded_.scalar != 1) backend_.Scale(state_.hidden, loaded_.scalar);
}

DeviceTensor TokenInputOf(const Description& description, const BlockScratch& scratch, std::size_t block,
                          std::size_t tokens) {
  if (!description.token_embedding) return {};
  const std::size_t width = description.matrices[*description.token_embedding].cols;
  DeviceTensor all = View(scratch.token_inputs, tokens, width);
  all.cols = width / description.blocks.size();
  all.offset = block * all.cols;
  return all;
}

void RunBlock(Backend& backend, const LoadedBlock& block, const BlockScratch& scratch, const BlockState& state,
              const InputObserver& observer) {
  const BlockParts parts(backend, block, scratch, state);
  for (std::size_t input = 0; input < block.block.inputs.size(); ++input) {
    if (observer) observer(input, parts.Input(input));
    parts.Run(input);
  }
}

}  // namespace marlin
