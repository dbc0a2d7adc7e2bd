#include "quantize/channel_folding.h"

#include <fmt/format.h>

#include <cmath>

#include "formats/encoded_matrix.h"
#include "quantize/channel_scaling.h"

namespace marlin {
namespace {

bool CanBeScaled(const Block& block, const BlockFormats& formats, const Input& input) {
  if (!input.absorber) return false;
  for (const std::size_t m : input.matrices) {
    if (!HasGroups(formats.matrices[m]->info)) return false;
  }
  if (input.absorber->kind == Absorber::Kind::kMatrix) return HasGroups(formats.matrices[input.absorber->index]->info);
  const Norm& norm = block.norms[input.absorber->index];
  return norm.weight.has_value() && !norm.bias;
}

// Channels of one row get the same mean |x|, hence the same factors.
void Tie(const Absorber& absorber, std::size_t rows, InputStatistics& stats) {
  std::vector<double> sums(rows);
  for (std::size_t j = 0; j < stats.channels(); ++j) sums[absorber.RowOf(j)] += stats.sum_abs[j];
  for (std::size_t j = 0; j < stats.channels(); ++j) stats.sum_abs[j] = sums[absorber.RowOf(j)];
}

Result<std::vector<float>> FindFactors(const Block& block, const BlockFormats& formats, const BlockTensors& tensors,
                                       const InputStatistics& seen, const Input& input, ThreadPool& pool) {
  std::vector<WeightToScale> weights;
  for (const std::size_t m : input.matrices) {
    const Matrix& matrix = block.matrices[m];
    weights.push_back({{tensors.matrices[m].data(), matrix.rows, matrix.cols}, formats.matrices[m]});
  }
  if (auto status = CheckStatistics(seen, block.FirstOf(input).cols); !status) return status.error();
  auto scaling = [&] {
    if (input.absorber->repeat == 1) return SearchChannelScaling(weights, seen, pool);
    InputStatistics tied = seen;
    tied.gram.clear();
    Tie(*input.absorber, block.matrices[input.absorber->index].rows, tied);
    return SearchChannelScaling(weights, tied, pool);
  }();
  if (!scaling) return scaling.error();
  return std::move(scaling->factors);
}

// Divides a vector, whose elements stand for themselves + `added`, by the factors, rounded to its format; the factors
// become what this really divides by. A channel that the format cannot hold is left alone.
void Absorb(const FormatRow& format, float added, std::vector<float>& vector, std::vector<float>& factors) {
  std::vector<float> divided(vector.size());
  for (std::size_t i = 0; i < vector.size(); ++i) divided[i] = (vector[i] + added) / factors[i] - added;
  const EncodedMatrix rounded = Encode(format, {divided.data(), 1, divided.size()});
  DecodeRow(rounded.view(), 0, divided);
  for (std::size_t i = 0; i < vector.size(); ++i) {
    const float before = vector[i] + added, after = divided[i] + added;
    if (before == 0) continue;  // stays 0 whatever the factor
    const float factor = before / after;
    if (after == 0 || !std::isfinite(after) || !std::isnormal(factor)) {
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
  if (!bias.empty()) Absorb(*bias_format, 0, bias, factors);
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
void Fold(const Block& block, const BlockFormats& formats, std::size_t index, std::vector<float> factors,
          BlockTensors& tensors, BlockStatistics& statistics, ThreadPool& pool) {
  const Input& input = block.inputs[index];
  const Absorber& absorber = *input.absorber;
  if (absorber.kind == Absorber::Kind::kNorm) {
    const std::size_t weight = *block.norms[absorber.index].weight;
    Absorb(*formats.vectors[weight], block.AddedTo(weight), tensors.vectors[weight], factors);
  } else {
    const Matrix& matrix = block.matrices[absorber.index];
    std::vector<float> of_rows(matrix.rows);
    for (std::size_t j = 0; j < factors.size(); ++j) of_rows[absorber.RowOf(j)] = factors[j];
    DivideRows(formats.biases[absorber.index], matrix.cols, tensors.matrices[absorber.index],
               tensors.biases[absorber.index], of_rows);
    for (std::size_t j = 0; j < factors.size(); ++j) factors[j] = of_rows[absorber.RowOf(j)];
  }
  for (const std::size_t m : input.matrices) MultiplyColumns(factors, tensors.matrices[m], pool);
  DivideStatistics(factors, statistics[index], pool);
}

}  // namespace

Status FoldChannelScaling(const Block& block, const BlockFormats& formats, BlockTensors& tensors,
                          BlockStatistics& statistics, ThreadPool& pool) {
  std::vector<std::vector<float>> factors(block.inputs.size());  // empty = left alone
  for (std::size_t i = 0; i < factors.size(); ++i) {
    const Input& input = block.inputs[i];
    if (!CanBeScaled(block, formats, input)) continue;
    auto found = FindFactors(block, formats, tensors, statistics[i], input, pool);
    if (!found) {
      return Error{found.error().code, fmt::format("{}: {}", block.FirstOf(input).name, found.error().message)};
    }
    factors[i] = std::move(*found);
  }
  for (std::size_t i = 0; i < factors.size(); ++i) {
    if (factors[i].empty()) continue;
    Fold(block, formats, i, std::move(factors[i]), tensors, statistics, pool);
  }
  return {};
}

}  // namespace marlin
