// RESULTS.md. A pure function: the same analysis gives the same bytes. It uses no clock, no locale and no file.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "records/analysis.h"
#include "report/document.h"

namespace marlin {

// The line of a page of this program that says how it was made.
inline constexpr std::string_view kGenerated = "Auto-generated";
inline constexpr const char* kPageTitle = "Metal Marlin benchmark results";

// What the page tells its reader to type. Paths as the user named them, so that the page is the same on every machine.
struct PageCommands {
  std::string measure = "metal-marlin bench comparison --model ./path/to/model";
  std::string update = "metal-marlin report generate ./benchmarks/results/";  // writes this page again
};

struct PageOptions {
  PageCommands commands;
  std::string records_link;              // from the page to the folder of records: "results/", "" = beside it
  std::vector<StoredExternal> external;  // what other programs measured
  std::vector<std::string> left_out;     // files that are no records, one sentence each
  std::map<std::string, std::string> why_not_drawn;  // by name, of plots that could not be drawn
  // Names of those that are there: plots/NAME.png and plots/NAME.svg; NAME-2 is a second page, and so on.
  std::set<std::string> plots;
  RankOrder sort = RankOrder::kPerplexity;                   // of the tables of a model; ranks do not depend on it
  std::vector<std::pair<std::string, std::string>> methods;  // names and what they do; the page tells of those it shows
  // The command lines that make the weights of a row, and sentences on what they need; null = the page does not say.
  std::function<std::vector<std::string>(const Record&)> how_to_make = nullptr;
};

Document BuildPage(const Analysis& analysis, const PageOptions& options);
std::string RenderPage(const Analysis& analysis, const PageOptions& options);  // as Markdown

}  // namespace marlin
