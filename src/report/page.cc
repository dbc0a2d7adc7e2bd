#include "report/page.h"

#include <fmt/format.h>

#include <algorithm>

#include "report/figures.h"
#include "report/page_sections.h"

namespace marlin {
namespace {

constexpr const char* kTitle = "# Metal Marlin benchmark results\n\n";

std::string HowToMake(const PageOptions& options) {
  return fmt::format(R"(```
{}
metal-marlin eval perplexity ./path/to/model --samples 100
{}
```
)",
                     OneLine(options.commands.measure), OneLine(options.commands.update));
}

std::string LeftOut(const PageOptions& options) {
  if (options.left_out.empty()) return "";
  std::string out = "\n## Left out\n\nFiles and figures of the results folder that this page does not use:\n\n";
  for (const std::string& sentence : options.left_out) out += "- " + EscapeMarkdown(sentence) + "\n";
  return out;
}

std::string EmptyPage(const PageOptions& options) {
  return std::string(kTitle) + fmt::format(R"({} by {}.

## No benchmark results found yet

Run the comparison, or measure one model, then make this page again:

{}
It will contain:

1. Summary: the best configuration of each model, with its perplexity delta, compression ratio and throughput
2. Per-model detail: every tested configuration, sorted by KL from the baseline, or by perplexity delta without it
3. Uniform and mixed precision side by side, at equal bytes
4. WikiText-2 and Bartowski v3 calibration side by side
5. Plots: quality against compression and bits per weight, and throughput by model and configuration
6. Methodology, hardware and versions, from the records
7. The benchmark configurations
)",
                                           kGenerated, CodeSpan("metal-marlin report generate"), HowToMake(options));
}

std::string Head(const Analysis& analysis, const PageOptions& options) {
  std::string newest;
  for (const StoredRecord* stored : analysis.shown) newest = std::max(newest, stored->record.created);
  return std::string(kTitle) +
         fmt::format("{} from {} records, the newest of {}. Run {} to update.\n\n", kGenerated, analysis.shown.size(),
                     newest, CodeSpan(options.commands.update)) +
         "Every line links to its record. Missing values read \"not measured\", never 0. Intervals are 95 %. Rows "
         "share a rank if their own paired difference does not distinguish them. \"few\": fewer than " +
         fmt::format(
             "{} windows. \"unstable\": after removing outliers the times vary by more than {:.0f} % (coefficient of "
             "variation), or all times span more than {:.0f} % of their median from p5 to p95.\n",
             kFewWindows, 100 * kUnstableCv, 100 * kUnstableRange);
}

}  // namespace

Cell RecordCell(const StoredRecord& stored, const PageOptions& options) {
  return {ShortHash(stored.record.id), options.records_link + stored.file};
}

namespace {

std::string Sections(const Analysis& analysis, const PageOptions& options) {
  std::string page = Head(analysis, options);
  for (const std::string& section :
       {SummarySection(analysis, options), ModelsSection(analysis, options), MixedSection(analysis, options),
        CalibrationSection(analysis, options), PlotsSection(options), MethodologySection(analysis),
        HardwareSection(analysis), ConfigurationsSection(analysis), RecordsSection(analysis, options)}) {
    page += "\n" + section;
  }
  return page + LeftOut(options);
}

}  // namespace

// Names come from files of strangers; whatever a section forgot to escape is harmless here.
std::string RenderPage(const Analysis& analysis, const PageOptions& options) {
  return CleanLines(analysis.shown.empty() ? EmptyPage(options) : Sections(analysis, options));
}

}  // namespace marlin
