// For tests: the page of some records.
#pragma once

#include <string>
#include <vector>

#include "records/analysis.h"
#include "report/page.h"

namespace marlin {

inline std::string PageOf(const std::vector<StoredRecord>& records, const PageOptions& options = {}) {
  return RenderPage(Analyze(records), options);
}

}  // namespace marlin
