#include "kernels/cpu_measures.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>

#include "base/check.h"
#include "kernels/backend.h"

namespace marlin {
namespace {

double NllOf(const ExpSum& sum, float logit) {
  return std::log(sum.sum) + (static_cast<double>(sum.max) - static_cast<double>(logit));
}

std::size_t PlaceOf(float value, std::span<const float> row) {
  return static_cast<std::size_t>(std::find(row.begin(), row.end(), value) - row.begin());
}

// Keeps the largest so far in order, by insertion: they are few.
void LargestOf(std::span<const float> row, std::span<float> values, std::span<std::int32_t> columns) {
  const auto before = [](float a, float b) { return std::isnan(a) ? !std::isnan(b) : a > b; };
  std::size_t held = 0;
  for (std::size_t j = 0; j < row.size(); ++j) {
    if (held == values.size() && !before(row[j], values[held - 1])) continue;
    std::size_t place = held < values.size() ? held++ : held - 1;
    for (; place > 0 && before(row[j], values[place - 1]); --place) {
      values[place] = values[place - 1];
      columns[place] = columns[place - 1];
    }
    values[place] = row[j];
    columns[place] = static_cast<std::int32_t>(j);
  }
}

}  // namespace

void CrossEntropyOf(MatrixView<const float> logits, MatrixView<const std::int32_t> targets, MatrixView<double> nll,
                    const OpsTable& ops, CpuWorkers& workers) {
  MARLIN_CHECK(targets.rows == logits.rows && targets.cols == 1 && nll.rows == logits.rows && nll.cols == 1,
               "one target per row");
  workers.ForRows(logits.rows, logits.cols, [&](std::size_t i) {
    const std::span<const float> row = logits.Row(i);
    nll.Row(i)[0] = NllOf(ops.exp_sum(row.data(), row.size()), row[static_cast<std::size_t>(targets.Row(i)[0])]);
  });
}

void DivergenceOf(MatrixView<const float> base, MatrixView<const float> other, MatrixView<const std::int32_t> targets,
                  MatrixView<double> out, const OpsTable& ops, CpuWorkers& workers) {
  MARLIN_CHECK(base.rows == other.rows && base.cols == other.cols, "logits of the same shape");
  MARLIN_CHECK(
      targets.rows == base.rows && targets.cols == 1 && out.rows == base.rows && out.cols == kDivergenceColumns,
      "one target per row");
  workers.ForRows(base.rows, base.cols, [&](std::size_t i) {
    const std::span<const float> x = base.Row(i);
    const std::span<const float> y = other.Row(i);
    const ExpSum p = ops.exp_sum(x.data(), x.size());
    const ExpSum q = ops.exp_sum(y.data(), y.size());
    LogitPair pair{x.data(), y.data(), p.max, q.max, 0, 0};
    pair.ratio = static_cast<float>(p.sum / q.sum);
    pair.shift = static_cast<float>(static_cast<double>(q.max) - static_cast<double>(p.max) - std::log(p.sum / q.sum));
    const auto target = static_cast<std::size_t>(targets.Row(i)[0]);
    const TokenDivergence result{ops.divergence(pair, x.size()) / p.sum, NllOf(p, x[target]), NllOf(q, y[target]),
                                 PlaceOf(p.max, x) == PlaceOf(q.max, y) ? 1.0 : 0.0};
    std::memcpy(out.Row(i).data(), &result, sizeof(result));
  });
}

void TopKOf(MatrixView<const float> x, MatrixView<float> values, MatrixView<std::int32_t> columns,
            CpuWorkers& workers) {
  MARLIN_CHECK(values.rows == x.rows && columns.rows == x.rows && values.cols == columns.cols && values.cols > 0 &&
                   values.cols <= x.cols,
               "shapes of the largest values");
  workers.ForRows(x.rows, x.cols, [&](std::size_t i) { LargestOf(x.Row(i), values.Row(i), columns.Row(i)); });
}

void MomentsOf(MatrixView<const float> x, MatrixView<double> sums, MatrixView<float> largest, CpuWorkers& workers) {
  MARLIN_CHECK(sums.rows == 2 && sums.cols == x.cols && largest.rows == 1 && largest.cols == x.cols,
               "shapes of moments");
  double* const squares = sums.Row(0).data();
  double* const sizes = sums.Row(1).data();
  workers.pool().Split(x.cols, [&](std::size_t begin, std::size_t end, int) {
    std::fill(squares + begin, squares + end, 0.0);
    std::fill(sizes + begin, sizes + end, 0.0);
    std::fill(largest.data + begin, largest.data + end, 0.0f);
    for (std::size_t t = 0; t < x.rows; ++t) {
      const float* const row = x.Row(t).data();
      for (std::size_t i = begin; i < end; ++i) {
        const double value = row[i];
        squares[i] += value * value;
        sizes[i] += std::abs(value);
        largest.data[i] = std::max(largest.data[i], std::abs(row[i]));
      }
    }
  });
}

}  // namespace marlin
