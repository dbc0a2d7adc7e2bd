#include "quantize/channel_folding.h"

#include <fmt/format.h>

#include <cmath>
#include <optional>

#include "formats/encoded_matrix.h"
#include "quantize/channel_scaling.h"

namespace marlin {
namespace {

// What gives an input its values and can be divided: a norm, or the rows of a linear layer.
struct Absorber {
  std::optional<Norm> norm;
  Slot rows_of = kSlots;
};

Absorber AbsorberOf(Slot first) {
  switch (first) {
    case kQ:
      return {kAttentionNorm, kSlots};
    case kO:
      return {std::nullopt, kV};
    case kGate:
      return {kMlpNorm, kSlots};
    default:
      return {std::nullopt, kUp};
  }
}

bool CanBeScaled(const LayerFormats& formats, Slot first) {
  for (const Slot slot : SlotsThatShare(first)) {
    if (!HasGroups(formats.weights[slot]->info)) return false;
  }
  const Absorber absorber = AbsorberOf(first);
  return absorber.norm || HasGroups(formats.weights[absorber.rows_of]->info);
}

// The kv channel that channel j of o's input comes from.
std::size_t ValueChannel(const ModelConfig& c, std::size_t j) {
  const std::size_t head = j / c.head_dim;
  return head / (c.heads / c.kv_heads) * c.head_dim + j % c.head_dim;
}

// Query heads of one kv head get the same mean |x|, hence the same factors.
void Tie(const ModelConfig& c, InputStatistics& stats) {
  std::vector<double> sums(c.kv_size());
  for (std::size_t j = 0; j < stats.channels(); ++j) sums[ValueChannel(c, j)] += stats.sum_abs[j];
  for (std::size_t j = 0; j < stats.channels(); ++j) stats.sum_abs[j] = sums[ValueChannel(c, j)];
}

Result<std::vector<float>> FindFactors(const ModelConfig& config, const LayerFormats& formats,
                                       const LayerTensors& tensors, const LayerStatistics& statistics, Slot first,
                                       ThreadPool& pool) {
  std::vector<WeightToScale> weights;
  for (const Slot slot : SlotsThatShare(first)) {
    const LinearSlot& shape = kLinearSlots[slot];
    weights.push_back({{tensors.weights[slot].data(), shape.rows(config), shape.cols(config)}, formats.weights[slot]});
  }
  const InputStatistics& seen = statistics[InputIndex(first)];
  if (auto status = CheckStatistics(seen, kLinearSlots[first].cols(config)); !status) return status.error();
  auto scaling = [&] {
    if (first != kO || config.heads == config.kv_heads) return SearchChannelScaling(weights, seen, pool);
    InputStatistics tied = seen;
    tied.gram.clear();
    Tie(config, tied);
    return SearchChannelScaling(weights, tied, pool);
  }();
  if (!scaling) return scaling.error();
  return std::move(scaling->factors);
}

// Divides a vector by the factors, rounded to its format; the factors become what this really divides by. A channel
// that the format cannot hold is left alone.
void Absorb(const FormatRow& format, std::vector<float>& vector, std::vector<float>& factors) {
  std::vector<float> divided(vector.size());
  for (std::size_t i = 0; i < vector.size(); ++i) divided[i] = vector[i] / factors[i];
  const EncodedMatrix rounded = Encode(format, {divided.data(), 1, divided.size()});
  DecodeRow(rounded.view(), 0, divided);
  for (std::size_t i = 0; i < vector.size(); ++i) {
    if (vector[i] == 0) continue;  // stays 0 whatever the factor
    const float factor = vector[i] / divided[i];
    if (divided[i] == 0 || !std::isfinite(divided[i]) || !std::isnormal(factor)) {
      factors[i] = 1;
      continue;
    }
    factors[i] = factor;
    vector[i] = divided[i];
  }
}

// The rows of a linear layer take the factors [n] over.
void DivideRows(const FormatRow* bias_format, std::size_t cols, std::vector<float>& weights, std::vector<float>& bias,
                std::vector<float>& factors) {
  if (!bias.empty()) Absorb(*bias_format, bias, factors);
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] /= factors[i / cols];
}

void MultiplyColumns(std::span<const float> factors, std::vector<float>& weights, ThreadPool& pool) {
  const std::size_t k = factors.size();
  pool.Split(weights.size() / k, [&](std::size_t begin, std::size_t end, int) {
    for (std::size_t i = begin * k; i < end * k; ++i) weights[i] *= factors[i % k];
  });
}

void DivideStatistics(std::span<const float> factors, InputStatistics& stats, ThreadPool& pool) {
  const std::size_t k = factors.size();
  for (std::size_t j = 0; j < k; ++j) {
    const double factor = factors[j];
    stats.sum_squares[j] /= factor * factor;
    stats.sum_abs[j] /= factor;
    stats.max_abs[j] /= factors[j];
  }
  if (stats.gram.empty()) return;
  pool.Split(k, [&](std::size_t begin, std::size_t end, int) {
    for (std::size_t i = begin; i < end; ++i) {
      for (std::size_t j = i; j < k; ++j) stats.gram[i * k + j] /= factors[i] * factors[j];
    }
  });
}

// Gives the factors of one input to all that they concern.
void Fold(const ModelConfig& config, const LayerFormats& formats, Slot first, std::vector<float> factors,
          LayerTensors& tensors, LayerStatistics& statistics, ThreadPool& pool) {
  const Absorber absorber = AbsorberOf(first);
  if (absorber.norm) {
    Absorb(*formats.norms[*absorber.norm], tensors.norms[*absorber.norm], factors);
  } else {
    const Slot slot = absorber.rows_of;
    const auto channel = [&](std::size_t j) { return first == kO ? ValueChannel(config, j) : j; };
    std::vector<float> of_rows(kLinearSlots[slot].rows(config));
    for (std::size_t j = 0; j < factors.size(); ++j) of_rows[channel(j)] = factors[j];
    DivideRows(formats.biases[slot], kLinearSlots[slot].cols(config), tensors.weights[slot], tensors.biases[slot],
               of_rows);
    for (std::size_t j = 0; j < factors.size(); ++j) factors[j] = of_rows[channel(j)];
  }
  for (const Slot slot : SlotsThatShare(first)) MultiplyColumns(factors, tensors.weights[slot], pool);
  DivideStatistics(factors, statistics[InputIndex(first)], pool);
}

}  // namespace

Status FoldChannelScaling(const ModelConfig& config, const LayerFormats& formats, LayerTensors& tensors,
                          LayerStatistics& statistics, ThreadPool& pool) {
  std::vector<float> factors[std::size(kInputs)];  // empty = left alone
  for (std::size_t i = 0; i < std::size(kInputs); ++i) {
    if (!CanBeScaled(formats, kInputs[i])) continue;
    auto found = FindFactors(config, formats, tensors, statistics, kInputs[i], pool);
    if (!found) {
      return Error{found.error().code, fmt::format("{}: {}", kLinearSlots[kInputs[i]].name, found.error().message)};
    }
    factors[i] = std::move(*found);
  }
  for (std::size_t i = 0; i < std::size(kInputs); ++i) {
    if (factors[i].empty()) continue;
    Fold(config, formats, kInputs[i], std::move(factors[i]), tensors, statistics, pool);
  }
  return {};
}

}  // namespace marlin
