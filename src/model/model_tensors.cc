#include "model/model_tensors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <string>
#include <unordered_set>
#include <vector>

#include "base/progress.h"
#include "files/quantized_layout.h"

namespace marlin {
namespace {

// Tensors of published checkpoints that no model reads: what was computed from the configuration and saved.
struct HarmlessTensor {
  std::string_view ending;  // from a dot on
  bool is_mask;             // only truth values or a square: under the same name, a vector could be a bias
};

constexpr std::array kHarmless = {
    HarmlessTensor{".rotary_emb.inv_freq", false},  // frequencies of rotary positions
    HarmlessTensor{".rotary_emb.original_inv_freq", false},
    HarmlessTensor{".rotary_emb.cos_cached", false},
    HarmlessTensor{".rotary_emb.sin_cached", false},
    HarmlessTensor{".position_ids", false},      // 0, 1, 2, ...
    HarmlessTensor{".attn.masked_bias", false},  // what masked scores are set to
    HarmlessTensor{".self_attn.masked_bias", false},
    HarmlessTensor{".attention.masked_bias", false},
    HarmlessTensor{".attn.bias", true},  // causal masks
    HarmlessTensor{".attention.bias", true},
    HarmlessTensor{".self_attn.bias", true},
    HarmlessTensor{".self_attn.causal", true},
    HarmlessTensor{".self_attn.causal_mask", true},
    HarmlessTensor{".causal_mask", true},
    HarmlessTensor{".attention_mask", true},
};

// Parts of published models that this program does not run: heads that predict several tokens at once.
constexpr std::array kLeftOutBeginnings = {std::string_view("mtp.")};

bool IsHarmless(const Tensor& tensor) {
  if (std::ranges::any_of(kLeftOutBeginnings, [&](std::string_view b) { return tensor.name.starts_with(b); }))
    return true;
  const bool square =
      tensor.shape.size() == 4 && tensor.shape[0] == 1 && tensor.shape[1] == 1 && tensor.shape[2] == tensor.shape[3];
  const bool is_mask = tensor.dtype == DType::kBool || tensor.dtype == DType::kU8 || square;
  return std::ranges::any_of(kHarmless, [&](const HarmlessTensor& row) {
    return tensor.name.ends_with(row.ending) && (is_mask || !row.is_mask);
  });
}

}  // namespace

Result<bool> SameValues(const Tensor& a, const Tensor& b) {
  if (a.rows() != b.rows() || a.cols() != b.cols()) return false;
  if (a.dtype == b.dtype && a.IsPlain() && b.IsPlain()) {
    return std::ranges::equal(a.bytes, b.bytes);
  }
  std::vector<float> x(a.cols());
  std::vector<float> y(a.cols());
  for (std::size_t row = 0; row < a.rows(); ++row) {
    if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted"};
    if (auto status = DecodeRows(a, row, {x.data(), 1, x.size()}); !status) return status.error();
    if (auto status = DecodeRows(b, row, {y.data(), 1, y.size()}); !status) return status.error();
    if (x != y) return false;
  }
  return true;
}

namespace {

// A tied model whose files also hold a head: a copy has no effect. Another head would be used by some programs.
Status CheckTiedHead(const Checkpoint& checkpoint, const std::string& embedding_stem, const Tensor& head) {
  const Tensor* embedding = checkpoint.Find(WeightName(embedding_stem));
  if (embedding == nullptr) return {};  // reported as missing
  const std::string head_name = checkpoint.NameInFiles(head.name);
  const auto same = SameValues(head, *embedding);
  if (!same) return Error{same.error().code, fmt::format("{}: {}", checkpoint.path.string(), same.error().message)};
  if (*same) return {};
  return Error{
      ErrorCode::kUnsupported,
      fmt::format("{}: tensor {} differs from {}, and \"tie_word_embeddings\" in config.json says that the "
                  "head is the embedding; set it to false to use the tensor{}",
                  checkpoint.path.string(), head_name, checkpoint.NameInFiles(embedding->name), WayOut(head_name))};
}

std::unordered_set<std::string> UsedNames(const Checkpoint& checkpoint, const Description& description) {
  std::unordered_set<std::string> used;
  for (const StoredTensor& tensor : description.tensors) used.insert(tensor.name);
  for (const Parts* parts : AllParts(description)) {
    for (const Matrix& matrix : parts->matrices) {
      if (checkpoint.Find(matrix.name + std::string(kPackedSuffix)) == nullptr) continue;
      // weight_g_idx is refused where the weight is read.
      for (const std::string_view suffix : kEncodedSuffixes) used.insert(matrix.name + std::string(suffix));
      used.insert(matrix.name + ".weight_g_idx");
    }
  }
  return used;
}

}  // namespace

Result<StoredWeight> FindMatrix(const Checkpoint& checkpoint, const Matrix& wanted) {
  auto stored = FindWeight(checkpoint, wanted.name);
  if (!stored || (stored->rows == wanted.rows && stored->cols == wanted.cols)) return stored;
  return Error{ErrorCode::kInput, fmt::format("{}: tensor {} has shape [{}, {}], the configuration wants [{}, {}]",
                                              checkpoint.path.string(), checkpoint.NameInFiles(WeightName(wanted.name)),
                                              stored->rows, stored->cols, wanted.rows, wanted.cols)};
}

Result<const Tensor*> FindVector(const Checkpoint& checkpoint, const std::string& name, std::size_t size) {
  const auto tensor = checkpoint.Get(name);
  if (!tensor || ((*tensor)->rows() == 1 && (*tensor)->cols() == size)) return tensor;
  return Error{ErrorCode::kInput,
               fmt::format("{}: tensor {} has shape [{}], the configuration wants [{}]", checkpoint.path.string(),
                           checkpoint.NameInFiles(name), fmt::join((*tensor)->shape, ", "), size)};
}

Status CheckTensors(Checkpoint& checkpoint, const Description& description) {
  for (const Parts* parts : AllParts(description)) {
    for (const Vector& vector : parts->vectors) {
      const std::string& name = description.NameOf(vector.source);
      if (const auto found = FindVector(checkpoint, name, vector.size); !found) return found.error();
    }
    for (const Matrix& matrix : parts->matrices) {
      if (const auto found = FindMatrix(checkpoint, matrix); !found) return found.error();
      if (!matrix.bias) continue;
      const std::string& bias = description.NameOf(*matrix.bias);
      if (const auto found = FindVector(checkpoint, bias, matrix.rows); !found) return found.error();
    }
  }
  const auto used = UsedNames(checkpoint, description);
  for (const Tensor& tensor : checkpoint.tensors) {
    if (used.contains(tensor.name) || description.unused.contains(tensor.name) || IsHarmless(tensor)) continue;
    if (checkpoint.accepted.Accept(checkpoint.NameInFiles(tensor.name))) continue;
    if (description.tied_head() && tensor.name == WeightName(description.head_name)) {
      const std::string& embedding = description.matrices[description.embedding].name;
      if (auto status = CheckTiedHead(checkpoint, embedding, tensor); !status) return status;
      continue;
    }
    const std::string name = checkpoint.NameInFiles(tensor.name);
    return Error{ErrorCode::kUnsupported,
                 fmt::format("{}: tensor {} ({} [{}]) has no place in a {} with this config.json{}",
                             checkpoint.path.string(), name, Info(tensor.dtype).name, fmt::join(tensor.shape, ", "),
                             description.architecture, WayOut(name))};
  }
  checkpoint.LeaveOut([&](const Tensor& tensor) { return !used.contains(tensor.name); });
  return {};
}

}  // namespace marlin
