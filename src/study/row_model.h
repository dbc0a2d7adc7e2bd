// The model of a comparison's row on disk and in memory.
#pragma once

#include "base/progress.h"
#include "base/result.h"
#include "model/model.h"
#include "records/record.h"
#include "study/comparison.h"

namespace marlin {

// Where a row's model is read from: a folder of the work folder, or the model itself.
std::filesystem::path ModelPath(const ComparisonModel& model, const ComparisonOptions& options,
                                const ComparisonRow& row);

// Quantizes the row if its folder is not there, or damaged. Fills in the sizes. Errors: those of QuantizeModel.
Status EnsureModel(const ComparisonModel& model, const ComparisonOptions& options, const ComparisonTools& tools,
                   const ComparisonRow& row, record::Size& size);

// Onto `backend`. Errors: those of EnsureModel and LoadModel.
Result<Model> LoadRow(const ComparisonModel& model, const ComparisonOptions& options, const ComparisonTools& tools,
                      const ComparisonRow& row, Backend& backend, record::Size& size);

// Deletes the row's folder unless the user keeps models.
void DropModel(const ComparisonOptions& options, const ComparisonRow& row);

std::string RowLabel(const ComparisonModel& model, const ComparisonRow& row);  // "minnow fp4-g128"

// Kernels that the model's matrices use.
std::vector<std::string> KernelNames(const Model& model);

}  // namespace marlin
