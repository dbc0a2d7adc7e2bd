// Records of a comparison's rows before anything is measured: everything that decides their numbers, and so their keys.
#pragma once

#include "records/record.h"
#include "study/comparison.h"
#include "text/eval_text.h"

namespace marlin {

// With the protocol of the perplexity, and of the divergence where the row has one, but without numbers.
Record QualityRecord(const ComparisonModel& model, const ComparisonOptions& options, const EvalText& text,
                     const ComparisonRow& row);

// Of the baseline: how it is computed with other kernels.
Record FloorRecord(const ComparisonModel& model, const ComparisonOptions& options, const EvalText& text);

// With the protocols of the timing, but without samples.
Record SpeedRecord(const ComparisonModel& model, const ComparisonOptions& options, const ComparisonRow& row);

// Whether the results folder holds a whole record of this name and key.
bool IsRecorded(const std::filesystem::path& results, const Record& record);

}  // namespace marlin
