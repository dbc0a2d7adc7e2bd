#include "study/baseline_format.h"

#include <algorithm>
#include <cstddef>
#include <map>

#include "model/families/family.h"
#include "model/weights.h"

namespace marlin {

Result<const FormatRow*> BaselineFormat(const Checkpoint& checkpoint, ThreadPool& pool) {
  std::map<const FormatRow*, std::size_t> weights;
  const auto description = DescribeModel(checkpoint.config);
  if (!description) return description.error();
  for (const Matrix& matrix : description->blocks[0].matrices) {
    const auto stored = FindWeight(checkpoint, matrix.name);
    if (!stored) return stored.error();
    const auto format = stored->encoded ? Result<const FormatRow*>(stored->encoded->format)
                                        : ChoosePlainFormat(*stored->tensor, Precision::kSixteenBit, pool);
    if (!format) return format.error();
    weights[*format] += stored->rows * stored->cols;
  }
  return std::ranges::max_element(weights, {}, [](const auto& entry) { return entry.second; })->first;
}

}  // namespace marlin
