// The page that `bench comparison --page` keeps while it measures, and the summary that ends it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/report.h"
#include "study/comparison.h"

namespace marlin {

// Lines of the summary at most, whatever was measured.
inline constexpr std::size_t kMostSummaryLines = 20;

// Writes the pages from every record in the folder, which need not be there yet. Plots wait for the end: gnuplot takes
// longer than the rest. Errors: those of LoadRecords and GenerateReport.
Status WriteComparisonPage(const ReportArguments& report);

// What a comparison measured and what it did not.
struct PageSummary {
  std::string text;     // for the terminal, without a line end behind it
  nlohmann::json data;  // files, best rows, what is not measured
};

// Writes the pages with their plots and sums up: for each model the best row and the runner-up with their costs, where
// the page is, and what is not measured. `left_out` says what the options left out, `outcome` how the jobs ended.
// Errors: those of WriteComparisonPage.
Result<PageSummary> FinishComparisonPage(const ReportArguments& report, const ComparisonPlan& plan,
                                         const ComparisonOptions& options, const EvalText& text,
                                         const std::vector<std::string>& left_out, const Status& outcome);

}  // namespace marlin
