#include "quantize/rotation.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/check.h"
#include "base/rng.h"

namespace marlin {
namespace {

// Columns rotated at once: a cache line of floats.
constexpr std::size_t kColumnsPerStep = 16;

}  // namespace

Orthogonal::Orthogonal(std::size_t n, std::uint64_t seed) : odd_(n), signs_(n) {
  MARLIN_CHECK(n > 0, "a size");
  while (odd_ % 2 == 0) {
    odd_ /= 2;
    power_ *= 2;
  }
  Rng rng(seed);
  const double scale = 1 / std::sqrt(static_cast<double>(power_));
  for (double& sign : signs_) sign = (rng.Next() >> 63) == 0 ? scale : -scale;
  hartley_.resize(odd_ * odd_);
  for (std::size_t i = 0; i < odd_; ++i) {
    for (std::size_t j = 0; j < odd_; ++j) {
      const double turns = static_cast<double>(i * j % odd_) / static_cast<double>(odd_);
      const double angle = 2 * std::numbers::pi * turns;
      hartley_[i * odd_ + j] = (std::cos(angle) + std::sin(angle)) / std::sqrt(static_cast<double>(odd_));
    }
  }
}

// Element i = a m + b: the Hadamard part runs over a, the Hartley part over b.
void Orthogonal::Apply(std::span<double> x) const {
  const std::size_t n = size();
  for (std::size_t i = 0; i < n; ++i) x[i] *= signs_[i];
  for (std::size_t half = odd_; half < n; half *= 2) {
    for (std::size_t begin = 0; begin < n; begin += 2 * half) {
      for (std::size_t i = begin; i < begin + half; ++i) {
        const double low = x[i];
        const double high = x[i + half];
        x[i] = low + high;
        x[i + half] = low - high;
      }
    }
  }
  if (odd_ == 1) return;
  std::vector<double> piece(odd_);
  for (std::size_t begin = 0; begin < n; begin += odd_) {
    std::fill(piece.begin(), piece.end(), 0.0);
    for (std::size_t i = 0; i < odd_; ++i) {
      const double value = x[begin + i];
      const double* row = hartley_.data() + i * odd_;
      for (std::size_t j = 0; j < odd_; ++j) piece[j] += value * row[j];
    }
    std::copy(piece.begin(), piece.end(), x.begin() + static_cast<std::ptrdiff_t>(begin));
  }
}

void RotateColumns(const Orthogonal& q, MatrixView<float> weights, ThreadPool& pool) {
  const std::size_t n = q.size();
  MARLIN_CHECK(weights.cols % n == 0, "whole pieces");
  pool.Split(weights.rows, [&](std::size_t begin, std::size_t end, int) {
    std::vector<double> piece(n);
    for (std::size_t r = begin; r < end; ++r) {
      float* row = weights.Row(r).data();
      for (std::size_t first = 0; first < weights.cols; first += n) {
        std::copy_n(row + first, n, piece.begin());
        q.Apply(piece);
        for (std::size_t i = 0; i < n; ++i) row[first + i] = static_cast<float>(piece[i]);
      }
    }
  });
}

void RotateRows(const Orthogonal& q, MatrixView<float> weights, ThreadPool& pool) {
  const std::size_t n = q.size();
  MARLIN_CHECK(weights.rows % n == 0, "whole pieces");
  const std::size_t steps = (weights.cols + kColumnsPerStep - 1) / kColumnsPerStep;
  pool.Split(steps, [&](std::size_t begin, std::size_t end, int) {
    std::vector<double> columns(kColumnsPerStep * n);  // [column][n]
    for (std::size_t step = begin; step < end; ++step) {
      const std::size_t left = step * kColumnsPerStep;
      const std::size_t count = std::min(kColumnsPerStep, weights.cols - left);
      for (std::size_t first = 0; first < weights.rows; first += n) {
        for (std::size_t i = 0; i < n; ++i) {
          for (std::size_t c = 0; c < count; ++c) columns[c * n + i] = weights.Row(first + i)[left + c];
        }
        for (std::size_t c = 0; c < count; ++c) q.Apply(std::span(columns).subspan(c * n, n));
        for (std::size_t i = 0; i < n; ++i) {
          for (std::size_t c = 0; c < count; ++c) {
            weights.Row(first + i)[left + c] = static_cast<float>(columns[c * n + i]);
          }
        }
      }
    }
  });
}

}  // namespace marlin
