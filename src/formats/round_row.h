// Rounds a part of one row of weights by `gptq` (quantize/gptq.h): the error of each weight is added to those that are
// rounded after it. The same code runs on hosts and in kernels of a GPU, with the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/strided.h"
#include "formats/format.h"

namespace marlin {

// A row and a block of its positions, which are rounded from the last to the first.
struct RowToRound {
  std::size_t width = 0;                  // positions
  const std::int32_t* columns = nullptr;  // [width] the column at each position
  Strided<const float> weights;           // [k]
  const GroupParams* params = nullptr;    // [groups]
  const double* pivots = nullptr;         // [width]
  // [width, width]; row p, column q < p: what an error of 1 at position p adds to the weight at position q.
  const double* feedback = nullptr;
  std::size_t feedback_stride = 0;
  Strided<double> fed;          // [width] what the errors of other blocks add, times the pivot; is changed
  Strided<double> errors;       // [width] becomes weight - decoded value
  Strided<std::int32_t> codes;  // [k] those of the columns are written
};

// Positions whose errors are kept in registers until all others get them.
inline constexpr std::size_t kRoundedTogether = 8;

template <Format F>
constexpr void RoundRowByGptq(const RowToRound& row) noexcept {
  constexpr std::size_t kGroup = F::kInfo.group;
  for (std::size_t i = 0; i < row.width; ++i) row.fed[i] /= row.pivots[i];
  for (std::size_t high = row.width; high > 0;) {
    const std::size_t first = (high - 1) / kRoundedTogether * kRoundedTogether;
    double errors[kRoundedTogether] = {};
    for (std::size_t i = kRoundedTogether; i-- > 0;) {
      const std::size_t p = first + i;
      if (p >= high) continue;
      double fed = row.fed[p];
      for (std::size_t later = kRoundedTogether - 1; later > i; --later) {
        if (first + later < high) fed += row.feedback[(first + later) * row.feedback_stride + p] * errors[later];
      }
      const auto column = static_cast<std::size_t>(row.columns[p]);
      const GroupParams params = row.params[column / kGroup];
      const float weight = row.weights[column];
      const std::uint32_t code = F::Round(static_cast<float>(weight + fed), params);
      errors[i] = static_cast<double>(weight) - F::Decode(code, params);
      row.codes[column] = static_cast<std::int32_t>(code);
      row.errors[p] = errors[i];
    }
    for (std::size_t q = 0; q < first; ++q) {
      double fed = row.fed[q];
      for (std::size_t i = kRoundedTogether; i-- > 0;) {
        if (first + i < high) fed += row.feedback[(first + i) * row.feedback_stride + q] * errors[i];
      }
      row.fed[q] = fed;
    }
    high = first;
  }
}

}  // namespace marlin
