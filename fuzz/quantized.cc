// A quantized folder of this program, of compressed-tensors or of MLX: its config.json, a line end, its safetensors
// file. Every matrix is found and decoded.
#include <algorithm>

#include "files/checkpoint.h"
#include "files/folder_reader.h"
#include "files/quantized_layout.h"
#include "files/safetensors.h"
#include "fuzz/files.h"
#include "fuzz/target_list.h"

namespace marlin {
namespace {

void CheckMatrix(const EncodedMatrixView& matrix) {
  const EncodedSize size = SizeOfEncoded(matrix.format->info, matrix.rows, matrix.cols);
  for (const EncodedPart& part : kEncodedParts) {
    MARLIN_CHECK((matrix.*part.borrowed).size() == size.*part.bytes, "the bytes that the format wants");
  }
  std::vector<float> out(matrix.cols);
  for (const std::size_t row : {std::size_t{0}, matrix.rows - 1}) DecodeRow(matrix, row, out);
}

// An error of one matrix, the first one; a folder without matrices is accepted.
Status CheckMatrices(const Checkpoint& checkpoint) {
  for (const Tensor& tensor : checkpoint.tensors) {
    MARLIN_CHECK(checkpoint.Find(tensor.name) == &tensor, "a tensor is found by its name");
    const auto bytes = ByteSize(tensor.dtype, tensor.shape, tensor.name);
    MARLIN_CHECK(bytes && *bytes == tensor.bytes.size(), "a tensor has the bytes of its shape");
    const auto stem = StemOfEncoded(tensor.name);
    if (!stem || !tensor.name.ends_with(kPackedSuffix)) continue;
    const auto matrix = FindEncoded(checkpoint, *stem);
    if (!matrix) return matrix.error();
    CheckMatrix(*matrix);
  }
  return {};
}

}  // namespace

Status FuzzQuantized(FuzzInput input) {
  const std::size_t end = std::min(FuzzText(input).find('\n'), input.size());
  auto checkpoint = CheckpointOfConfig(FuzzText(input).substr(0, end), "f");
  if (!checkpoint) return checkpoint.error();
  auto file = OpenSafetensors(FuzzFile(input.subspan(std::min(end + 1, input.size()))));
  if (!file) return file.error();
  checkpoint->Replace(std::move(file->tensors));
  if (auto status = TranslateFolder(*checkpoint); !status) return status;
  return CheckMatrices(*checkpoint);
}

}  // namespace marlin
