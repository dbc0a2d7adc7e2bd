#include "quantize/gptq.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <numeric>

#include "base/check.h"
#include "kernels/product.h"
#include "quantize/cholesky.h"
#include "quantize/hessian.h"
#include "quantize/mse.h"
#include "quantize/row_pieces.h"

namespace marlin {
namespace {

// Positions whose errors are fed to the others together. One chunk of a product.
constexpr std::size_t kGptqBlock = kProductChunkBytes / sizeof(double);
constexpr double kMostDamping = 100;

// Least second moment first; equal ones are rounded in the order of storage.
std::vector<std::uint32_t> OrderColumns(const InputStatistics& stats) {
  std::vector<std::uint32_t> order(stats.channels());
  std::iota(order.rbegin(), order.rend(), 0u);
  std::ranges::stable_sort(order, {}, [&](std::uint32_t column) { return HessianAt(stats, column, column); });
  return order;
}

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

// Some rows of weights on their way to codes.
class RowRounder {
 public:
  RowRounder(const FormatRow& format, MatrixView<const float> weights, const HessianFactor& factor,
             std::span<const GroupParams> params, EncodedMatrix& out, IsaSet isa)
      : format_(format), weights_(weights), factor_(factor), params_(params), out_(out), isa_(isa) {}

  void Round(std::size_t begin, std::size_t end) {
    const std::size_t k = weights_.cols;
    begin_ = begin;
    rows_ = end - begin;
    fed_.assign(k * rows_, 0.0);
    errors_.assign(kGptqBlock * rows_, 0.0);
    codes_.assign(rows_ * k, 0);
    group_ = kNoGroup;
    for (auto* vector : {&targets_, &values_}) vector->resize(rows_);
    column_codes_.resize(rows_);
    for (std::size_t high = k; high > 0;) {
      const std::size_t low = (high - 1) / kGptqBlock * kGptqBlock;
      for (std::size_t p = high; p-- > low;) RoundPosition(p, low);
      const MatrixView<const double> feedback(factor_.feedback.data() + low * k, high - low, low, k);
      const MatrixView<const double> errors(errors_.data(), high - low, rows_);
      Multiply<double>({feedback, errors, {fed_.data(), low, rows_}}, isa_);
      high = low;
    }
    Store();
  }

 private:
  // Rounds one column and feeds its error to the columns of its block.
  void RoundPosition(std::size_t p, std::size_t low) {
    const std::size_t k = weights_.cols;
    const std::size_t column = factor_.order[p];
    const std::size_t groups = GroupsPerRow(format_.info, k);
    const std::size_t group = groups == 0 ? 0 : column / static_cast<std::size_t>(format_.info.group);
    double* const errors = errors_.data() + (p - low) * rows_;
    if (group != group_) TakeParams(group, groups);
    for (std::size_t r = 0; r < rows_; ++r) {
      targets_[r] = static_cast<float>(weights_.Row(begin_ + r)[column] + fed_[p * rows_ + r]);
    }
    format_.round_each(targets_, group_params_, column_codes_, values_);
    for (std::size_t r = 0; r < rows_; ++r) {
      codes_[r * k + column] = column_codes_[r];
      errors[r] = static_cast<double>(weights_.Row(begin_ + r)[column]) - values_[r];
    }
    for (std::size_t q = low; q < p; ++q) {
      const double share = factor_.feedback[p * k + q];
      double* const fed = fed_.data() + q * rows_;
      for (std::size_t r = 0; r < rows_; ++r) fed[r] += share * errors[r];
    }
  }

  // The params of a group, of every row.
  void TakeParams(std::size_t group, std::size_t groups) {
    group_ = group;
    group_params_.assign(rows_, {});
    for (std::size_t r = 0; groups != 0 && r < rows_; ++r) group_params_[r] = params_[(begin_ + r) * groups + group];
  }

  void Store() {
    const std::size_t k = weights_.cols;
    const std::size_t groups = GroupsPerRow(format_.info, k);
    for (std::size_t r = 0; r < rows_; ++r) {
      for (std::size_t g = 0; g < groups; ++g) SetParams(out_, begin_ + r, g, params_[(begin_ + r) * groups + g]);
      SetCodes(out_, begin_ + r, 0, {codes_.data() + r * k, k});
    }
  }

  const FormatRow& format_;
  MatrixView<const float> weights_;
  const HessianFactor& factor_;
  std::span<const GroupParams> params_;  // [n, groups]
  EncodedMatrix& out_;
  IsaSet isa_;
  std::size_t begin_ = 0;
  std::size_t rows_ = 0;
  std::vector<double> fed_;           // [k positions][rows] what errors have added so far
  std::vector<double> errors_;        // [block][rows] weight - decoded value
  std::vector<std::uint32_t> codes_;  // [rows][k]
  static constexpr std::size_t kNoGroup = SIZE_MAX;
  std::size_t group_ = kNoGroup;             // of group_params_
  std::vector<GroupParams> group_params_;    // [rows]
  std::vector<float> targets_, values_;      // [rows] of one column
  std::vector<std::uint32_t> column_codes_;  // [rows]
};

}  // namespace

Result<HessianFactor> FactorHessian(const InputStatistics& stats, ThreadPool& pool) {
  if (stats.gram.empty()) {
    return Error{ErrorCode::kUsage, "gptq needs X^T X of every linear layer; collect it with calibrate --full-gram"};
  }
  if (stats.tokens == 0) return Error{ErrorCode::kInput, "statistics of 0 tokens; calibrate on some text"};
  if (auto status = CheckStatistics(stats, stats.channels()); !status) return status.error();
  const std::size_t k = stats.channels();
  const HessianDiagonal diagonal = MeasureDiagonal(stats);
  HessianFactor factor;
  factor.order = OrderColumns(stats);
  factor.importance = Importance(stats);
  factor.dead_columns = diagonal.dead;
  factor.feedback.resize(k * k);
  for (factor.damping = kDamping; factor.damping <= kMostDamping; factor.damping *= 4) {
    FillHessian(stats, diagonal, factor, pool);
    // Every pivot of a matrix whose eigenvalues are not negative before damping is at least the damping.
    const double least = 0.5 * factor.damping * diagonal.mean;
    if (FactorCholesky({factor.feedback.data(), k, k}, least, HostIsa(), pool)) continue;
    FillFeedback(factor.feedback, k, pool);
    return factor;
  }
  return Error{ErrorCode::kNumerical,
               fmt::format("X^T X of {} channels is not positive definite even with {} times its mean added to the "
                           "diagonal; calibrate again",
                           k, kMostDamping)};
}

EncodedMatrix EncodeGptq(const FormatRow& format, MatrixView<const float> weights, const HessianFactor& factor,
                         ThreadPool& pool) {
  MARLIN_CHECK(factor.order.size() == weights.cols, "the factor of another input");
  const std::vector<GroupParams> params = SearchAllParams(format, weights, factor.importance, pool);
  EncodedMatrix matrix(format, weights.rows, weights.cols);
  const IsaSet isa = HostIsa();
  ForPieces(weights.rows, pool, [&] {
    return [rounder = RowRounder(format, weights, factor, params, matrix, isa)](
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
