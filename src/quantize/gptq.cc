#include "quantize/gptq.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <utility>

#include "base/check.h"
#include "kernels/product.h"
#include "quantize/cholesky.h"
#include "quantize/hessian.h"
#include "quantize/mse.h"
#include "quantize/row_pieces.h"
#include "quantize/row_rounder.h"

namespace marlin {
namespace {

static_assert(kGptqBlock * sizeof(double) == kProductChunkBytes, "one chunk of a product");

// The upper half of the damped Hessian, in the order of the positions. Dead columns get the mean on their diagonal.
void FillHessian(const InputStatistics& stats, HessianDiagonal diagonal, HessianFactor& factor, ThreadPool& pool) {
  const std::size_t k = stats.channels();
  std::atomic<std::size_t> next{0};
  pool.Run([&](int) {
    for (std::size_t p; (p = next.fetch_add(1, std::memory_order_relaxed)) < k;) {
      const std::uint32_t column = factor.order[p];
      double* const row = factor.feedback.data() + p * k;
      for (std::size_t q = p; q < k; ++q) row[q] = HessianAt(stats, column, factor.order[q]);
      row[p] = DampedElement(row[p], diagonal, factor.damping);
    }
  });
}

// Below the diagonal: V[q][p] / V[q][q].
void FillFeedback(std::vector<double>& matrix, std::size_t k, ThreadPool& pool) {
  constexpr std::size_t kTile = 32;
  std::atomic<std::size_t> next{0};
  pool.Run([&](int) {
    for (std::size_t tile; (tile = next.fetch_add(1, std::memory_order_relaxed)) * kTile < k;) {
      const std::size_t p_end = std::min((tile + 1) * kTile, k);
      for (std::size_t q_begin = 0; q_begin < p_end; q_begin += kTile) {
        for (std::size_t p = tile * kTile; p < p_end; ++p) {
          for (std::size_t q = q_begin; q < std::min(q_begin + kTile, p); ++q) {
            matrix[p * k + q] = matrix[q * k + p] / matrix[q * k + q];
          }
        }
      }
    }
  });
}

// Rounds rows [begin, end) block by block.
class BlockwiseRounder {
 public:
  BlockwiseRounder(RowRounder rounder, const HessianFactor& factor, IsaSet isa)
      : rounder_(std::move(rounder)), factor_(factor), isa_(isa) {}

  void Round(std::size_t begin, std::size_t end) {
    const std::size_t k = factor_.order.size(), rows = end - begin;
    fed_.assign(k * rows, 0.0);
    errors_.resize(kGptqBlock * rows);
    rounder_.Start(begin, end);
    for (std::size_t high = k; high > 0;) {
      const std::size_t low = (high - 1) / kGptqBlock * kGptqBlock;
      const std::size_t width = high - low;
      const double* const feedback = factor_.feedback.data() + low * k;
      const MatrixView<double> errors(errors_.data(), width, rows);
      rounder_.RoundBlock(low, {feedback + low, width, width, k}, {fed_.data() + low * rows, width, rows}, errors);
      Multiply<double>({{feedback, width, low, k}, errors, {fed_.data(), low, rows}}, isa_);
      high = low;
    }
    rounder_.Store();
  }

 private:
  RowRounder rounder_;
  const HessianFactor& factor_;
  IsaSet isa_;
  std::vector<double> fed_;     // [k positions][rows] what errors have added so far
  std::vector<double> errors_;  // [block][rows] weight - decoded value
};

}  // namespace

std::vector<std::uint32_t> OrderColumns(std::span<const double> elements) {
  std::vector<std::uint32_t> order(elements.size());
  std::iota(order.rbegin(), order.rend(), 0u);
  std::ranges::stable_sort(order, {}, [&](std::uint32_t column) { return elements[column]; });
  return order;
}

Error NoTokens() { return {ErrorCode::kInput, "statistics of 0 tokens; calibrate on some text"}; }

Error NotPositiveDefinite(std::size_t channels) {
  return {ErrorCode::kNumerical,
          fmt::format("X^T X of {} channels is not positive definite even with {} times its mean added to the "
                      "diagonal; calibrate again",
                      channels, kMostDamping)};
}

Result<HessianFactor> FactorHessian(const InputStatistics& stats, ThreadPool& pool) {
  if (stats.gram.empty()) {
    return Error{ErrorCode::kUsage, "gptq needs X^T X of every linear layer; collect it with calibrate --full-gram"};
  }
  if (stats.tokens == 0) return NoTokens();
  if (auto status = CheckStatistics(stats, stats.channels()); !status) return status.error();
  const std::size_t k = stats.channels();
  const std::vector<double> elements = ElementsOfDiagonal(stats);
  const HessianDiagonal diagonal = MeasureDiagonal(elements);
  HessianFactor factor;
  factor.order = OrderColumns(elements);
  factor.importance = Importance(stats);
  factor.dead_columns = diagonal.dead;
  factor.feedback.resize(k * k);
  for (factor.damping = kDamping; factor.damping <= kMostDamping; factor.damping *= 4) {
    FillHessian(stats, diagonal, factor, pool);
    const double least = LeastPivot(factor.damping, diagonal);
    if (FactorCholesky({factor.feedback.data(), k, k}, least, HostIsa(), pool)) continue;
    FillFeedback(factor.feedback, k, pool);
    return factor;
  }
  return NotPositiveDefinite(k);
}

EncodedMatrix EncodeGptq(const FormatRow& format, MatrixView<const float> weights, const HessianFactor& factor,
                         ThreadPool& pool) {
  MARLIN_CHECK(factor.order.size() == weights.cols, "the factor of another input");
  const std::vector<GroupParams> params = SearchAllParams(format, weights, factor.importance, pool);
  EncodedMatrix matrix(format, weights.rows, weights.cols);
  const IsaSet isa = HostIsa();
  ForPieces(weights.rows, pool, [&] {
    return [rounder = BlockwiseRounder({format, weights, factor.order, params, matrix}, factor, isa)](
               std::size_t begin, std::size_t end) mutable { rounder.Round(begin, end); };
  });
  return matrix;
}

double ReconstructionError(MatrixView<const float> weights, const EncodedMatrixView& quantized,
                           const InputStatistics& stats, ThreadPool& pool) {
  const std::size_t k = weights.cols;
  MARLIN_CHECK(stats.gram.size() == k * k && quantized.rows == weights.rows && quantized.cols == k,
               "shapes of a reconstruction error");
  const IsaSet isa = HostIsa();
  std::vector<double> row_errors(weights.rows);
  ForPieces(weights.rows, pool, [&] {
    return [&](std::size_t begin, std::size_t end) {
      const std::size_t rows = end - begin;
      std::vector<float> errors(k * rows);    // [k][rows]
      std::vector<float> products(rows * k);  // [rows][k] errors times the upper half
      std::vector<float> row(k);
      for (std::size_t r = 0; r < rows; ++r) {
        DecodeRow(quantized, begin + r, row);
        for (std::size_t j = 0; j < k; ++j) errors[j * rows + r] = weights.Row(begin + r)[j] - row[j];
      }
      Multiply<float>({{errors.data(), k, rows}, {stats.gram.data(), k, k}, {products.data(), rows, k}}, isa);
      for (std::size_t r = 0; r < rows; ++r) {
        double sum = 0;
        for (std::size_t j = 0; j < k; ++j) {
          const double error = errors[j * rows + r];
          sum += error * (2.0 * products[r * k + j] - error * stats.gram[j * k + j]);
        }
        row_errors[begin + r] = sum;
      }
    };
  });
  const double sum = std::accumulate(row_errors.begin(), row_errors.end(), 0.0);
  return sum * 2.0 / static_cast<double>(stats.tokens);
}

}  // namespace marlin
