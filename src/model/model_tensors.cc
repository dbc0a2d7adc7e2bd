#include "model/model_tensors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <unordered_set>
#include <vector>

#include "base/progress.h"
#include "io/quantized_layout.h"

namespace marlin {
namespace {

// Tensors of published checkpoints that no model reads: what was computed from the configuration and saved.
struct HarmlessTensor {
  std::string_view ending;  // from a dot on
  bool is_mask;             // only as truth values: under the same name, numbers could be a bias
};

constexpr std::array kHarmless = {
    HarmlessTensor{".rotary_emb.inv_freq", false},  // frequencies of rotary positions
    HarmlessTensor{".rotary_emb.original_inv_freq", false},
    HarmlessTensor{".rotary_emb.cos_cached", false},
    HarmlessTensor{".rotary_emb.sin_cached", false},
    HarmlessTensor{".position_ids", false},      // 0, 1, 2, ...
    HarmlessTensor{".attn.masked_bias", false},  // what masked scores are set to
    HarmlessTensor{".self_attn.masked_bias", false},
    HarmlessTensor{".attn.bias", true},  // causal masks
    HarmlessTensor{".self_attn.bias", true},
    HarmlessTensor{".self_attn.causal", true},
    HarmlessTensor{".self_attn.causal_mask", true},
    HarmlessTensor{".causal_mask", true},
    HarmlessTensor{".attention_mask", true},
};

bool IsHarmless(const Tensor& tensor) {
  const bool truth = tensor.dtype == DType::kBool || tensor.dtype == DType::kU8;
  return std::ranges::any_of(kHarmless, [&](const HarmlessTensor& row) {
    return tensor.name.ends_with(row.ending) && (truth || !row.is_mask);
  });
}

// Whether two matrices hold the same numbers. Errors: those of reading.
Result<bool> SameValues(const Tensor& a, const Tensor& b) {
  if (a.rows() != b.rows() || a.cols() != b.cols()) return false;
  if (a.dtype == b.dtype && !a.row_order.rotary_heads && !b.row_order.rotary_heads) {
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

// A tied model whose files also hold a head: a copy has no effect. Another head would be used by some programs.
Status CheckTiedHead(const Checkpoint& checkpoint, const Tensor& head) {
  const Tensor* embedding = checkpoint.Find(WeightName(kEmbeddingStem));
  if (embedding == nullptr) return {};  // reported as missing
  const auto same = SameValues(head, *embedding);
  if (!same) return Error{same.error().code, fmt::format("{}: {}", checkpoint.path.string(), same.error().message)};
  if (*same) return {};
  return Error{ErrorCode::kUnsupported,
               fmt::format("{}: tensor {} differs from {}{}, and \"tie_word_embeddings\" in config.json says that the "
                           "head is the embedding; set it to false to use the tensor{}",
                           checkpoint.path.string(), head.name, kEmbeddingStem, kWeightSuffix, WayOut(head.name))};
}

std::unordered_set<std::string> UsedNames(const Checkpoint& checkpoint, const ModelConfig& config) {
  std::unordered_set<std::string> used;
  const auto add = [&](const ModelTensor& tensor) -> Status {
    if (!tensor.is_matrix) {
      used.insert(tensor.name);
      return {};
    }
    used.insert(WeightName(tensor.name));
    if (checkpoint.Find(tensor.name + std::string(kPackedSuffix)) == nullptr) return {};
    // weight_g_idx is refused where the weight is read.
    for (const std::string_view suffix :
         {kPackedSuffix, kScaleSuffix, kZeroPointSuffix, kShapeSuffix, std::string_view(".weight_g_idx")}) {
      used.insert(tensor.name + std::string(suffix));
    }
    return {};
  };
  const Status status = ForEachTensor(config, add);
  MARLIN_CHECK(status.ok(), "adding a name cannot fail");
  return used;
}

Status CheckMatrix(const Checkpoint& checkpoint, const ModelTensor& wanted) {
  const auto stored = FindWeight(checkpoint, wanted.name);
  if (!stored) return stored.error();
  if (stored->rows == wanted.rows && stored->cols == wanted.cols) return {};
  return Error{
      ErrorCode::kInput,
      fmt::format("{}: tensor {}.weight has shape [{}, {}], the configuration wants [{}, {}]", checkpoint.path.string(),
                  wanted.name, stored->rows, stored->cols, wanted.rows, wanted.cols)};
}

Status CheckVector(const Checkpoint& checkpoint, const ModelTensor& wanted) {
  const Tensor* tensor = checkpoint.Find(wanted.name);
  if (tensor == nullptr) {
    return Error{ErrorCode::kInput, fmt::format("{}: tensor {} is missing", checkpoint.path.string(), wanted.name)};
  }
  if (tensor->rows() == 1 && tensor->cols() == wanted.cols) return {};
  return Error{ErrorCode::kInput,
               fmt::format("{}: tensor {} has shape [{}, {}], the configuration wants [{}]", checkpoint.path.string(),
                           wanted.name, tensor->rows(), tensor->cols(), wanted.cols)};
}

}  // namespace

Status ForEachTensor(const ModelConfig& config, const std::function<Status(const ModelTensor&)>& visit) {
  if (auto status = visit({kEmbeddingStem, true, config.vocab_size, config.hidden_size}); !status) return status;
  for (std::size_t layer = 0; layer < config.layers; ++layer) {
    for (const Norm norm : {kAttentionNorm, kMlpNorm}) {
      if (auto status = visit({NormName(layer, norm), false, 1, config.hidden_size}); !status) return status;
    }
    for (std::size_t s = 0; s < kSlots; ++s) {
      const Slot slot = static_cast<Slot>(s);
      const std::string stem = LinearStem(layer, slot);
      const std::size_t rows = kLinearSlots[s].rows(config);
      if (auto status = visit({stem, true, rows, kLinearSlots[s].cols(config)}); !status) return status;
      if (!config.HasBias(layer, slot)) continue;
      if (auto status = visit({stem + ".bias", false, 1, rows}); !status) return status;
    }
  }
  if (auto status = visit({kFinalNormName, false, 1, config.hidden_size}); !status) return status;
  return config.tied_head ? Status() : visit({kHeadStem, true, config.vocab_size, config.hidden_size});
}

Status CheckTensors(Checkpoint& checkpoint, const ModelConfig& config) {
  const auto check = [&](const ModelTensor& tensor) {
    return tensor.is_matrix ? CheckMatrix(checkpoint, tensor) : CheckVector(checkpoint, tensor);
  };
  // First, as its first missing tensor ends the walk: a configuration may promise more layers than memory can list.
  if (auto status = ForEachTensor(config, check); !status) return status;
  const auto used = UsedNames(checkpoint, config);
  for (const Tensor& tensor : checkpoint.tensors) {
    if (used.contains(tensor.name) || IsHarmless(tensor) || checkpoint.accepted.Accept(tensor.name)) continue;
    if (config.tied_head && tensor.name == WeightName(kHeadStem)) {
      if (auto status = CheckTiedHead(checkpoint, tensor); !status) return status;
      continue;
    }
    return Error{ErrorCode::kUnsupported,
                 fmt::format("{}: tensor {} ({} [{}]) has no place in a {} with this config.json{}",
                             checkpoint.path.string(), tensor.name, Info(tensor.dtype).name,
                             fmt::join(tensor.shape, ", "), config.architecture, WayOut(tensor.name))};
  }
  checkpoint.LeaveOut([&](const Tensor& tensor) { return !used.contains(tensor.name); });
  return {};
}

}  // namespace marlin
