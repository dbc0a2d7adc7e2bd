// State of an incomplete row in the work folder: its record so far, and its quantized model.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "records/record.h"
#include "study/comparison.h"

namespace marlin {

inline constexpr const char* kQuantizedStage = "quantized";  // in ComparisonRow::done

std::filesystem::path RowStatePath(const std::filesystem::path& work, const ComparisonRow& row);
// Of a row that is quantized here; the folder appears whole.
std::filesystem::path RowModelPath(const std::filesystem::path& work, const ComparisonRow& row);

// Empty when there is none, or it cannot be read, or it is not this row's: then the row is measured from the start.
std::optional<Record> LoadRowState(const std::filesystem::path& work, const ComparisonRow& row);

// Fills in `done` of the rows of one model. Rows are timed interleaved: their timing is done when that of all rows is.
void FindWorkDone(const std::filesystem::path& work, std::vector<ComparisonRow>& rows);

}  // namespace marlin
