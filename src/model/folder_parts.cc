#include "model/folder_parts.h"

#include <utility>

#include "files/quantized_layout.h"

namespace marlin {

Result<std::optional<NamedPart>> PartOf(const Checkpoint& checkpoint, const Tensor& tensor) {
  const auto stem = StemOfEncoded(tensor.name);
  if (!stem || checkpoint.Find(std::string(*stem) + std::string(kPackedSuffix)) == nullptr) {
    return std::optional(NamedPart{tensor.name, tensor.shape, {{}, &tensor, {}}});
  }
  if (!tensor.name.ends_with(kPackedSuffix)) return std::optional<NamedPart>();
  const auto matrix = FindEncoded(checkpoint, *stem);
  if (!matrix) return matrix.error();
  return std::optional(NamedPart{std::string(*stem), {matrix->rows, matrix->cols}, {{}, nullptr, *matrix}});
}

}  // namespace marlin
