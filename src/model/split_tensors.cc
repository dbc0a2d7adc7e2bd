#include "model/split_tensors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"
#include "files/quantized_layout.h"

namespace marlin {
namespace {

using SplitsByTensor = std::map<std::string_view, std::vector<const SplitTensor*>>;  // by the name of the whole

Error Wrong(const Checkpoint& checkpoint, const Tensor& tensor, ErrorCode code, const std::string& what) {
  return {code, fmt::format("{}: tensor {} {}", checkpoint.path.string(), checkpoint.NameInFiles(tensor.name), what)};
}

std::string StemOf(const std::string& weight) { return weight.substr(0, weight.size() - kWeightSuffix.size()); }

bool IsEncoded(const Checkpoint& checkpoint, const std::string& name) {
  return name.ends_with(kWeightSuffix) && checkpoint.Find(StemOf(name) + std::string(kPackedSuffix)) != nullptr;
}

bool HasPart(const Checkpoint& checkpoint, const std::string& name) {
  return checkpoint.Find(name) != nullptr || IsEncoded(checkpoint, name);
}

Tensor PartOf(const Tensor& whole, const SplitTensor& split, const StoredTensor& part) {
  MARLIN_CHECK(whole.stored.rows.run == 0 && !whole.stored.transposed && !split.source.expert,
               "a part of a whole tensor");
  Tensor tensor = whole;
  tensor.name = part.name;
  tensor.shape = part.shape;
  tensor.stored.rows = split.source.rows;
  tensor.stored.transposed = split.source.transposed;
  tensor.stored.all_rows = split.source.transposed ? split.stored.shape[1] : split.stored.shape[0];
  return tensor;
}

Status AddParts(const Checkpoint& checkpoint, const Description& description, const Tensor& whole,
                const std::vector<const SplitTensor*>& splits, std::vector<Tensor>& out) {
  for (const SplitTensor* split : splits) {
    if (whole.shape != split->stored.shape) {
      return Wrong(checkpoint, whole, ErrorCode::kInput,
                   fmt::format("has shape [{}], the configuration wants [{}]", fmt::join(whole.shape, ", "),
                               fmt::join(split->stored.shape, ", ")));
    }
    if (split->source.transposed && Info(whole.dtype).block_elements != 1) {
      return Wrong(checkpoint, whole, ErrorCode::kUnsupported,
                   fmt::format("is stored in blocks ({}) and transposed, which is not supported; want F32, F16 or BF16",
                               Info(whole.dtype).name));
    }
    out.push_back(PartOf(whole, *split, description.tensors[split->tensor]));
  }
  return {};
}

// The rows of a part, as a matrix of its own.
EncodedMatrix RowsOf(const EncodedMatrixView& whole, RowRange rows, std::size_t count) {
  EncodedMatrix part(*whole.format, count, whole.cols);
  std::vector<std::uint32_t> codes(whole.cols);
  for (std::size_t row = 0; row < count; ++row) {
    const std::size_t from = rows.At(row);
    GetCodes(whole, from, 0, codes);
    SetCodes(part, row, 0, codes);
    for (std::size_t g = 0; g < whole.groups(); ++g) SetParams(part, row, g, GetParams(whole, from, g));
  }
  return part;
}

// The tensors of an encoded matrix that this program made, whose bytes the checkpoint keeps.
void AddMade(const std::string& stem, EncodedMatrix matrix, Checkpoint& checkpoint, std::vector<Tensor>& out) {
  const auto shape = EncodedShapeBytes(matrix.rows, matrix.cols);
  for (const EncodedTensor& part : EncodedTensors(stem, *matrix.format, matrix.rows, matrix.cols)) {
    std::vector<std::uint8_t> bytes(shape.begin(), shape.end());
    if (part.bytes != nullptr) {
      bytes = std::move(matrix.*std::ranges::find(kEncodedParts, part.bytes, &EncodedPart::borrowed)->owned);
    }
    checkpoint.made.push_back(std::make_shared<const std::vector<std::uint8_t>>(std::move(bytes)));
    out.push_back({part.tensor.name, part.tensor.dtype, part.tensor.shape, *checkpoint.made.back(), {}});
  }
}

// A quantized matrix that the files of another program hold whole.
Status SplitEncoded(Checkpoint& checkpoint, const Description& description, const std::string& name,
                    const std::vector<const SplitTensor*>& splits) {
  const std::string stem = StemOf(name);
  const auto whole = FindEncoded(checkpoint, stem);
  if (!whole) return whole.error();
  std::vector<Tensor> tensors;
  for (const SplitTensor* split : splits) {
    const std::vector<std::size_t> shape = {whole->rows, whole->cols};
    if (shape != split->stored.shape || split->source.transposed || split->source.expert) {
      return Error{ErrorCode::kInput,
                   fmt::format("{}: {} is quantized with the shape [{}], the configuration wants [{}] in {} order",
                               checkpoint.path.string(), stem, fmt::join(shape, ", "),
                               fmt::join(split->stored.shape, ", "), split->source.transposed ? "another" : "this")};
    }
    const StoredTensor& part = description.tensors[split->tensor];
    AddMade(StemOf(part.name), RowsOf(*whole, split->source.rows, part.shape[0]), checkpoint, tensors);
    NameFormat(checkpoint.config, StemOf(part.name), whole->format->info.name);
  }
  for (Tensor& tensor : checkpoint.tensors) {
    if (StemOfEncoded(tensor.name) != stem) tensors.push_back(std::move(tensor));
  }
  checkpoint.Replace(std::move(tensors));
  return {};
}

}  // namespace

Status SplitTensors(Checkpoint& checkpoint, const Description& description) {
  SplitsByTensor splits, encoded;
  for (const SplitTensor& split : description.splits) {
    if (HasPart(checkpoint, description.tensors[split.tensor].name)) continue;
    if (IsEncoded(checkpoint, split.stored.name)) {
      encoded[split.stored.name].push_back(&split);
      continue;
    }
    if (const auto whole = checkpoint.Get(split.stored.name); !whole) return whole.error();
    splits[split.stored.name].push_back(&split);
  }
  for (const auto& [name, parts] : encoded) {
    if (auto status = SplitEncoded(checkpoint, description, std::string(name), parts); !status) return status;
  }
  if (splits.empty()) return {};
  std::vector<Tensor> tensors;
  for (Tensor& tensor : checkpoint.tensors) {
    const auto found = splits.find(tensor.name);
    if (found == splits.end()) {
      tensors.push_back(std::move(tensor));
    } else if (auto status = AddParts(checkpoint, description, tensor, found->second, tensors); !status) {
      return status;
    }
  }
  checkpoint.Replace(std::move(tensors));
  return {};
}

}  // namespace marlin
