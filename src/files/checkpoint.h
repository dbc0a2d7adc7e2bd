// A model on disk: a Hugging Face folder (safetensors, sharded or not, also one made by quantize) or one GGUF file.
// Tensor names and configuration keys are those of Hugging Face. Those of a GGUF file are translated here and nowhere
// else.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/mapped_file.h"
#include "base/progress.h"
#include "base/result.h"
#include "files/accepted_names.h"
#include "files/tensor.h"
#include "formats/encoded_matrix.h"

namespace marlin {

struct GgufFileType;

enum class Container { kSafetensors, kGguf };

struct Checkpoint {
  std::filesystem::path path;  // folder, or GGUF file
  std::string name;            // for people: folder name, or the GGUF's file name without its ending
  Container container = Container::kSafetensors;
  nlohmann::json config;          // config.json, or the same keys made from GGUF metadata
  std::vector<Tensor> tensors;    // in file order
  std::vector<MappedFile> files;  // what the spans of `tensors` point into
  // Or into these: bytes that the files hold in another layout (folder_reader.h).
  std::vector<std::shared_ptr<const std::vector<std::uint8_t>>> made;
  std::unordered_map<std::string, std::size_t> index;  // name -> position in tensors
  const GgufFileType* file_type = nullptr;             // that a GGUF file names
  AcceptedNames accepted;             // keys and tensors that this program does not know; results name them
  std::vector<std::string> left_out;  // tensors of the files that have no effect and are not in `tensors`

  std::function<std::string(std::string_view)> name_in_files;  // empty = names are those of the files

  const Tensor* Find(std::string_view tensor_name) const;
  // The name that the files give a tensor of this name, or would give it; for messages.
  std::string NameInFiles(std::string_view tensor_name) const;
  // Errors: kInput (missing: names file and tensor).
  Result<const Tensor*> Get(std::string_view tensor_name) const;
  void Replace(std::vector<Tensor> all);
  // MappedFile::Forget of its bytes.
  void Forget(const Tensor& tensor) const;
  // Takes out the tensors for which `leave_out` holds.
  void LeaveOut(const std::function<bool(const Tensor&)>& leave_out);
};

// What else may name a model, for messages about one that is not there.
inline constexpr const char* kPulledModel = "ORG/MODEL after `metal-marlin pull ORG/MODEL`";

// The most bytes that a config.json may have; real ones have a few thousand.
inline constexpr std::size_t kMaxConfigBytes = std::size_t{1} << 24;

// A checkpoint of the folder `path` from the text of its config.json, without tensors yet. Errors: kInput (no JSON
// object, a quantization that makes no sense), kUnsupported (another program's quantization).
Result<Checkpoint> CheckpointOfConfig(std::string_view config_json, const std::filesystem::path& path,
                                      AcceptedNames accepted = {});

// Asked about the configuration of a folder before its weights are looked for.
using ConfigCheck = Status (*)(const Checkpoint& without_tensors);

// Errors: kInput (missing, truncated, overlapping, wrong type; each names file and tensor), kUnsupported
// (block type or container version this program does not read, another program's quantization, and what is unknown and
// not accepted in GGUF metadata), that of `check`. Hashes are not checked here: VerifyFolder does that. Whether the
// tensors are those of the model is not checked either: OpenModel (model/open_model.h) does that.
Result<Checkpoint> OpenCheckpoint(const std::filesystem::path& path, AcceptedNames accepted = {},
                                  ConfigCheck check = nullptr);

// The weight `stem + ".weight"`: as a plain tensor, or as an encoded matrix when the checkpoint is quantized by us or
// in the compressed-tensors layout (`stem + ".weight_packed"`, ".weight_scale", ".weight_zero_point", ".weight_shape").
struct StoredWeight {
  const Tensor* tensor = nullptr;            // set when plain
  std::optional<EncodedMatrixView> encoded;  // set when quantized
  std::size_t rows = 0;
  std::size_t cols = 0;
};

// Errors: kInput when the tensor is missing or its parts contradict each other, kUnsupported for other layouts.
Result<StoredWeight> FindWeight(const Checkpoint& checkpoint, std::string_view stem);

// SHA-256 over every file of the checkpoint that decides its numbers (config, weights, tokenizer), in name order.
// Errors: kInput, kInterrupted.
Result<std::string> HashCheckpoint(const Checkpoint& checkpoint);

// How most of the weights are stored: "BF16", "F32", "Q4_1", "fp4-g128", ... (by elements, 2-d tensors, embedding and
// head left out).
std::string WeightType(const Checkpoint& checkpoint);

// What people call the types of the weights: the name of a GGUF file's mixture ("Q4_K_M"), if some weights are of its
// type; "mixed (fp4-g32 + int4-g64)" of a folder with several formats; else WeightType.
std::string SourceType(const Checkpoint& checkpoint);

// Whether some of its weights are stored in blocks that share scales, so that a loss cannot be recovered.
bool IsQuantizedSource(const Checkpoint& checkpoint);

}  // namespace marlin
