// Some rows of weights on their way to codes by `gptq` (gptq.h), a block of positions at a time: what a block needs of
// the errors of the blocks before it comes from outside.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/matrix.h"
#include "formats/encoded_matrix.h"

namespace marlin {

// Positions whose errors are fed to the others together.
inline constexpr std::size_t kGptqBlock = 128;

class RowRounder {
 public:
  // weights [n, k]; order [k]: the column at each position; params [n, groups]. Everything outlives it.
  RowRounder(const FormatRow& format, MatrixView<const float> weights, std::span<const std::uint32_t> order,
             std::span<const GroupParams> params, EncodedMatrix& out)
      : format_(format), weights_(weights), order_(order), params_(params), out_(out) {}

  // The rows that are rounded from here on.
  void Start(std::size_t begin, std::size_t end);

  // Rounds positions [low, low + width), width <= kGptqBlock, from the last to the first. feedback [width, width]: row
  // p, column q < p is what an error of 1 at position low + p adds at position low + q. fed [width, rows]: what the
  // errors of the blocks before have added; is changed. errors [width, rows]: becomes weight - decoded value.
  void RoundBlock(std::size_t low, MatrixView<const double> feedback, MatrixView<double> fed,
                  MatrixView<double> errors);

  // Writes codes and params of the rows, once all blocks are rounded.
  void Store();

 private:
  void RoundPosition(std::size_t position, std::span<const double> fed, std::span<double> errors);
  void TakeParams(std::size_t group, std::size_t groups);

  const FormatRow& format_;
  MatrixView<const float> weights_;
  std::span<const std::uint32_t> order_;
  std::span<const GroupParams> params_;
  EncodedMatrix& out_;
  std::size_t begin_ = 0;
  std::size_t rows_ = 0;
  // In the order of the positions: [k][rows].
  std::vector<float> turned_;  // weights
  std::vector<std::uint32_t> codes_;
  static constexpr std::size_t kNoGroup = SIZE_MAX;
  std::size_t group_ = kNoGroup;           // of group_params_
  std::vector<GroupParams> group_params_;  // [rows]
  std::vector<float> targets_, values_;    // [rows] of one column
};

}  // namespace marlin
