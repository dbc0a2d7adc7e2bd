#include "kernels/cuda/chain_program.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "kernels/cuda/few_decode.h"

namespace marlin::cuda {
namespace {

constexpr int kMostChainItems = 1 << 22;  // so that items x blocks of a device is below 2^30
constexpr std::size_t kOperationsOfLayer = 6;

// The operations of a layer.
struct ChainLayer {
  const ChainNormedProducts* inputs;
  const ChainRopeAppend* rope;
  const ChainAttend* attend;
  const ChainAddedProduct* projected;
  const ChainGatedProducts* gated;
  const ChainAddedProduct* down;

  bool complete() const { return inputs && rope && attend && projected && gated && down; }
};

std::vector<ChainLayer> LayersOf(std::span<const ChainOperation> operations) {
  std::vector<ChainLayer> layers;
  if (operations.size() % kOperationsOfLayer != 0) return layers;
  for (std::size_t i = 0; i < operations.size(); i += kOperationsOfLayer) {
    const auto own = operations.subspan(i, kOperationsOfLayer);
    layers.push_back({std::get_if<ChainNormedProducts>(&own[0]), std::get_if<ChainRopeAppend>(&own[1]),
                      std::get_if<ChainAttend>(&own[2]), std::get_if<ChainAddedProduct>(&own[3]),
                      std::get_if<ChainGatedProducts>(&own[4]), std::get_if<ChainAddedProduct>(&own[5])});
  }
  return layers;
}

bool IsWhole(const void* data) { return reinterpret_cast<std::uintptr_t>(data) % 16 == 0; }

// What all layers share.
struct ChainFacts {
  View<const float> hidden;
  FewFormat format;
  std::size_t head_dim;
  const std::int32_t* position;

  bool Takes(const ChainNorm& norm) const {
    return norm.kind == NormKind::kRms && norm.x.rows == 1 && norm.x.data == hidden.data &&
           norm.x.cols == hidden.cols && IsWhole(norm.weight);
  }
  bool Takes(const ChainFactor& factor, std::size_t cols) const {
    const FewWeight& weight = factor.weight;
    return weight.format == format && weight.cols == cols && weight.rows > 0 && weight.rows % 8 == 0 && cols > 0 &&
           cols % 8 == 0 && cols <= kMostChainCols && weight.panels() * weight.blocks() < kMostChainItems / 4;
  }
  bool Takes(const ChainAddedProduct& product, const float* x, std::size_t cols) const {
    return Takes(product.factor_matrix, cols) && product.x == x && product.factor_matrix.out == hidden.data &&
           product.factor_matrix.weight.rows == hidden.cols;
  }
};

bool SameCache(const CacheView& a, const CacheView& b) {
  return a.keys == b.keys && a.values == b.values && a.kv_heads == b.kv_heads && a.head_dim == b.head_dim;
}

// Whether queries, keys and values go to the cache and to the attention.
bool AttendsToItself(const ChainFacts& facts, const ChainLayer& layer) {
  const auto& [inputs, rope, attend, projected, gated, down] = layer;
  const std::size_t dim = facts.head_dim, heads = attend->shape.heads, kv_heads = rope->cache.kv_heads;
  if (inputs->factors.size() != 3 || kv_heads == 0 || heads % kv_heads != 0) return false;
  const ChainFactor &queries = inputs->factors[0], &keys = inputs->factors[1], &values = inputs->factors[2];
  const auto turns = [&](const RopeTables& tables) { return tables.cos.cols > 0 && 2 * tables.cos.cols <= dim; };
  return rope->cache.halves && rope->cache.head_dim == dim && SameCache(rope->cache, attend->cache) &&
         IsWhole(rope->cache.keys) && IsWhole(rope->cache.values) && heads / kv_heads <= kMostGroupHeads &&
         rope->position == facts.position && attend->position == facts.position && turns(rope->of_queries) &&
         turns(rope->of_keys) && rope->queries == queries.out && attend->queries == queries.out &&
         rope->keys == keys.out && rope->values == values.out && keys.out != values.out &&
         queries.weight.rows == heads * dim && keys.weight.rows == kv_heads * dim &&
         values.weight.rows == kv_heads * dim;
}

bool IsLayer(const ChainFacts& facts, const ChainLayer& layer) {
  const std::size_t hidden = facts.hidden.cols;
  const auto of_hidden = [&](const ChainFactor& factor) { return facts.Takes(factor, hidden); };
  return facts.Takes(layer.inputs->norm) && std::ranges::all_of(layer.inputs->factors, of_hidden) &&
         AttendsToItself(facts, layer) &&
         facts.Takes(*layer.projected, layer.attend->out, layer.attend->shape.heads * facts.head_dim) &&
         facts.Takes(layer.gated->norm) && of_hidden(layer.gated->gate) && of_hidden(layer.gated->up) &&
         layer.gated->gate.weight.rows == layer.gated->up.weight.rows &&
         facts.Takes(*layer.down, layer.gated->gate.out, layer.gated->gate.weight.rows);
}

int PanelsOf(std::span<const ChainFactor> factors) {
  std::size_t panels = 0;
  for (const ChainFactor& factor : factors) panels += factor.weight.panels();
  return static_cast<int>(panels);
}

// Memory between the steps. Two products share slots where barriers part the readers of one from the writers of the
// other.
struct ChainMemory {
  float* hidden = nullptr;    // takes turns with the caller's
  float* wide = nullptr;      // slots of queries, keys and values; of gate and up
  float* residual = nullptr;  // slots of what is added to the hidden state
  float* attention = nullptr;
  float* parts = nullptr;
  float* peaks = nullptr;
  float* part_sums = nullptr;
  std::size_t bytes = 0;

  ChainMemory(std::span<const ChainLayer> layers, const ChainFacts& facts, int blocks, std::byte* memory) {
    std::size_t wide_rows = 0, heads = 0, split_heads = 0;
    for (const ChainLayer& layer : layers) {
      const std::size_t own = layer.attend->shape.heads, kv_heads = layer.rope->cache.kv_heads;
      const std::size_t splits = std::max<std::size_t>(1, static_cast<std::size_t>(blocks) / kv_heads);
      const ChainFactor gated[] = {layer.gated->gate, layer.gated->up};
      wide_rows = std::max({wide_rows, static_cast<std::size_t>(PanelsOf(layer.inputs->factors)) * kPanel,
                            static_cast<std::size_t>(PanelsOf(gated)) * kPanel});
      heads = std::max(heads, own);
      split_heads = std::max(split_heads, splits * own);
    }
    const std::size_t residual_rows = (facts.hidden.cols + kPanel - 1) / kPanel * kPanel;
    const auto take = [&](std::size_t floats) {
      auto* const out = reinterpret_cast<float*>(reinterpret_cast<std::uintptr_t>(memory) + bytes);
      bytes += (floats * sizeof(float) + 255) / 256 * 256;
      return out;
    };
    hidden = take(facts.hidden.cols);
    wide = take(wide_rows * kMostSpans);
    residual = take(residual_rows * kMostSpans);
    attention = take(heads * facts.head_dim);
    parts = take(split_heads * facts.head_dim);
    peaks = take(split_heads);
    part_sums = take(split_heads);
  }
};

ChainProduct ProductOf(std::span<const ChainFactor> factors, float* slots, int blocks) {
  ChainProduct out;
  for (const ChainFactor& factor : factors) {
    out.matrices[out.count++] = {factor.weight.records, static_cast<int>(factor.weight.panels())};
  }
  out.division = DivideChain(PanelsOf(factors), static_cast<int>(factors[0].weight.blocks()), blocks);
  out.slots = slots;
  return out;
}

// Product i of those of a step.
ChainSums SumsOf(const ChainProduct& product, std::span<const ChainFactor> factors, std::size_t i) {
  const FewWeight& weight = factors[i].weight;
  return {product.slots, factors[i].bias, PowerOfNumbers(weight.format.coding) * weight.unit,
          PanelsOf(factors.first(i)), product.division};
}

// Adds the steps of layers.
class ChainWriter {
 public:
  ChainWriter(const ChainFacts& facts, const ChainMemory& memory, int blocks, float* hidden)
      : facts_(facts), memory_(memory), blocks_(blocks), x_(hidden), next_x_(memory.hidden) {}

  void AddLayer(const ChainLayer& layer) {
    const auto& inputs = layer.inputs->factors;
    const ChainProduct heads = AddProduct(NormOf(layer.inputs->norm), inputs, memory_.wide);
    AddAttention(layer, heads);
    ChainInput attended;
    attended.cols = static_cast<int>(layer.projected->factor_matrix.weight.cols);
    attended.x = memory_.attention;
    AddAdded(attended, *layer.projected);
    const ChainFactor gated[] = {layer.gated->gate, layer.gated->up};
    const ChainProduct product = AddProduct(NormOf(layer.gated->norm), gated, memory_.wide);
    ChainInput activated;
    activated.kind = ChainInput::Kind::kGated;
    activated.activation = layer.gated->activation;
    activated.cols = static_cast<int>(layer.down->factor_matrix.weight.cols);
    activated.added = SumsOf(product, gated, 0);
    activated.up = SumsOf(product, gated, 1);
    AddAdded(activated, *layer.down);
  }

  std::vector<ChainStep> Finish(float* hidden) {
    ChainStep step;
    step.kind = ChainStep::Kind::kFinish;
    step.input = Hidden();
    step.input.new_x = hidden;
    steps_.push_back(step);
    return std::move(steps_);
  }

 private:
  ChainInput Hidden() const {
    ChainInput out;
    out.cols = static_cast<int>(facts_.hidden.cols);
    out.x = x_;
    out.added = added_;
    out.factor = factor_;
    return out;
  }

  // The next norm of the hidden state. What is still to be added to it comes to the other of the two memories, so that
  // no block reads what another one writes.
  ChainInput NormOf(const ChainNorm& norm) {
    ChainInput out = Hidden();
    out.kind = ChainInput::Kind::kNorm;
    out.weight = norm.weight;
    out.eps = norm.eps;
    if (added_.slots != nullptr) {
      out.new_x = next_x_;
      std::swap(x_, next_x_);
      added_ = {};
    }
    return out;
  }

  ChainProduct AddProduct(const ChainInput& input, std::span<const ChainFactor> factors, float* slots) {
    ChainStep step;
    step.input = input;
    step.product = ProductOf(factors, slots, blocks_);
    steps_.push_back(step);
    return step.product;
  }

  void AddAdded(const ChainInput& input, const ChainAddedProduct& added) {
    const std::span<const ChainFactor> factors(&added.factor_matrix, 1);
    added_ = SumsOf(AddProduct(input, factors, memory_.residual), factors, 0);
    factor_ = added.factor;
  }

  void AddAttention(const ChainLayer& layer, const ChainProduct& heads) {
    const auto& factors = layer.inputs->factors;
    ChainStep step;
    step.kind = ChainStep::Kind::kAttend;
    step.attention = {layer.attend->shape,
                      layer.rope->cache,
                      layer.rope->of_queries,
                      layer.rope->of_keys,
                      SumsOf(heads, factors, 0),
                      SumsOf(heads, factors, 1),
                      SumsOf(heads, factors, 2),
                      memory_.attention,
                      memory_.parts,
                      memory_.peaks,
                      memory_.part_sums};
    steps_.push_back(step);
    step.kind = ChainStep::Kind::kCombine;
    steps_.push_back(step);
  }

  const ChainFacts& facts_;
  const ChainMemory& memory_;
  int blocks_;
  float* x_;
  float* next_x_;
  ChainSums added_;  // to x_, with a factor: what the last product left
  float factor_ = 1;
  std::vector<ChainStep> steps_;
};

}  // namespace

ChainDivision DivideChain(int panels, int blocks, int most) {
  ChainDivision out = {panels, blocks, std::min(most, panels * blocks)};
  const auto fits = [&] {
    for (int panel = 0; panel < panels; ++panel) {
      if (out.SpansOf(panel) > kMostSpans) return false;
    }
    return true;
  };
  while (out.workers > 1 && !fits()) out = {panels, blocks, out.workers - 1};
  return out;
}

std::optional<ChainProgram> MakeChain(std::span<const ChainOperation> operations, int blocks, std::byte* memory) {
  const std::vector<ChainLayer> layers = LayersOf(operations);
  const auto complete = [](const ChainLayer& layer) { return layer.complete(); };
  if (layers.empty() || !std::ranges::all_of(layers, complete) || layers[0].inputs->factors.empty()) return {};
  const ChainLayer& first = layers[0];
  const ChainFacts facts = {first.inputs->norm.x, first.inputs->factors[0].weight.format, first.rope->cache.head_dim,
                            first.rope->position};
  if (facts.hidden.cols > kMostNormCols || !IsWhole(facts.hidden.data)) return {};
  if (!std::ranges::all_of(layers, [&](const ChainLayer& layer) { return IsLayer(facts, layer); })) return {};
  // A block serves one head of keys: two would use the same shared memory, and no barrier parts them.
  const auto has_blocks = [&](const ChainLayer& layer) {
    return std::cmp_less_equal(layer.rope->cache.kv_heads, blocks);
  };
  if (!std::ranges::all_of(layers, has_blocks)) return {};
  const ChainMemory places(layers, facts, blocks, memory);
  // It is the caller's, who lets products write there.
  auto* const hidden = const_cast<float*>(facts.hidden.data);
  ChainWriter writer(facts, places, blocks, hidden);
  for (const ChainLayer& layer : layers) writer.AddLayer(layer);
  return ChainProgram{facts.format, facts.head_dim, facts.position, writer.Finish(hidden), places.bytes};
}

}  // namespace marlin::cuda
