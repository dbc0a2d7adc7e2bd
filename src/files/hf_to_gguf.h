// Translates a model to a GGUF file's keys and tensors: the other direction of gguf_to_hf.h, by the same tables
// (gguf_names.h).
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/matrix.h"
#include "base/result.h"
#include "files/gguf_families.h"
#include "files/gguf_pairs.h"
#include "files/tensor.h"
#include "formats/encoded_matrix.h"

namespace marlin {

// A tensor as GGUF holds it: parts under each other, rows in another order, numbers moved by a constant.
struct GgufTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<std::size_t> shape;  // slowest axis first
  std::vector<Tensor> parts;       // by the names of Hugging Face; empty: `values` are the numbers
  std::vector<float> values;
  std::vector<EncodedMatrixView> encoded;  // of a quantized matrix: the numbers of each part, which has no bytes
  // Heads whose two halves are interleaved: row h*d + 2*i + j holds row h*d + j*d/2 + i (Stored::rotary_heads).
  std::size_t rotary_heads = 0;
  float added = 0;

  std::size_t rows() const;  // a vector is one row
  std::size_t cols() const;
  // Position of row `row` (of a vector: element) among those of all parts.
  std::size_t SourceRow(std::size_t row) const;
};

// Rows [begin, begin + out.rows), as the file will hold them before they are rounded to its type. Errors: those of
// DecodeRows of a tensor.
Status DecodeRows(const GgufTensor& tensor, std::size_t begin, MatrixView<float> out);

// The same rows of a quantized matrix as blocks of its type.
void EncodeRows(const GgufTensor& tensor, std::size_t begin, std::size_t rows, std::span<std::uint8_t> out);

// Bytes of so many rows.
std::size_t RowBytes(const GgufTensor& tensor, std::size_t rows);

// A model by the names of Hugging Face, every setting of the architecture's tables in `config`.
struct GgufSource {
  const nlohmann::json& config;
  const ModelFacts& facts;
  std::span<const Tensor> tensors;
  // Quantized matrices by the names of their tensors, which have no bytes.
  const std::map<std::string, EncodedMatrixView>& encoded;
  // The stored tensor that a tensor is a part of; the name itself where it is whole. Parts follow each other in the
  // order of their rows.
  std::function<std::string(std::string_view)> whole_of;
};

struct GgufModel {
  GgufPairs pairs;  // of the architecture; the tokenizer's and general ones are added by others
  std::vector<GgufTensor> tensors;
  std::vector<std::string> notes;  // where llama.cpp does not compute what the file says
};

// `type`: of matrices; without it each keeps its own. Vectors, norms and learned positions are F32, as llama.cpp wants
// them. A quantized matrix keeps its codes and scales: without `type` it
// has the block type of its format. Errors: kUnsupported (a class of models, a setting, a tensor or a format that GGUF
// does not hold, blocks without a `type`), each named.
Result<GgufModel> TranslateToGguf(const GgufSource& source, std::optional<DType> type);

}  // namespace marlin
