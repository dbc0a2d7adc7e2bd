// The report as files: RESULTS.md, index.html and, when gnuplot is there, plots/*.png and plots/*.svg.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "records/analysis.h"
#include "report/page.h"

namespace marlin {

struct ReportOptions {
  std::filesystem::path output;  // folder of RESULTS.md; made when missing
  PageCommands commands;
  std::string records_link;  // address of the folder of records seen from the page: "results/"
  std::vector<StoredExternal> external;
  std::vector<std::string> left_out;  // warnings of LoadRecords; they become part of the page
  std::string gnuplot = "gnuplot";    // program or path
  std::string why_no_plots;           // a sentence for the page; not empty = no plot is drawn
  RankOrder sort = RankOrder::kPerplexity;
  std::function<std::vector<std::string>(const Record&)> how_to_make = nullptr;  // as in PageOptions
  std::vector<std::pair<std::string, std::string>> methods;                      // as in PageOptions
};

struct ReportOutput {
  std::vector<std::filesystem::path> files;  // written, the pages first
  std::vector<std::string> warnings;         // plots that could not be drawn, and why
};

// Writes the report. The same records and options give the same bytes, whatever the order of the records. Files of the
// report that are there already are replaced one by one; a plot that has nothing to show, or cannot be drawn, is
// removed, since it would not belong to the page. A missing gnuplot is a warning, and the page says so.
// Errors: kInput and kResource when a file cannot be written.
Result<ReportOutput> GenerateReport(const Analysis& analysis, const ReportOptions& options);

// `records` as an address on a page in the folder `page`; empty when they are the same folder or share no root.
std::string RecordsLink(const std::filesystem::path& records, const std::filesystem::path& page);

}  // namespace marlin
