// A safetensors file: its header, where its tensors lie, and their first and last rows.
#include "files/safetensors.h"

#include "fuzz/files.h"
#include "fuzz/target_list.h"

namespace marlin {

Status FuzzSafetensors(FuzzInput input) {
  const auto file = OpenSafetensors(FuzzFile(input));
  if (!file) return file.error();
  const auto bytes = file->file.bytes();
  const std::uint8_t* next = nullptr;
  for (const Tensor& tensor : file->tensors) {
    MARLIN_CHECK(tensor.bytes.data() >= bytes.data() + 8 &&
                     tensor.bytes.data() + tensor.bytes.size() <= bytes.data() + bytes.size(),
                 "a tensor lies inside its file");
    MARLIN_CHECK(next == nullptr || tensor.bytes.data() == next, "tensors lie back to back");
    next = tensor.bytes.data() + tensor.bytes.size();
    const auto size = ByteSize(tensor.dtype, tensor.shape, tensor.name);
    MARLIN_CHECK(size && *size == tensor.bytes.size(), "a tensor has the bytes of its shape");
    MARLIN_CHECK(FindTensor(*file, tensor.name) == &tensor, "a tensor is found by its name");
    MatchesHash(*file, tensor);
    if (!Info(tensor.dtype).is_weight || tensor.elements() == 0) continue;
    std::vector<float> out(tensor.cols());
    for (const std::size_t row : {std::size_t{0}, tensor.rows() - 1}) {
      MARLIN_CHECK(DecodeRows(tensor, row, MatrixView<float>(out.data(), 1, out.size())).ok(), "weights are decoded");
    }
  }
  MARLIN_CHECK(next == nullptr || next == bytes.data() + bytes.size(), "the last tensor ends with the file");
  return {};
}

}  // namespace marlin
