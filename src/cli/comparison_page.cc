#include "cli/comparison_page.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "cli/console.h"
#include "records/analysis.h"
#include "records/ranking.h"
#include "report/figures.h"
#include "report/page_sections.h"
#include "report/table.h"
#include "study/job_list.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

constexpr std::size_t kShownModels = 3;   // three lines each
constexpr std::size_t kShownReasons = 6;  // one line each
constexpr std::size_t kShownRows = 4;     // in a reason
static_assert(3 * kShownModels + 1 + 1 + 1 + kShownReasons + 1 <= kMostSummaryLines);

// A page and what it was made from.
struct WrittenPage {
  LoadedRecords loaded;
  Analysis analysis;  // of `loaded`
  ReportOutput output;
};

Result<WrittenPage> WritePage(const ReportArguments& report, const std::string& why_no_plots) {
  WrittenPage page;
  std::error_code code;
  if (fs::exists(report.results, code)) {
    if (auto status = LoadRecords(report.results).MoveTo(page.loaded); !status) return status.error();
  }
  ReportOptions options = ReportOptionsOf(report, page.loaded);
  options.why_no_plots = why_no_plots;
  page.analysis = Analyze(page.loaded.records);
  if (auto status = GenerateReport(page.analysis, options).MoveTo(page.output); !status) return status.error();
  return page;
}

// The rows that share a table with those of this comparison; null before the baseline is measured.
const ResultGroup* GroupOf(const Analysis& analysis, const ComparisonModel& model, const ComparisonOptions& options,
                           const EvalText& text) {
  for (const ModelResults& results : analysis.models) {
    if (results.model().sha256 != model.sha256) continue;
    for (const ResultGroup& group : results.groups) {
      const record::Perplexity* const measured = group.perplexity();
      if (measured != nullptr && measured->text.sha256 == text.sha256 && measured->ctx == options.ctx &&
          measured->windows == model.windows) {
        return &group;
      }
    }
  }
  return nullptr;
}

// The next by rank among the rows that could have been the best.
const ResultRow* RunnerUp(const ResultGroup& group) {
  const auto found = std::ranges::find_if(group.rows, [](const ResultRow& row) {
    return row.rank && !row.best && QuantizedCompression(row.record().size).value_or(0) >= kBestCompression;
  });
  return found == group.rows.end() ? nullptr : &*found;
}

std::string RowText(const ResultGroup& group, const ResultRow* row) {
  if (row == nullptr) {
    return fmt::format("none: no {}measured row has quantized tensors {} times smaller",
                       group.best() == nullptr ? "" : "other ", kBestCompression);
  }
  return OneLine(fmt::format("{}; KL {} (1e-3 nats)", RowClause(group, *row), FigureKl(*row)));
}

nlohmann::json RowJson(const ResultGroup& group, const ResultRow* row) {
  if (row == nullptr) return nullptr;
  return {{"record", row->record().id}, {"name", row->name}, {"text", RowText(group, row)}};
}

std::string Named(const std::vector<std::string>& names) {
  const std::size_t shown = std::min(names.size(), kShownRows);
  std::string text =
      fmt::format("{}", fmt::join(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(shown), "; "));
  return shown < names.size() ? fmt::format("{} and {} more", text, names.size() - shown) : text;
}

// What of a model is not there, a sentence for each kind of figure.
void AddUndone(const ComparisonModel& model, const ComparisonOptions& options, const EvalText& text,
               std::vector<std::string>& reasons) {
  std::vector<std::string> quality, speed;
  for (const ComparisonRow& row : model.rows) {
    if (!HasQuality(model, options, text, row)) quality.push_back(row.name());
    if (options.time_models && !HasSpeed(model, options, row)) speed.push_back(row.name());
  }
  if (!quality.empty()) reasons.push_back(fmt::format("{}: quality of {}", model.name, Named(quality)));
  if (!speed.empty()) reasons.push_back(fmt::format("{}: speed and memory of {}", model.name, Named(speed)));
  if (!HasNoiseFloor(model, options, text)) reasons.push_back(fmt::format("{}: noise floor", model.name));
}

// What the page lacks, and why.
std::vector<std::string> ReasonsOf(const ComparisonPlan& plan, const ComparisonOptions& options, const EvalText& text,
                                   const Status& outcome) {
  std::vector<std::string> reasons;
  for (const ComparisonModel& model : plan.models) AddUndone(model, options, text, reasons);
  if (!outcome.ok()) {
    reasons.insert(reasons.begin(), "failed: " + outcome.error().message);
  } else if (!reasons.empty()) {
    reasons.insert(reasons.begin(), "left to other shares of this comparison:");
  }
  for (const ComparisonModel& model : plan.models) {
    for (const ComparisonRow& row : model.rows) {
      // With a format, another row measures the same.
      if (row.unnecessary.empty() || row.format != nullptr) continue;
      reasons.push_back(fmt::format("{}: {}: {}", model.name, row.name(), row.unnecessary));
    }
  }
  return reasons;
}

struct SummedModel {
  const ComparisonModel* model = nullptr;
  const ResultGroup* group = nullptr;  // null: nothing is measured
};

std::string TextOf(const std::vector<SummedModel>& models, const ReportOutput& output,
                   const std::vector<std::string>& reasons) {
  std::vector<std::string> lines;
  for (const SummedModel& x : models) {
    if (lines.size() == 3 * kShownModels) {
      lines.push_back(fmt::format("and {} on the page", CountText(models.size() - kShownModels, "more model")));
      break;
    }
    lines.push_back(OneLine(fmt::format("{}: {}", x.model->name,
                                        x.group == nullptr ? kNotMeasured : DescribeText(*x.group->perplexity()))));
    lines.push_back("  best       " + (x.group == nullptr ? kNotMeasured : RowText(*x.group, x.group->best())));
    lines.push_back("  runner-up  " + (x.group == nullptr ? kNotMeasured : RowText(*x.group, RunnerUp(*x.group))));
  }
  lines.push_back(fmt::format("page           {}, {}", output.files[1].string(), output.files[0].string()));
  lines.push_back(reasons.empty() ? "not measured   nothing was left out" : "not measured");
  for (const std::string& reason : reasons) {
    const auto shown = static_cast<std::size_t>(&reason - reasons.data());
    if (shown == kShownReasons) {
      lines.push_back(fmt::format("  and {} more", reasons.size() - shown));
      break;
    }
    lines.push_back("  " + OneLine(reason));
  }
  return fmt::format("{}", fmt::join(lines, "\n"));
}

}  // namespace

Status WriteComparisonPage(const ReportArguments& report) {
  const auto page = WritePage(report, "The comparison still runs; it draws its plots when it ends.");
  return page ? Status() : Status(page.error());
}

Result<PageSummary> FinishComparisonPage(const ReportArguments& report, const ComparisonPlan& plan,
                                         const ComparisonOptions& options, const EvalText& text,
                                         const std::vector<std::string>& left_out, const Status& outcome) {
  const auto page = WritePage(report, "");
  if (!page) return page.error();
  std::vector<std::string> reasons = ReasonsOf(plan, options, text, outcome);
  reasons.insert(reasons.end(), left_out.begin(), left_out.end());
  reasons.insert(reasons.end(), page->output.warnings.begin(), page->output.warnings.end());
  std::vector<SummedModel> models;
  for (const ComparisonModel& model : plan.models) {
    models.push_back({&model, GroupOf(page->analysis, model, options, text)});
  }
  PageSummary summary{TextOf(models, page->output, reasons), nlohmann::json::object()};
  nlohmann::json& files = summary.data["files"] = nlohmann::json::array();
  for (const fs::path& file : page->output.files) files.push_back(file.string());
  summary.data["not_measured"] = reasons;
  nlohmann::json& best = summary.data["best"] = nlohmann::json::array();
  for (const SummedModel& x : models) {
    if (x.group == nullptr) continue;
    best.push_back({{"model", x.model->name},
                    {"best", RowJson(*x.group, x.group->best())},
                    {"runner_up", RowJson(*x.group, RunnerUp(*x.group))}});
  }
  return summary;
}

}  // namespace marlin
