// Quantizes a model tensor by tensor into a folder. Memory is bounded by the largest tensor, or by one layer in fp32
// where whole layers are made (calibration walk, channel scaling).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/progress.h"
#include "base/result.h"
#include "files/checkpoint.h"
#include "files/verify_folder.h"
#include "formats/format.h"
#include "model/description.h"
#include "quantize/clipped.h"
#include "quantize/layer_walk.h"
#include "quantize/method.h"
#include "quantize/model_statistics.h"
#include "quantize/precision_plan.h"

namespace marlin {

inline constexpr std::uint64_t kRotationSeed = 1;

struct QuantizeOptions {
  // Either one format, with groups, for every stem (StemsToQuantize), or one for each; stems that the map does not name
  // stay in 16 bits.
  const FormatRow* format = nullptr;
  const FormatMap* formats = nullptr;
  std::string plan_budget;     // of that plan, in words; provenance
  std::string plan_sha256;     // HashFormats of the plan that gave the map; provenance
  std::string method = "rtn";  // as ParseRecipe reads it
  std::uint64_t rotation_seed = kRotationSeed;
  // Statistics of the activations for the method: none; statistics of this model (CheckBelongs was asked); or a walk
  // over calibration windows, which `backend` runs and which is resumed layer by layer (kept in FOLDER.part until it is
  // done).
  const ModelStatistics* statistics = nullptr;
  const CalibrationWindows* calibration = nullptr;
  Backend* backend = nullptr;
  bool quantize_embeddings = false;
  bool quantize_head = false;
  // Which matrices may be quantized, by format and row length; the others stay in 16 bits. Empty: all.
  std::function<bool(const FormatInfo& format, std::size_t cols)> fits;
  bool overwrite = false;
  int threads = 0;            // 0 = all
  std::string source_sha256;  // empty = computed here
  std::string program;        // provenance
  std::string command;
};

// Sizes of a folder, from the bytes of its tensors.
struct StoredFormat {
  std::size_t tensors = 0;
  std::uint64_t weights = 0;
};

struct StoredSizes {
  std::uint64_t model_bytes = 0;
  std::uint64_t quantized_bytes = 0;  // codes, scales, zero points
  std::uint64_t quantized_parameters = 0;
  std::map<std::string, StoredFormat> formats;  // of the quantized tensors, by name
  double bits_per_weight() const {
    return quantized_parameters == 0
               ? 0
               : 8.0 * static_cast<double>(quantized_bytes) / static_cast<double>(quantized_parameters);
  }
};

// Peak bytes of quantizing over calibration windows, beside the files.
std::uint64_t QuantizingBytes(const Description& description, std::size_t windows, std::size_t ctx, MethodNeeds needs);

// Where the layers of an interrupted calibrated run wait for the same command: "FOLDER.part".
std::filesystem::path KeptLayersOf(const std::filesystem::path& folder);

// Errors: as OpenCheckpoint.
Result<StoredSizes> MeasureQuantizedFolder(const std::filesystem::path& folder);

// The stems that a configuration quantizes, in the order of the forward pass. Errors: kUsage (a head that is the
// embedding).
Result<std::vector<std::string>> StemsToQuantize(const Description& description, const QuantizeOptions& options);
// Stems and formats of either kind of options. Errors: as StemsToQuantize.
Result<FormatMap> FormatsToUse(const Description& description, const QuantizeOptions& options);

// Matrices whose rows the blocks of the wanted format do not divide: (wanted, its fallback) -> how many.
using FallbackCounts = std::map<std::pair<std::string_view, std::string_view>, std::size_t>;

struct QuantizeSummary {
  StoredSizes sizes;
  std::uint64_t fp16_bytes = 0;  // of the original: 2 bytes x parameters
  VerifiedFolder verified;       // the folder as it was read back
  FallbackCounts fallbacks;
  std::vector<std::string> kept;       // stems that stayed in 16 bits because of `fits`
  std::string rotated;                 // what of the model was rotated, in words; empty = nothing
  std::vector<ClippedTensor> clipped;  // tensors with numbers beyond the range of fp16
};

// Quantizes the 16-bit values of the model (Precision::kSixteenBit), writes the folder, reads it back and checks every
// hash, shape and format. The folder is written atomically. Errors: kInput (already quantized, missing tensors, folder
// exists), kUsage, kNumerical (NaN), kResource, kCorrupt, kUnsupported, kInterrupted.
Result<QuantizeSummary> QuantizeModel(const Checkpoint& checkpoint, const QuantizeOptions& options,
                                      const std::filesystem::path& folder, const ProgressFn& progress);

}  // namespace marlin
