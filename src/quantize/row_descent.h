// Some rows of quantized weights during a coordinate descent (coordinate_descent.h), a block of columns at a time: the
// gradient at the start of a block comes from outside.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/matrix.h"
#include "formats/encoded_matrix.h"
#include "kernels/isa.h"

namespace marlin {

class RowDescent {
 public:
  // weights [n, k]; matrix: the same, quantized. Both outlive it.
  RowDescent(MatrixView<const float> weights, EncodedMatrix& matrix);

  // Columns of a group; of a block where the format has no groups.
  static std::size_t GroupColumns(const FormatInfo& info);

  // The rows that are improved from here on. errors [k, rows]: becomes weight - value, and stays so.
  void Start(std::size_t begin, std::size_t end, MatrixView<float> errors);

  // Improves columns [low, low + width) of whole groups. square [width, width]: the Hessian of these columns. gradient
  // [width, rows]: H e of them with the present errors, e over all columns; is changed. Whether anything changed.
  bool Improve(std::size_t low, MatrixView<const float> square, MatrixView<float> gradient);

  // Writes codes and params of the rows.
  void Store();

 private:
  // A group at hand.
  struct Group {
    std::size_t index = 0, low = 0, width = 0;
    MatrixView<const float> square;  // [width, width]
    MatrixView<float> gradient;      // [width, rows] half the gradient of the error with regard to their errors: H e
  };
  std::size_t rows() const { return errors_.cols; }
  GroupParams& Params(std::size_t r, std::size_t group);
  void ImproveGroup(const Group& group);
  void Curve(const Group& group);
  std::vector<double> CurvedOnes(const Group& group) const;
  void RefitParams(const Group& group);
  void MoveScales(float factor, const Group& group);
  GroupParams Moved(GroupParams params, float factor) const;
  void RoundColumns(const Group& group);
  bool RoundColumn(const Group& group, std::size_t i, float* moves);

  MatrixView<const float> weights_;
  EncodedMatrix& matrix_;
  const FormatRow& format_;
  IsaSet isa_;
  std::size_t begin_ = 0;
  bool changed_ = false;
  // Vectors over rows are adjacent.
  MatrixView<float> errors_;                    // [k, rows] weight - value
  std::vector<float> turned_;                   // [k][rows] weights
  std::vector<std::uint32_t> codes_;            // [k][rows]
  std::vector<GroupParams> params_;             // [rows][groups]
  std::vector<float> curved_, unit_;            // [group][rows]
  std::vector<float> before_;                   // [group][rows] errors
  std::vector<float> moves_;                    // [columns that move together][rows]
  std::vector<float> values_, targets_, next_;  // [rows] of one column
  std::vector<std::uint32_t> column_codes_;     // [rows]
  std::vector<GroupParams> group_params_;       // [rows]
  std::vector<std::uint32_t> trial_;            // [group][rows] codes for another scale
};

}  // namespace marlin
