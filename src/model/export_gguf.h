// Writes a model as GGUF, and compares a GGUF file with the model that it was made of.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/progress.h"
#include "base/result.h"
#include "files/hf_to_gguf.h"
#include "model/open_model.h"
#include "text/tokenizer.h"

namespace marlin {

struct GgufExportOptions {
  std::optional<DType> type;         // of matrices: F32, F16 or BF16; empty = what the source has
  std::uint64_t max_part_bytes = 0;  // 0 = one file
  bool overwrite = false;
  std::string program;        // version, for the file's provenance
  std::string source_sha256;  // of the model
};

// A file that is ready to be written: what its reader will be told was read back already and is the same model.
struct GgufExport {
  GgufModel model;
  std::vector<std::string> notes;  // what the file cannot say; nothing that changes the model
  std::uint64_t tensor_bytes = 0;
};

// `tokenizer` may be null: the file then has none. The source may be quantized: its codes and scales stay as they are.
// Writes nothing. Errors: kUnsupported (a setting, a tensor, a format or a tokenizer that GGUF does not hold), naming
// it and the ways out; kInput.
Result<GgufExport> PlanGguf(const OpenedModel& source, const Tokenizer* tokenizer, const GgufExportOptions& options);

struct GgufWritten {
  std::vector<std::filesystem::path> files;
  std::uint64_t bytes = 0;
};

// Writes the file, or its parts. Errors: kInput (it exists, a place that cannot be written), kResource (the disk is too
// small, asked before the first byte), kNumerical (a number that F16 does not hold: names tensor, row and value),
// kInterrupted.
Result<GgufWritten> WriteGguf(const OpenedModel& source, const GgufExport& plan, const std::filesystem::path& path,
                              const GgufExportOptions& options, const ProgressFn& progress);

// Whether both give the same tokens of the built-in text and put the same token in front. Errors: `code`, naming
// `where`.
Status CompareTokenizers(const Tokenizer& own, const Tokenizer& other, const std::string& where, ErrorCode code);

struct GgufComparison {
  std::size_t tensors = 0;
  std::uint64_t weights = 0;
  std::uint64_t rounded = 0;  // weights that the file's type does not hold exactly; they are the nearest it has
};

// Compares every number of `file` (opened from `path`) with the source, rounded to the file's type: bit for bit. Norms
// that GGUF keeps + 1 are compared as they are kept. Errors: kCorrupt (a difference: names the tensor, row, got, want),
// kInterrupted, those of reading.
Result<GgufComparison> CompareTensors(const OpenedModel& source, const std::filesystem::path& path,
                                      const ProgressFn& progress);

}  // namespace marlin
