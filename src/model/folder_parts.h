// The tensors of a folder as its export and its comparison (export_folder.h) take them: matrices as one part each,
// other tensors in pieces of rows.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/matrix.h"
#include "base/progress.h"
#include "base/result.h"
#include "files/checkpoint.h"
#include "files/tensor.h"
#include "model/export_folder.h"

namespace marlin {

// A tensor of a folder under the name that a plan gives it.
struct NamedPart {
  std::string name;
  std::vector<std::size_t> shape;
  FolderWeight::Part part;
};

// A matrix that is quantized under its stem, another tensor under its name; empty for further parts of a matrix.
// Errors: those of FindEncoded.
Result<std::optional<NamedPart>> PartOf(const Checkpoint& checkpoint, const Tensor& tensor);

inline constexpr std::size_t kRowsAtOnce_bytes = std::size_t{1} << 22;

// visit(row, values of some rows [count, cols]) until one fails. Errors: those of visit and of DecodeRows,
// kInterrupted.
template <class Visit>
Status ForRows(const Tensor& tensor, Visit visit) {
  const std::size_t cols = std::max<std::size_t>(1, tensor.cols());
  const std::size_t step = std::max<std::size_t>(1, kRowsAtOnce_bytes / (sizeof(float) * cols));
  std::vector<float> values;
  for (std::size_t row = 0; row < tensor.rows(); row += step) {
    if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted while reading the model"};
    const std::size_t count = std::min(step, tensor.rows() - row);
    values.resize(count * cols);
    if (auto status = DecodeRows(tensor, row, MatrixView<float>(values.data(), count, cols)); !status) return status;
    if (Status status = visit(row, values); !status) return status;
  }
  return {};
}

}  // namespace marlin
