// RESULTS.md. A pure function: the same analysis gives the same bytes. No clock, no locale, no file is looked at.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "report/analysis.h"

namespace marlin {

struct PageOptions {
  std::string results_folder = "./benchmarks/results/";  // as commands name it
  std::string records_link;           // from the page to the folder of records: "results/", "" = beside it
  std::vector<std::string> left_out;  // files that are no records, one sentence each
  std::string why_no_plots;           // set when the plots could not be drawn
  bool scatter = false;               // plots/ppl_vs_compression.{png,svg} are there
  bool throughput = false;            // plots/throughput_comparison.{png,svg} are there
};

std::string RenderPage(const Analysis& analysis, const PageOptions& options);

}  // namespace marlin
