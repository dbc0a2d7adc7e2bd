#include "study/baseline_format.h"

#include <algorithm>
#include <cstddef>
#include <map>

#include "model/config.h"
#include "model/weights.h"

namespace marlin {

Result<const FormatRow*> BaselineFormat(const Checkpoint& checkpoint, ThreadPool& pool) {
  std::map<const FormatRow*, std::size_t> weights;
  for (std::size_t s = 0; s < kSlots; ++s) {
    const auto stored = FindWeight(checkpoint, LinearStem(0, static_cast<Slot>(s)));
    if (!stored) return stored.error();
    const auto format = stored->encoded ? Result<const FormatRow*>(stored->encoded->format)
                                        : ChoosePlainFormat(*stored->tensor, Precision::kSixteenBit, pool);
    if (!format) return format.error();
    weights[*format] += stored->rows * stored->cols;
  }
  return std::ranges::max_element(weights, {}, [](const auto& entry) { return entry.second; })->first;
}

}  // namespace marlin
