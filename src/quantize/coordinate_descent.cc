#include "quantize/coordinate_descent.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/product.h"
#include "quantize/row_descent.h"
#include "quantize/row_pieces.h"

namespace marlin {
namespace {

// Descends with some rows at a time, all columns of them.
class PieceDescent {
 public:
  PieceDescent(MatrixView<const float> weights, const std::vector<float>& hessian, EncodedMatrix& matrix)
      : rows_(weights, matrix),
        hessian_(hessian.data(), weights.cols, weights.cols),
        block_(RowDescent::GroupColumns(matrix.format->info)),
        isa_(HostIsa()) {}

  void Run(std::size_t begin, std::size_t end, int sweeps) {
    const std::size_t k = hessian_.cols, n = end - begin;
    errors_.resize(k * n);
    gradient_.resize(block_ * n);
    const MatrixView<float> errors(errors_.data(), k, n);
    rows_.Start(begin, end, errors);
    bool changed = true;
    for (int sweep = 0; changed && sweep < sweeps; ++sweep) {
      changed = false;
      for (std::size_t low = 0; low < k; low += block_) {
        const std::size_t width = std::min(block_, k - low);
        const float* const columns = hessian_.data + low;
        const MatrixView<float> gradient(gradient_.data(), width, n);
        std::fill_n(gradient_.begin(), width * n, 0.0f);
        Multiply<float>({{columns, k, width, k}, errors, gradient}, isa_);
        changed |= rows_.Improve(low, {columns + low * k, width, width, k}, gradient);
      }
    }
    rows_.Store();
  }

 private:
  RowDescent rows_;
  MatrixView<const float> hessian_;
  std::size_t block_;
  IsaSet isa_;
  std::vector<float> errors_;    // [k][rows]
  std::vector<float> gradient_;  // [block][rows]
};

}  // namespace

void DescendByCoordinates(MatrixView<const float> weights, const std::vector<float>& hessian, int sweeps,
                          EncodedMatrix& matrix, ThreadPool& pool) {
  MARLIN_CHECK(hessian.size() == weights.cols * weights.cols, "the Hessian of another input");
  ForPieces(weights.rows, pool, [&] {
    return [descent = PieceDescent(weights, hessian, matrix), sweeps](std::size_t begin, std::size_t end) mutable {
      descent.Run(begin, end, sweeps);
    };
  });
}

}  // namespace marlin
