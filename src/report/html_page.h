// index.html: the page of results as one file that makes no request. The sections are those of RESULTS.md, as plain
// tables; scripts inside add sorting, filters and charts.
#pragma once

#include <string>

#include "records/analysis.h"
#include "report/page.h"

namespace marlin {

// A pure function: the same analysis and options give the same bytes. options.plots names the plots that have something
// to show; scripts draw them.
std::string RenderHtmlPage(const Analysis& analysis, const PageOptions& options);

}  // namespace marlin
