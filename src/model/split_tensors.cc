#include "model/split_tensors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>
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

bool HasPart(const Checkpoint& checkpoint, const std::string& name) {
  if (checkpoint.Find(name) != nullptr) return true;
  if (!name.ends_with(kWeightSuffix)) return false;
  const std::string stem = name.substr(0, name.size() - kWeightSuffix.size());
  return checkpoint.Find(stem + std::string(kPackedSuffix)) != nullptr;
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

}  // namespace

Status SplitTensors(Checkpoint& checkpoint, const Description& description) {
  SplitsByTensor splits;
  for (const SplitTensor& split : description.splits) {
    if (HasPart(checkpoint, description.tensors[split.tensor].name)) continue;
    if (const auto whole = checkpoint.Get(split.stored.name); !whole) return whole.error();
    splits[split.stored.name].push_back(&split);
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
