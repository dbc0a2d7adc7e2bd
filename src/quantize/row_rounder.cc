#include "quantize/row_rounder.h"

#include "quantize/row_pieces.h"

namespace marlin {
namespace {

// Positions whose errors reach the rest of a block in one pass over it: a row of it and their errors stay in an L1
// cache.
constexpr std::size_t kFedTogether = 8;

// fed[q] += feedback[p][q] * errors[p], q in [begin, end), p from last to first.
void Feed(MatrixView<const double> feedback, MatrixView<double> errors, std::size_t first, std::size_t last,
          std::size_t begin, std::size_t end, MatrixView<double> fed) {
  for (std::size_t q = begin; q < end; ++q) {
    double* const to = fed.Row(q).data();
    for (std::size_t p = last + 1; p-- > first;) {
      const double share = feedback.Row(p)[q];
      const double* const from = errors.Row(p).data();
      for (std::size_t r = 0; r < fed.cols; ++r) to[r] += share * from[r];
    }
  }
}

}  // namespace

void RowRounder::Start(std::size_t begin, std::size_t end) {
  const std::size_t k = weights_.cols;
  begin_ = begin;
  rows_ = end - begin;
  codes_.resize(k * rows_);
  turned_.resize(k * rows_);
  group_ = kNoGroup;
  for (auto* vector : {&targets_, &values_}) vector->resize(rows_);
  ForTurnedRows(rows_, [&](std::size_t first, std::size_t last) {
    for (std::size_t p = 0; p < k; ++p) {
      const float* const column = weights_.data + begin_ * weights_.stride + order_[p];
      for (std::size_t r = first; r < last; ++r) turned_[p * rows_ + r] = column[r * weights_.stride];
    }
  });
}

void RowRounder::RoundBlock(std::size_t low, MatrixView<const double> feedback, MatrixView<double> fed,
                            MatrixView<double> errors) {
  for (std::size_t high = feedback.rows; high > 0;) {
    const std::size_t first = (high - 1) / kFedTogether * kFedTogether;
    for (std::size_t p = high; p-- > first;) {
      RoundPosition(low + p, fed.Row(p), errors.Row(p));
      Feed(feedback, errors, p, p, first, p, fed);
    }
    Feed(feedback, errors, first, high - 1, 0, first, fed);
    high = first;
  }
}

void RowRounder::RoundPosition(std::size_t position, std::span<const double> fed, std::span<double> errors) {
  const std::size_t k = weights_.cols;
  const std::size_t column = order_[position];
  const std::size_t groups = GroupsPerRow(format_.info, k);
  const std::size_t group = groups == 0 ? 0 : column / static_cast<std::size_t>(format_.info.group);
  if (group != group_) TakeParams(group, groups);
  const float* const weights = turned_.data() + position * rows_;
  for (std::size_t r = 0; r < rows_; ++r) targets_[r] = static_cast<float>(weights[r] + fed[r]);
  format_.round_each(targets_, group_params_, {codes_.data() + position * rows_, rows_}, values_);
  for (std::size_t r = 0; r < rows_; ++r) errors[r] = static_cast<double>(weights[r]) - values_[r];
}

// The params of a group, of every row.
void RowRounder::TakeParams(std::size_t group, std::size_t groups) {
  group_ = group;
  group_params_.assign(rows_, {});
  for (std::size_t r = 0; groups != 0 && r < rows_; ++r) group_params_[r] = params_[(begin_ + r) * groups + group];
}

void RowRounder::Store() {
  const std::size_t k = weights_.cols;
  const std::size_t groups = GroupsPerRow(format_.info, k);
  std::vector<std::uint32_t> rows(kTurnedTogether * k);
  ForTurnedRows(rows_, [&](std::size_t first, std::size_t last) {
    for (std::size_t p = 0; p < k; ++p) {
      for (std::size_t r = first; r < last; ++r) rows[(r - first) * k + order_[p]] = codes_[p * rows_ + r];
    }
    for (std::size_t r = first; r < last; ++r) {
      for (std::size_t g = 0; g < groups; ++g) SetParams(out_, begin_ + r, g, params_[(begin_ + r) * groups + g]);
      SetCodes(out_, begin_ + r, 0, {rows.data() + (r - first) * k, k});
    }
  });
}

}  // namespace marlin
