// The report of a folder of records: what `report generate` and `bench comparison --page` share.
#pragma once

#include <string>

#include "records/store.h"
#include "report/report.h"

namespace marlin {

inline constexpr const char* kDefaultResults = "./benchmarks/results/";
inline constexpr const char* kSortByPerplexity = "ppl";
inline constexpr const char* kSortByDivergence = "kl";

struct ReportArguments {
  std::string results = kDefaultResults;
  std::string output;  // folder of the pages; empty = that of the records
  std::string sort = kSortByPerplexity;
};

// The same records and arguments give the same pages, whichever command writes them.
ReportOptions ReportOptionsOf(const ReportArguments& arguments, const LoadedRecords& records);

}  // namespace marlin
