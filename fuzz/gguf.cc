// A GGUF file: opened, translated, its blocks decoded, its configuration and its tokenizer read.
#include "files/gguf.h"

#include <algorithm>

#include "files/checkpoint.h"
#include "fuzz/files.h"
#include "fuzz/target_list.h"
#include "model/families/family.h"
#include "text/tokenizer.h"

namespace marlin {
namespace {

// Two rows, or the first few elements of what is too long.
void Decode(const Tensor& tensor, std::span<const std::uint8_t> file) {
  MARLIN_CHECK(tensor.bytes.data() >= file.data() && tensor.bytes.size() <= file.size() &&
                   tensor.bytes.data() + tensor.bytes.size() <= file.data() + file.size(),
               "a tensor lies inside its file");
  const auto bytes = ByteSize(tensor.dtype, tensor.shape, tensor.name);
  MARLIN_CHECK(bytes && *bytes == tensor.bytes.size(), "a tensor has the bytes of its shape");
  if (!Info(tensor.dtype).is_weight || tensor.rows() == 0) return;
  std::vector<float> out(tensor.cols());
  for (const std::size_t row : {std::size_t{0}, tensor.rows() - 1}) {
    MARLIN_CHECK(DecodeRows(tensor, row, MatrixView<float>(out.data(), 1, out.size())).ok(), "weights can be decoded");
  }
}

}  // namespace

Status FuzzGguf(FuzzInput input) {
  const auto path = FuzzFile(input);
  const auto gguf = GgufFile::Open(path);
  if (!gguf) return gguf.error();
  for (const Tensor& tensor : gguf->tensors) Decode(tensor, gguf->file.bytes());
  const auto tokenizer = Tokenizer::FromGguf(path);
  if (tokenizer) {
    MARLIN_CHECK(tokenizer->bos() < static_cast<std::int64_t>(tokenizer->vocab_size()), "BOS is a token");
    const auto ids = tokenizer->Encode("It's 12 o'clock.", true);
    if (ids && !tokenizer->ToHuggingFaceJson().empty()) tokenizer->Decode(*ids);
  }
  const auto checkpoint = OpenCheckpoint(path);
  if (!checkpoint) return checkpoint.error();
  for (const Tensor& tensor : checkpoint->tensors) Decode(tensor, checkpoint->files[0].bytes());
  const auto description = DescribeModel(checkpoint->config);
  return description ? Status() : description.error();
}

}  // namespace marlin
