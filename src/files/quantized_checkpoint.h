// Writes a quantized model as a Hugging Face style folder: config.json with a "quantization_config", safetensors with a
// hash per tensor, the tokenizer's files, and SHA256SUMS over all of them. How an encoded matrix becomes tensors is
// defined in quantized_layout.h; VerifyFolder (verify_folder.h) checks the result.
//
// quantization_config:
//   quant_method    "compressed-tensors" when every quantized matrix is INT4 and its group divides its rows, so that
//                   other programs load the folder, and in that layout; then format, config_groups, ignore, ... as that
//                   library spells them. "mlx" in MLX's layout, whose programs read the key "quantization" beside it.
//                   Otherwise "metal-marlin".
//   metal_marlin    always: layout (the version of this description), method, calibration (null without), rotation
//                   {seed, heads, residual} (null without), plan {stem: format}, plan_sha256 and plan_budget (of a
//                   mixed plan), source, program, command, accepted_unknown (keys and tensors of the source that have
//                   no effect here), exported (of a folder for other programs: program and sha256 of the quantized
//                   folder that it was made of)
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "files/folder_layout.h"
#include "files/safetensors_writer.h"
#include "formats/encoded_matrix.h"

namespace marlin {

inline constexpr int kQuantizedLayoutVersion = 1;

// One weight of the folder to be written, under the stem of its name: an encoded matrix; or, with format == nullptr, a
// plain tensor under its whole name.
struct PlannedWeight {
  std::string name;
  const FormatRow* format = nullptr;  // one that has groups
  DType dtype = DType::kF16;          // of a plain tensor
  std::vector<std::size_t> shape;     // of the matrix [rows, cols], or of the plain tensor
};

// Where the model came from and what made the folder.
struct Provenance {
  std::string method = "rtn";
  std::string source_name;
  std::string source_container;  // "safetensors", "gguf"
  std::string source_type;       // SourceType
  std::string source_sha256;     // HashCheckpoint
  std::string program;           // "metal-marlin 0.1.0 (commit)"
  std::string command;
  nlohmann::json calibration{};  // {text, sha256, windows, ctx, walk}, or null
  std::string plan_sha256{};     // of the plan that gave each stem its format; empty = one format for all
  std::string plan_budget{};     // of that plan, in words: "4.25 bits per weight"; may be empty
  nlohmann::json rotation{};     // {seed, heads, residual}, or null
  std::vector<std::string> accepted_unknown{};  // keys and tensors of the source that the user accepted
};

struct QuantizedPlan {
  nlohmann::json config;               // of the source; a "quantization_config" in it is replaced
  std::vector<PlannedWeight> weights;  // in the order in which they will be written
  Provenance provenance;
  std::map<std::string, std::string> files;  // name -> text: tokenizer.json, tokenizer_config.json, ...
  std::uint64_t max_shard_bytes = SafetensorsWriter::kDefaultShardBytes;
  FolderLayout layout = FolderLayout::kOwn;
  DType number = DType::kF16;  // of MLX's scales and biases
  nlohmann::json made{};       // "metal_marlin" of the folder that is written in another layout; null: provenance
};

// Whether a folder may be made at this path. Errors: kInput (something is there and overwrite is false, or it is not
// what was written here).
Status CheckNewFolder(const std::filesystem::path& path, bool overwrite);

// The "quantization_config" of a plan.
nlohmann::json QuantizationConfig(const QuantizedPlan& plan);

// Bounded memory: what is given to Write is on its way to the disk when Write returns. The folder appears under its
// name when Commit succeeds, whole; before, nothing is visible and an existing folder stays as it is.
class QuantizedWriter {
 public:
  // Errors: kInput (the folder exists and overwrite is false or it holds what was not written here, a name twice, a
  // place that cannot be written), kResource (the disk is too small, asked before the first byte).
  static Result<QuantizedWriter> Create(const std::filesystem::path& path, bool overwrite, QuantizedPlan plan);

  // The next weight of the plan; a matrix in the canonical bytes, whatever the layout. Errors: kInput, kResource.
  Status Write(std::string_view stem, const EncodedMatrixView& matrix);
  Status Write(std::string_view name, std::span<const std::uint8_t> bytes);
  // After the last weight. Errors: kInput, kResource.
  Status Commit();

  // Of the files: their tensors and the bytes of them.
  std::size_t tensors() const { return tensors_; }
  std::uint64_t bytes() const { return bytes_; }

 private:
  QuantizedWriter(AtomicDir folder, QuantizedPlan plan, SafetensorsWriter writer);
  const PlannedWeight& Next(std::string_view name);

  AtomicDir folder_;
  QuantizedPlan plan_;
  SafetensorsWriter writer_;
  std::size_t tensors_ = 0;
  std::uint64_t bytes_ = 0;
  std::size_t next_ = 0;
};

}  // namespace marlin
