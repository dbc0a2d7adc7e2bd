#include "report/page.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "report/figures.h"
#include "report/markdown.h"
#include "report/page_sections.h"

namespace marlin {
namespace {

Document EmptyPage(const PageOptions& options) {
  Document page;
  page.AddHeading(1, kPageTitle);
  page.AddPieces({fmt::format("{} by ", kGenerated), document::Code("metal-marlin report generate"), "."});
  page.AddHeading(2, "No benchmark results found yet");
  page.AddText("Run the comparison, or measure one model, then make this page again:");
  page.AddCode({options.commands.measure, "metal-marlin eval perplexity ./path/to/model --samples 100",
                options.commands.update});
  page.AddText("It will contain:");
  page.AddNumbered(
      {"Summary: the best configuration of each model, with its perplexity delta, compression ratio and throughput",
       "Per-model detail: every tested configuration, sorted by KL from the baseline, or by perplexity delta "
       "without it",
       "Uniform and mixed precision side by side, at equal bytes",
       "WikiText-2 and Bartowski v3 calibration side by side",
       "Plots: quality against compression and bits per weight, and throughput by model and configuration",
       "Methodology, hardware and versions, from the records", "The benchmark configurations"});
  return page;
}

Document Head(const Analysis& analysis, const PageOptions& options) {
  std::string newest;
  for (const StoredRecord* stored : analysis.shown) newest = std::max(newest, stored->record.created);
  Document head;
  head.AddHeading(1, kPageTitle);
  head.AddPieces({fmt::format("{} from {} records, the newest of {}. Run ", kGenerated, analysis.shown.size(), newest),
                  document::Code(options.commands.update), " to update."});
  head.AddList(
      {fmt::format("The name of a row links to its record, a file in {}.",
                   options.records_link.empty() ? "the folder of this page" : options.records_link),
       "Missing values read \"not measured\", never 0.",
       "Brackets hold 95 % intervals. Rows share a rank if their own paired difference does not distinguish them.",
       fmt::format("\"few\": fewer than {} windows.", kFewWindows),
       fmt::format("\"unstable\": after removing outliers the times vary by more than {:.0f} % (coefficient of "
                   "variation), or all times span more than {:.0f} % of their median from p5 to p95.",
                   100 * kUnstableCv, 100 * kUnstableRange)});
  return head;
}

Document LeftOut(const PageOptions& options) {
  Document out;
  if (options.left_out.empty()) return out;
  out.AddHeading(2, "Left out");
  out.AddText("Files and figures of the results folder that this page does not use:");
  out.AddList(options.left_out);
  return out;
}

}  // namespace

Cell RecordCell(std::string text, const StoredRecord& stored, const PageOptions& options) {
  Cell cell = {std::move(text), options.records_link + stored.file};
  cell.record = stored.record.id;
  return cell;
}

Document BuildPage(const Analysis& analysis, const PageOptions& options) {
  if (analysis.shown.empty()) {
    Document page = EmptyPage(options);
    page.Append(ExternalSection(options));
    return page;
  }
  Document page;
  for (Document& section :
       std::vector{Head(analysis, options), WordsFold(analysis, options), SummarySection(analysis, options),
                   ModelsSection(analysis, options), ExternalSection(options), MixedSection(analysis, options),
                   CalibrationSection(analysis, options), PlotsSection(options), MethodologySection(analysis),
                   HardwareSection(analysis), ConfigurationsSection(analysis), RecordsSection(analysis, options),
                   LeftOut(options)}) {
    page.Append(std::move(section));
  }
  return page;
}

std::string RenderPage(const Analysis& analysis, const PageOptions& options) {
  return ToMarkdown(BuildPage(analysis, options));
}

}  // namespace marlin
