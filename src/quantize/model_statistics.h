// Statistics of the inputs of all blocks of a model on a calibration text, and their file: safetensors with a
// hash per tensor,
//
//   model.layers.3.mlp.down_proj.input.sum_squares   F64 [k]     (named after the first matrix that reads the input)
//   model.layers.3.mlp.down_proj.input.sum_abs       F64 [k]
//   model.layers.3.mlp.down_proj.input.max_abs       F32 [k]
//   model.layers.3.mlp.down_proj.input.gram          F32 [k, k]  sum of x x^T, upper triangle; only if it was kept
//   __metadata__                                     StatisticsSource, token counts
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/description.h"
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
  std::string arithmetic = {};  // Device::arithmetic of what gathered them; joined by " + " when runs were merged
};

struct ModelStatistics {
  StatisticsSource source;
  std::vector<std::vector<std::string>> names;  // of the first matrix of each input
  std::vector<BlockStatistics> blocks;

  bool has_gram() const { return !blocks.empty() && !blocks[0].empty() && !blocks[0][0].gram.empty(); }
};

// The names of a model's inputs, block by block.
std::vector<std::vector<std::string>> InputNames(const Description& description);

// Bytes in memory of statistics of a model, and of the largest block.
std::uint64_t StatisticsBytes(const Description& description, bool gram);
std::uint64_t LargestBlockStatistics(const Description& description, bool gram);

// The file is written atomically. Errors: kInput, kResource.
Status WriteStatistics(const ModelStatistics& statistics, const std::filesystem::path& file);

// Statistics of a whole model that a device gathers.
class ModelGatherer {
 public:
  // Continues from `so_far`. The backend outlives it.
  ModelGatherer(Backend& backend, bool gram, ModelStatistics so_far);

  // The next x of an input. Errors: as StatisticsGatherer::Add, naming the window and the input.
  Status Add(std::size_t block, std::size_t input, const DeviceTensor& x);
  void EndWindow() { ++moments_.source.seen; }

  const StatisticsSource& source() const { return moments_.source; }
  // As WriteStatistics of what was gathered so far. Copies one input at a time from the device.
  Status Write(const std::filesystem::path& file);
  // Everything; its memory on the device is freed input by input. Errors: those of the device.
  Result<ModelStatistics> Finish() &&;

 private:
  ModelStatistics moments_;  // no statistics, but for Write
  std::vector<std::vector<StatisticsGatherer>> blocks_;
};

// Errors: kInput (not a file of statistics, tensors missing or of a wrong shape), kCorrupt (hash), kNumerical.
Result<ModelStatistics> ReadStatistics(const std::filesystem::path& file);

// Checks that they are statistics of this model. Errors: kInput (another model or tokenizer, layers that do not fit:
// says which).
Status CheckBelongs(const ModelStatistics& statistics, const Description& description, const std::string& model_sha256,
                    const std::string& tokenizer_sha256);

// Adds the statistics of another run of the same model. Errors: kInput (another model or tokenizer), kUsage (only one
// kept X^T X).
Status Merge(ModelStatistics& into, const ModelStatistics& from);

// Inputs with channels that no token ever reached: "model.layers.3.mlp.down_proj: 12 of 1536 channels".
std::vector<std::string> DescribeSilentChannels(const ModelStatistics& statistics);

}  // namespace marlin
