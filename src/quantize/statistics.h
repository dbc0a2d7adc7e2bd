// Statistics of the input of a linear layer on a calibration text. Layers that share an input (q/k/v, gate/up) share
// them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "kernels/backend.h"

namespace marlin {

struct InputStatistics {
  std::uint64_t tokens = 0;
  std::vector<double> sum_squares;  // [k] sum of x^2
  std::vector<double> sum_abs;      // [k] sum of |x|
  std::vector<float> max_abs;       // [k]
  // [k, k] sum of x x^T: row i holds columns j >= i, what lies below the diagonal is 0 (the matrix is symmetric).
  // Empty = not kept.
  std::vector<float> gram;

  std::size_t channels() const { return sum_squares.size(); }
};

// Position in the calibration, for errors.
struct InputPlace {
  std::size_t window = 0;  // of the first part
  std::string_view input;  // the first matrix that reads it; empty = errors say no place
};

// Gathers the statistics of an input on a device. X^T X stays there until it is read.
class StatisticsGatherer {
 public:
  // Continues from `so_far`. The backend outlives it.
  StatisticsGatherer(Backend& backend, bool keep_gram, InputStatistics so_far = {});

  // Adds the rows of x [tokens, k], `parts` of the same length one after the other: the same as a call for each, with
  // the bits of those. The first call sets k. Sums go over the tokens in order, so the bits do not depend on the number
  // of threads. Waits for the device. Errors: kNumerical (NaN or infinity: names the place of the part, token and
  // channel), kInput (another k), kUsage (keep_gram changed), kResource. After an error of kNumerical the earlier parts
  // are in the statistics, otherwise none.
  Status Add(const DeviceTensor& x, const InputPlace& place = {}, std::size_t parts = 1);

  // What was gathered, but for X^T X.
  const InputStatistics& moments() const { return moments_; }
  bool has_gram() const { return keep_gram_ && moments_.channels() > 0; }

  // Everything that was gathered. Errors: those of the device.
  Result<InputStatistics> Read() const;
  // The same, and gives the memory on the device back. Nothing is added afterwards.
  Result<InputStatistics> Finish();
  // X^T X [k, k] where it is on the device, else null. Nothing is added afterwards.
  std::unique_ptr<Buffer> TakeGram() { return std::move(gram_); }

 private:
  Status Reserve(std::size_t channels, std::size_t parts);
  Status AddPart(const DeviceTensor& x, const InputStatistics& seen);
  // Before the first rows, or the first after `so_far`.
  Status Start(std::size_t channels);
  DeviceTensor GramTensor() const;

  Backend* backend_;
  bool keep_gram_;
  InputStatistics moments_;          // without X^T X once that is on the device
  std::unique_ptr<Buffer> sums_;     // fp64 [2 * parts, k] of the last tokens
  std::unique_ptr<Buffer> largest_;  // [parts, k] of the last tokens
  std::unique_ptr<Buffer> gram_;     // [k, k]
};

using BlockStatistics = std::vector<InputStatistics>;  // in the order of Block::inputs

// StatisticsGatherer::Finish of one input after the other.
Result<BlockStatistics> FinishAll(std::vector<StatisticsGatherer>& gatherers);

// Adds the statistics of another run. An empty side is neutral. Errors: kInput (other k), kUsage (only one kept X^T X).
Status Merge(InputStatistics& into, const InputStatistics& from);

// Sizes agree; sums and largest values are finite and not negative, products finite, and k is `channels`. Errors:
// kInput, kNumerical.
Status CheckStatistics(const InputStatistics& stats, std::size_t channels);

// Channels that were 0 in every token, ascending.
std::vector<std::size_t> SilentChannels(const InputStatistics& stats);

// Damping of second moments as a share of their mean: the weight of a channel that the text hardly uses.
inline constexpr double kDamping = 0.01;

// [k] E[x^2] + kDamping * mean E[x^2] over the channels that were used; all 1 when none was or no token was seen. Never
// 0, so that a group of silent channels is still rounded sensibly.
std::vector<float> Importance(const InputStatistics& stats);

}  // namespace marlin
