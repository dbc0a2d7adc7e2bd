// Compares what export wrote with its source: settings, numbers, tokens. The command check-export adds the logits.
#pragma once

#include <cstdint>
#include <string>

#include "base/progress.h"
#include "base/result.h"
#include "model/open_model.h"

namespace marlin {

struct ComparedExport {
  std::size_t tensors = 0;
  std::uint64_t weights = 0;
  std::uint64_t rounded = 0;  // of the numbers, as the type of the export rounds them
  bool tokenizer = false;     // both have one

  std::string DescribeTensors() const;  // "74, 123 weights, each bit for bit"
};

// `name`: of the written model, for messages. Errors: kCorrupt (the first difference), those of reading either.
Result<ComparedExport> CompareExport(const OpenedModel& source, const OpenedModel& written, const std::string& name,
                                     const ProgressFn& progress);

Error ExportDiffers(const std::string& name, const std::string& what);

}  // namespace marlin
