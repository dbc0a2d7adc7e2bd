#include "quantize/statistics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "base/matrix.h"

namespace marlin {
namespace {

Error NotFinite(Backend& backend, const DeviceTensor& tensor, std::size_t channel) {
  std::vector<float> values(tensor.rows * tensor.cols);
  if (auto status = backend.Read(tensor, values); !status) return status.error();
  const MatrixView<const float> x(values.data(), tensor.rows, tensor.cols);
  std::size_t token = 0;
  while (token + 1 < x.rows && std::isfinite(x.Row(token)[channel])) ++token;
  return {
      ErrorCode::kNumerical,
      fmt::format("the input of a linear layer is {} at token {}, channel {}; want finite numbers: check the model's "
                  "weights with inspect",
                  x.Row(token)[channel], token, channel)};
}

InputStatistics Zeros(std::size_t channels) {
  InputStatistics stats;
  stats.sum_squares.resize(channels);
  stats.sum_abs.resize(channels);
  stats.max_abs.resize(channels);
  return stats;
}

Error OtherChannels(std::size_t have, std::size_t got) {
  return {ErrorCode::kInput,
          fmt::format("statistics of {} channels cannot take {} channels: they belong to another layer", have, got)};
}

// What `from` is to be added to; kept Grams must match.
Status Prepare(InputStatistics& into, std::size_t channels, bool keep_gram) {
  if (into.channels() == 0) {
    into = Zeros(channels);
    if (keep_gram) into.gram.resize(channels * channels);
    return {};
  }
  if (into.channels() != channels) return OtherChannels(into.channels(), channels);
  if (into.gram.empty() == keep_gram) {
    return Error{ErrorCode::kUsage,
                 fmt::format("statistics {} X^T X cannot take statistics {} it; collect both the same "
                             "way",
                             keep_gram ? "without" : "with", keep_gram ? "with" : "without")};
  }
  return {};
}

void AddMoments(InputStatistics& into, const InputStatistics& from) {
  for (std::size_t i = 0; i < from.channels(); ++i) {
    into.sum_squares[i] += from.sum_squares[i];
    into.sum_abs[i] += from.sum_abs[i];
    into.max_abs[i] = std::max(into.max_abs[i], from.max_abs[i]);
  }
  into.tokens += from.tokens;
}

}  // namespace

StatisticsGatherer::StatisticsGatherer(Backend& backend, bool keep_gram, InputStatistics so_far)
    : backend_(&backend), keep_gram_(keep_gram), moments_(std::move(so_far)) {}

DeviceTensor StatisticsGatherer::GramTensor() const { return View(gram_, moments_.channels(), moments_.channels()); }

// Memory on the device, once the number of channels is known.
Status StatisticsGatherer::Reserve(std::size_t channels, std::size_t parts) {
  if (largest_ != nullptr && largest_->bytes() >= parts * channels * sizeof(float)) return {};
  return backend_->AllocateAll({{&largest_, parts * channels}, {&sums_, 2 * parts * channels, ElementType::kF64}});
}

Status StatisticsGatherer::Add(const DeviceTensor& x, const InputPlace& place, std::size_t parts) {
  const std::size_t k = x.cols, rows = x.rows / parts;
  const auto at = [&](std::size_t part, const Error& error) {
    if (place.input.empty()) return error;
    return Error{error.code,
                 fmt::format("calibration window {}, {}: {}", place.window + part, place.input, error.message)};
  };
  if (moments_.channels() != 0 && moments_.channels() != k) return at(0, OtherChannels(moments_.channels(), k));
  if (auto status = Reserve(k, parts); !status) return at(0, status.error());
  std::vector<double> sums(2 * parts * k);
  std::vector<float> largest(parts * k);
  const DeviceTensor all_sums = View(sums_, 2 * parts, k, ElementType::kF64), all_largest = View(largest_, parts, k);
  for (std::size_t part = 0; part < parts; ++part) {
    backend_->Moments(x.Rows(part * rows, rows), all_sums.Rows(2 * part, 2), all_largest.Rows(part, 1));
  }
  backend_->Download(all_sums, sums);
  backend_->Download(all_largest, largest);
  if (auto status = backend_->Synchronize(); !status) return at(0, status.error());
  for (std::size_t part = 0; part < parts; ++part) {
    const DeviceTensor own = x.Rows(part * rows, rows);
    const auto values = [&](const auto& from, std::size_t row) {
      const auto begin = from.begin() + static_cast<std::ptrdiff_t>(row * k);
      return std::vector(begin, begin + static_cast<std::ptrdiff_t>(k));
    };
    const InputStatistics seen = {.tokens = rows,
                                  .sum_squares = values(sums, 2 * part),
                                  .sum_abs = values(sums, 2 * part + 1),
                                  .max_abs = values(largest, part),
                                  .gram = {}};
    if (auto status = AddPart(own, seen); !status) return at(part, status.error());
  }
  return {};
}

Status StatisticsGatherer::AddPart(const DeviceTensor& x, const InputStatistics& seen) {
  const std::size_t k = x.cols;
  for (std::size_t i = 0; i < k; ++i) {
    if (!std::isfinite(seen.sum_squares[i])) return NotFinite(*backend_, x, i);
  }
  if (gram_ == nullptr) {
    if (auto status = Start(k); !status) return status;
  }
  if (keep_gram_) backend_->AddGram(x, GramTensor());
  AddMoments(moments_, seen);
  return {};
}

Status StatisticsGatherer::Start(std::size_t channels) {
  const bool is_first = moments_.channels() == 0;
  if (!is_first) {
    if (auto status = Prepare(moments_, channels, keep_gram_); !status) return status;
  }
  if (keep_gram_) {
    if (auto status = backend_->AllocateAll({{&gram_, channels * channels}}); !status) return status;
    const DeviceTensor gram = View(gram_, channels, channels);
    if (is_first) {
      backend_->Clear(gram);
    } else {
      backend_->Upload(std::exchange(moments_.gram, {}), gram);
    }
  }
  if (is_first) moments_ = Zeros(channels);
  return {};
}

Result<InputStatistics> StatisticsGatherer::Read() const {
  InputStatistics all = moments_;
  if (gram_ == nullptr) return all;
  all.gram.resize(all.channels() * all.channels());
  if (auto status = backend_->Read(GramTensor(), all.gram); !status) return status.error();
  return all;
}

Result<InputStatistics> StatisticsGatherer::Finish() {
  auto all = Read();
  for (auto* buffer : {&sums_, &largest_, &gram_}) buffer->reset();
  return all;
}

Result<BlockStatistics> FinishAll(std::vector<StatisticsGatherer>& gatherers) {
  BlockStatistics statistics;
  for (StatisticsGatherer& gatherer : gatherers) {
    auto all = gatherer.Finish();
    if (!all) return all.error();
    statistics.push_back(*std::move(all));
  }
  return statistics;
}

Status Merge(InputStatistics& into, const InputStatistics& from) {
  if (from.channels() == 0) return {};
  if (auto status = Prepare(into, from.channels(), !from.gram.empty()); !status) return status;
  AddMoments(into, from);
  for (std::size_t i = 0; i < from.gram.size(); ++i) into.gram[i] += from.gram[i];
  return {};
}

Status CheckStatistics(const InputStatistics& stats, std::size_t channels) {
  const std::size_t k = stats.channels();
  if (k != channels || stats.sum_abs.size() != k || stats.max_abs.size() != k ||
      (!stats.gram.empty() && stats.gram.size() != k * k)) {
    return Error{ErrorCode::kInput, fmt::format("statistics of {} channels do not belong to a weight of {} columns; "
                                                "calibrate this model again",
                                                k, channels)};
  }
  const auto bad = [](double sum) { return !std::isfinite(sum) || sum < 0; };
  for (std::size_t i = 0; i < k; ++i) {
    const std::span<const float> row =
        stats.gram.empty() ? std::span<const float>() : std::span(stats.gram).subspan(i * k, k);
    const bool sums = !bad(stats.sum_squares[i]) && !bad(stats.sum_abs[i]) && !bad(stats.max_abs[i]);
    const bool products = std::all_of(row.begin(), row.end(), [](float x) { return std::isfinite(x); });
    if (sums && products && (row.empty() || row[i] >= 0)) continue;
    return Error{ErrorCode::kNumerical,
                 fmt::format("statistics of channel {} are {} (sum of x^2), {} (sum of |x|), {} (largest |x|), or its "
                             "products with other channels are not finite; want finite numbers, none negative; "
                             "calibrate this model again",
                             i, stats.sum_squares[i], stats.sum_abs[i], stats.max_abs[i])};
  }
  return {};
}

std::vector<std::size_t> SilentChannels(const InputStatistics& stats) {
  std::vector<std::size_t> silent;
  for (std::size_t i = 0; i < stats.channels(); ++i) {
    if (stats.sum_squares[i] == 0) silent.push_back(i);
  }
  return silent;
}

std::vector<float> Importance(const InputStatistics& stats) {
  double sum = 0;
  std::size_t used = 0;
  for (const double squares : stats.sum_squares) {
    sum += squares;
    used += squares > 0 ? 1 : 0;
  }
  if (used == 0 || stats.tokens == 0) return std::vector<float>(stats.channels(), 1.0f);
  const double floor = kDamping * sum / static_cast<double>(used);
  std::vector<float> importance(stats.channels());
  for (std::size_t i = 0; i < importance.size(); ++i) {
    importance[i] = static_cast<float>((stats.sum_squares[i] + floor) / static_cast<double>(stats.tokens));
  }
  return importance;
}

}  // namespace marlin
