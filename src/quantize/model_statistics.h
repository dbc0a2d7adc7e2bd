// Statistics of the inputs of all linear layers of a model on a calibration text, and their file: safetensors with a
// hash per tensor,
//
//   model.layers.3.self_attn.q_proj.input.sum_squares   F64 [k]     (q, k, v share this input; gate and up theirs)
//   model.layers.3.self_attn.q_proj.input.sum_abs       F64 [k]
//   model.layers.3.self_attn.q_proj.input.max_abs       F32 [k]
//   model.layers.3.self_attn.q_proj.input.gram          F32 [k, k]  sum of x x^T, upper triangle; only if it was kept
//   __metadata__                                        StatisticsSource, token counts
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/config.h"
#include "model/layer.h"
#include "quantize/statistics.h"

namespace marlin {

struct StatisticsSource {
  std::string model_sha256;  // HashCheckpoint
  std::string tokenizer_sha256;
  std::string text_name;    // joined by " + " when runs were merged
  std::string text_sha256;  // likewise
  std::size_t ctx = 0;
  std::size_t windows = 0;  // to be seen; fewer were when `seen` is less
  std::size_t seen = 0;
};

using LayerStatistics = std::array<InputStatistics, std::size(kInputs)>;  // in the order of kInputs

struct ModelStatistics {
  StatisticsSource source;
  std::vector<LayerStatistics> layers;

  bool has_gram() const { return !layers.empty() && !layers[0][0].gram.empty(); }
};

// Index of the input of `slot` in LayerStatistics.
std::size_t InputIndex(Slot slot);

// Bytes in memory of statistics of a model.
std::uint64_t StatisticsBytes(const ModelConfig& config, bool gram);

// The file is written atomically. Errors: kInput, kResource.
Status WriteStatistics(const ModelStatistics& statistics, const std::filesystem::path& file);

// Errors: kInput (not a file of statistics, tensors missing or of a wrong shape), kCorrupt (hash), kNumerical.
Result<ModelStatistics> ReadStatistics(const std::filesystem::path& file);

// Checks that they are statistics of this model. Errors: kInput (another model or tokenizer, layers that do not fit:
// says which).
Status CheckBelongs(const ModelStatistics& statistics, const ModelConfig& config, const std::string& model_sha256,
                    const std::string& tokenizer_sha256);

// Adds the statistics of another run of the same model. Errors: kInput (another model or tokenizer), kUsage (only one
// kept X^T X).
Status Merge(ModelStatistics& into, const ModelStatistics& from);

// Inputs with channels that no token ever reached: "model.layers.3.mlp.down_proj: 12 of 1536 channels".
std::vector<std::string> DescribeSilentChannels(const ModelStatistics& statistics);

}  // namespace marlin
