#include "quantize/coordinate_descent.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "kernels/product.h"
#include "quantize/refit.h"
#include "quantize/row_pieces.h"

namespace marlin {
namespace {

// Columns of a block where the format has no groups.
constexpr std::size_t kPlainBlock = 128;

// Some rows during the descent. Vectors over rows are adjacent: [column][row].
class Descent {
 public:
  Descent(MatrixView<const float> weights, const std::vector<float>& hessian, EncodedMatrix& matrix, IsaSet isa)
      : weights_(weights), hessian_(hessian), matrix_(matrix), format_(*matrix.format), isa_(isa) {}

  void Run(std::size_t begin, std::size_t end, int sweeps) {
    begin_ = begin;
    rows_ = end - begin;
    Load();
    const std::size_t k = weights_.cols;
    const std::size_t block = format_.info.group == 0 ? kPlainBlock : static_cast<std::size_t>(format_.info.group);
    gradient_.resize(block * rows_);
    curved_.resize(block * rows_);
    unit_.resize(block * rows_);
    for (auto* vector : {&values_, &targets_, &next_}) vector->resize(rows_);
    column_codes_.resize(rows_);
    group_params_.resize(rows_);
    for (int sweep = 0; sweep < sweeps; ++sweep) {
      changed_ = false;
      for (std::size_t low = 0; low < k; low += block) ImproveBlock(low, std::min(low + block, k));
      if (!changed_) break;
    }
    Store();
  }

 private:
  void Load() {
    const std::size_t k = weights_.cols;
    codes_.resize(rows_ * k);
    errors_.resize(k * rows_);
    std::vector<float> row(k);
    const auto view = matrix_.view();
    params_.assign(rows_ * std::max<std::size_t>(view.groups(), 1), {});
    for (std::size_t r = 0; r < rows_; ++r) {
      GetCodes(view, begin_ + r, 0, {codes_.data() + r * k, k});
      DecodeRow(view, begin_ + r, row);
      for (std::size_t g = 0; g < view.groups(); ++g) Params(r, g) = GetParams(view, begin_ + r, g);
      for (std::size_t j = 0; j < k; ++j) errors_[j * rows_ + r] = weights_.Row(begin_ + r)[j] - row[j];
    }
  }

  void Store() {
    const std::size_t k = weights_.cols;
    const std::size_t groups = matrix_.view().groups();
    for (std::size_t r = 0; r < rows_; ++r) {
      for (std::size_t g = 0; g < groups; ++g) SetParams(matrix_, begin_ + r, g, Params(r, g));
      SetCodes(matrix_, begin_ + r, 0, {codes_.data() + r * k, k});
    }
  }

  GroupParams& Params(std::size_t r, std::size_t group) {
    return params_[r * std::max<std::size_t>(matrix_.view().groups(), 1) + group];
  }

  // Half the gradient of the error with regard to the errors of the block: H e.
  void ImproveBlock(std::size_t low, std::size_t high) {
    const std::size_t k = weights_.cols;
    const std::size_t width = high - low;
    const std::size_t group = format_.info.group == 0 ? 0 : low / static_cast<std::size_t>(format_.info.group);
    std::fill_n(gradient_.begin(), width * rows_, 0.0f);
    const MatrixView<const float> columns(hessian_.data() + low, k, width, k);
    Multiply<float>({columns, {errors_.data(), k, rows_}, {gradient_.data(), width, rows_}}, isa_);
    if (format_.info.group != 0) RefitParams(low, high, group);
    if (format_.info.scale_type == ScaleType::kE8m0) {
      for (const float factor : {2.0f, 0.5f}) MoveScales(factor, low, high, group);
    }
    for (std::size_t r = 0; r < rows_; ++r) group_params_[r] = Params(r, group);
    for (std::size_t j = low; j < high; ++j) RoundColumn(j, low, high);
  }

  // curved = H unit, within the block.
  void Curve(std::size_t low, std::size_t width) {
    std::fill_n(curved_.begin(), width * rows_, 0.0f);
    const std::size_t k = weights_.cols;
    const MatrixView<const float> square(hessian_.data() + low * k + low, width, width, k);
    Multiply<float>({square, {unit_.data(), width, rows_}, {curved_.data(), width, rows_}}, isa_);
  }

  // [width] H 1, within the block.
  std::vector<double> CurvedOnes(std::size_t low, std::size_t width) const {
    std::vector<double> sums(width);
    for (std::size_t i = 0; i < width; ++i) {
      const float* const row = hessian_.data() + (low + i) * weights_.cols + low;
      sums[i] = std::accumulate(row, row + width, 0.0);
    }
    return sums;
  }

  // The scale and the bias of every row's group for which the error is least while the codes stay.
  void RefitParams(std::size_t low, std::size_t high, std::size_t group) {
    const std::size_t k = weights_.cols;
    const std::size_t width = high - low;
    std::vector<float> values(width);
    for (std::size_t r = 0; r < rows_; ++r) {
      const GroupParams unit{.scale = 1, .zero_point = Params(r, group).zero_point};
      format_.decode({codes_.data() + r * k + low, width}, unit, values);
      for (std::size_t i = 0; i < width; ++i) unit_[i * rows_ + r] = values[i];
    }
    Curve(low, width);
    const bool has_bias = HasBias(format_.info);
    const std::vector<double> ones = has_bias ? CurvedOnes(low, width) : std::vector<double>(width);
    for (std::size_t r = 0; r < rows_; ++r) {
      RefitSums sums;
      for (std::size_t i = 0; i < width; ++i) {
        const double value = unit_[i * rows_ + r];
        const double gradient = gradient_[i * rows_ + r];
        sums.scale_slope += value * gradient;
        sums.scale_curvature += value * curved_[i * rows_ + r];
        sums.bias_slope += gradient;
        sums.bias_curvature += ones[i];
        sums.mixed_curvature += value * ones[i];
      }
      GroupParams& params = Params(r, group);
      const GroupParams refitted = Refit(format_, sums, params);
      if (refitted == params) continue;
      const float scale_change = refitted.scale - params.scale;
      const float bias_change = refitted.bias - params.bias;
      params = refitted;
      changed_ = true;
      for (std::size_t i = 0; i < width; ++i) {
        errors_[(low + i) * rows_ + r] -= scale_change * unit_[i * rows_ + r] + bias_change;
        gradient_[i * rows_ + r] -= scale_change * curved_[i * rows_ + r] + bias_change * static_cast<float>(ones[i]);
      }
    }
  }

  // Scales that are far from each other seldom get better while the codes stay. Each row's group gets codes for the
  // scale times `factor`, every column rounded to where its own error would be least, and keeps them if the error
  // falls.
  void MoveScales(float factor, std::size_t low, std::size_t high, std::size_t group) {
    const std::size_t k = weights_.cols;
    const std::size_t width = high - low;
    trial_.resize(width * rows_);
    for (std::size_t r = 0; r < rows_; ++r) {
      const GroupParams params = Moved(Params(r, group), factor);
      for (std::size_t i = 0; i < width; ++i) {
        const std::size_t j = low + i;
        const float value = weights_.Row(begin_ + r)[j] - errors_[j * rows_ + r];
        const float target = value + gradient_[i * rows_ + r] / hessian_[j * k + j];
        float next = 0;
        format_.round({&target, 1}, params, {&trial_[r * width + i], 1});
        format_.decode({&trial_[r * width + i], 1}, params, {&next, 1});
        unit_[i * rows_ + r] = next - value;
      }
    }
    Curve(low, width);
    for (std::size_t r = 0; r < rows_; ++r) {
      double change = 0;
      for (std::size_t i = 0; i < width; ++i) {
        change += static_cast<double>(unit_[i * rows_ + r]) * (curved_[i * rows_ + r] - 2.0 * gradient_[i * rows_ + r]);
      }
      if (!(change < 0)) continue;
      Params(r, group) = Moved(Params(r, group), factor);
      changed_ = true;
      for (std::size_t i = 0; i < width; ++i) {
        codes_[r * k + low + i] = trial_[r * width + i];
        const std::size_t j = low + i;
        errors_[j * rows_ + r] -= unit_[i * rows_ + r];
        gradient_[i * rows_ + r] -= curved_[i * rows_ + r];
      }
    }
  }

  // At the ends of the range the scale stays.
  GroupParams Moved(GroupParams params, float factor) const {
    const float scale = format_.round_scale(factor * params.scale, params);
    if (scale != 0) params.scale = scale;
    return params;
  }

  // With group_params_.
  void RoundColumn(std::size_t j, std::size_t low, std::size_t high) {
    const std::size_t k = weights_.cols;
    const float* const row = hessian_.data() + j * k;
    const float inverse = 1 / row[j];
    moves_.assign(rows_, 0);
    for (std::size_t r = 0; r < rows_; ++r) {
      values_[r] = weights_.Row(begin_ + r)[j] - errors_[j * rows_ + r];
      targets_[r] = values_[r] + gradient_[(j - low) * rows_ + r] * inverse;
    }
    format_.round_each(targets_, group_params_, column_codes_, next_);
    bool any = false;
    for (std::size_t r = 0; r < rows_; ++r) {
      if (column_codes_[r] == codes_[r * k + j]) continue;
      codes_[r * k + j] = column_codes_[r];
      moves_[r] = next_[r] - values_[r];
      errors_[j * rows_ + r] = weights_.Row(begin_ + r)[j] - next_[r];
      any = true;
    }
    if (!any) return;
    changed_ = true;
    for (std::size_t i = low; i < high; ++i) {
      float* const gradient = gradient_.data() + (i - low) * rows_;
      for (std::size_t r = 0; r < rows_; ++r) gradient[r] -= row[i] * moves_[r];
    }
  }

  MatrixView<const float> weights_;
  const std::vector<float>& hessian_;
  EncodedMatrix& matrix_;
  const FormatRow& format_;
  IsaSet isa_;
  std::size_t begin_ = 0, rows_ = 0;
  bool changed_ = false;
  std::vector<std::uint32_t> codes_;             // [rows][k]
  std::vector<GroupParams> params_;              // [rows][groups]
  std::vector<float> errors_;                    // [k][rows] weight - value
  std::vector<float> gradient_, curved_, unit_;  // [block][rows]
  std::vector<float> moves_;                     // [rows]
  std::vector<float> values_, targets_, next_;   // [rows] of one column
  std::vector<std::uint32_t> column_codes_;      // [rows]
  std::vector<GroupParams> group_params_;        // [rows]
  std::vector<std::uint32_t> trial_;             // [rows][block] codes for another scale
};

}  // namespace

void DescendByCoordinates(MatrixView<const float> weights, const std::vector<float>& hessian, int sweeps,
                          EncodedMatrix& matrix, ThreadPool& pool) {
  MARLIN_CHECK(hessian.size() == weights.cols * weights.cols, "the Hessian of another input");
  const IsaSet isa = HostIsa();
  ForPieces(weights.rows, pool, [&] {
    return [descent = Descent(weights, hessian, matrix, isa), sweeps](std::size_t begin, std::size_t end) mutable {
      descent.Run(begin, end, sweeps);
    };
  });
}

}  // namespace marlin
