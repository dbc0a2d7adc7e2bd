// Writes a quantized folder in the layout of another program, and compares such a folder with the one that it was made
// of. Codes, scales and zero points stay what they are: what a container does not hold without loss is refused.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/progress.h"
#include "base/result.h"
#include "files/quantized_checkpoint.h"
#include "model/open_model.h"

namespace marlin {

struct FolderExportOptions {
  FolderLayout layout = FolderLayout::kCompressedTensors;
  // MLX: F32, F16 or BF16, of scales, biases and all that is not quantized; empty = what the source has.
  std::optional<DType> type;
  std::string program;  // version, for the folder's provenance
};

// A weight of the folder: a tensor of the source, or several that the container stores as one.
struct FolderWeight {
  struct Part {
    RowRange rows;                  // of the whole
    const Tensor* plain = nullptr;  // or
    std::optional<EncodedMatrixView> encoded;
  };
  std::string name;                // as PlannedWeight's
  std::vector<std::size_t> shape;  // of the whole
  std::vector<Part> parts;
};

struct FolderExport {
  QuantizedPlan plan;
  std::vector<FolderWeight> weights;  // those of the plan
  std::vector<std::string> notes;     // what a reader has to know; nothing that changes the folder
};

// Why a folder that is rotated while it runs has no place in `container`.
Error RotatedWhileItRuns(const OpenedModel& source, const std::string& rotation, std::string_view container);

// Writes nothing. The caller may add what it knows of the source to plan.made["exported"]. The source outlives the
// result. Errors: kUnsupported (not quantized, rotated while it runs, a format or a shape that the container does not
// hold, numbers that its type does not hold: each names the tensor and the ways out), kNumerical (a number that F16
// does not hold), kInput, kInterrupted.
Result<FolderExport> PlanFolder(const OpenedModel& source, const FolderExportOptions& options);

struct FolderWritten {
  std::size_t tensors = 0;  // of the files
  std::uint64_t bytes = 0;  // of them
};

// Errors: those of QuantizedWriter, kInterrupted.
Result<FolderWritten> WriteFolder(const FolderExport& plan, const std::filesystem::path& path, bool overwrite,
                                  const ProgressFn& progress);

struct FolderComparison {
  std::size_t tensors = 0;    // of the source
  std::uint64_t weights = 0;  // numbers, quantized ones among them
  std::uint64_t rounded = 0;  // numbers that the folder's type does not hold exactly; they are the nearest it has
};

// Every code, scale and zero point, and every other number, bit for bit. Errors: kCorrupt (names the tensor, row, got,
// want), kInterrupted, those of reading.
Result<FolderComparison> CompareFolders(const OpenedModel& source, const OpenedModel& written,
                                        const ProgressFn& progress);

}  // namespace marlin
