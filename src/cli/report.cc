// report generate: writes RESULTS.md and plots from records. report import: results of other programs become records.

#include "cli/report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "cli/command_text.h"
#include "cli/verb.h"
#include "quantize/method.h"
#include "records/analysis.h"
#include "records/import_results.h"
#include "records/store.h"
#include "report/summary.h"
#include "report/table.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

// The commands that fill the folder of records and make this page again.
PageCommands CommandsOf(const ReportArguments& options) {
  PageCommands commands;
  const auto folder = [](const fs::path& path) { return (path / "").lexically_normal(); };
  if (folder(options.results) != folder(kDefaultResults)) {
    commands.measure += " --results " + QuoteForShell(options.results);
  }
  commands.update = "metal-marlin report generate " + QuoteForShell(options.results);
  if (!options.output.empty()) commands.update += " -o " + QuoteForShell(options.output);
  if (options.sort != kSortByPerplexity) commands.update += " --sort " + options.sort;
  return commands;
}

// What lies in a folder without records and does not belong to a report; empty when nothing does.
std::string ForeignEntry(const fs::path& folder) {
  std::error_code code;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, code)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with('.') && name != "RESULTS.md" && name != "index.html" && name != "plots") return name;
  }
  return "";
}

Status RunReport(const ReportArguments& options, Invocation& invocation) {
  Console& console = invocation.console;
  const auto loaded = LoadRecords(options.results);
  if (!loaded) return loaded.error();
  for (const std::string& warning : loaded->warnings) console.Warn(warning);
  const bool empty = loaded->records.empty() && loaded->external.empty();
  if (empty && !loaded->warnings.empty()) {
    return Error{ErrorCode::kInput, fmt::format("{} holds {} JSON {} but no record; nothing is written. Name the "
                                                "folder of records that `metal-marlin bench comparison` wrote",
                                                options.results, loaded->warnings.size(),
                                                loaded->warnings.size() == 1 ? "file" : "files")};
  }
  if (const std::string foreign = empty ? ForeignEntry(options.results) : ""; !foreign.empty()) {
    return Error{ErrorCode::kInput,
                 fmt::format("{} holds no records, but {}; nothing is written. Name the folder of records that "
                             "`metal-marlin bench comparison` wrote, or an empty one",
                             options.results, foreign)};
  }
  if (empty) {
    std::error_code code;
    const bool begun = fs::exists(fs::path(options.results) / ".work", code);
    console.Warn(fmt::format(
        "there are no records in {}{}; the page only explains how to make some", options.results,
        begun
            ? " yet: a comparison was interrupted; the same `metal-marlin bench comparison` continues where it stopped"
            : ""));
  }
  const Analysis analysis = Analyze(loaded->records);
  const auto written = GenerateReport(analysis, ReportOptionsOf(options, *loaded));
  if (!written) return written.error();
  for (const std::string& warning : written->warnings) console.Warn(warning);
  console.Result(SummaryText(analysis));
  nlohmann::ordered_json files = nlohmann::ordered_json::array();
  for (const fs::path& file : written->files) {
    console.Say(file.string());
    files.push_back(file.string());
  }
  console.Data(nlohmann::json{{"summary", nlohmann::json(SummaryJson(analysis))}, {"files", nlohmann::json(files)}});
  return {};
}

struct ImportArguments {
  std::vector<std::string> files;
  std::string results = kDefaultResults;
};

Result<std::vector<ExternalRecord>> RecordsOfFile(const std::string& path, const std::string& command) {
  const auto text = ReadFile(path, kLargestImportBytes);
  if (!text) return text.error();
  auto records = ImportResults(*text, path, fs::path(path).filename().string(), command);
  if (!records) return Error{records.error().code, OneLine(records.error().message)};  // names of a stranger's file
  return records;
}

// All files are read before the first record is written.
Status RunImport(const ImportArguments& options, Invocation& invocation) {
  std::vector<ExternalRecord> records;
  for (const std::string& path : options.files) {
    auto some = RecordsOfFile(path, invocation.command);
    if (!some) return some.error();
    for (ExternalRecord& record : *some) records.push_back(std::move(record));
  }
  nlohmann::json written = nlohmann::json::array();
  for (const ExternalRecord& record : records) {
    const auto path = SaveRecord(options.results, record);
    if (!path) return path.error();
    invocation.console.Say(fmt::format("{}: {} of {} by {}", path->string(),
                                       CountText(record.measurements.size(), "measurement"), OneLine(record.model.name),
                                       record.program.name));
    written.push_back({{"file", path->string()},
                       {"record", record.id},
                       {"model", record.model.name},
                       {"program", record.program.name},
                       {"measurements", record.measurements.size()}});
  }
  invocation.console.Data({{"records", std::move(written)}});
  return {};
}

void RegisterImport(Verb report) {
  auto options = std::make_shared<ImportArguments>();
  Verb verb = report.AddVerb("import", "Add results of llama-bench or lm-evaluation-harness to a folder of records",
                             "metal-marlin report import bench.jsonl results_2025-01-31T10-00-00.json -r ./my-results");
  verb.Add(
          "file", options->files,
          "Output of llama-bench -o json or -o jsonl, or results_*.json of lm-evaluation-harness; several are imported "
          "together, or none of them")
      .Required();
  verb.Add("-r,--results", options->results, "Folder for the records");
  verb.AddFooter(
      "\nThe report shows these numbers in a section of their own, with the protocols of those programs. They are "
      "never "
      "compared with measurements of this program.\nThe same file gives the same records again.");
  verb.Runs([options](Invocation& invocation) { return RunImport(*options, invocation); });
}

}  // namespace

ReportOptions ReportOptionsOf(const ReportArguments& arguments, const LoadedRecords& records) {
  ReportOptions report;
  report.output = fs::path(arguments.output.empty() ? arguments.results : arguments.output);
  report.commands = CommandsOf(arguments);
  report.records_link = RecordsLink(arguments.results, report.output);
  report.external = records.external;
  report.left_out = records.warnings;
  report.how_to_make = LinesThatMake;
  for (const Method& method : Methods()) report.methods.emplace_back(method.name, method.description);
  for (const Step& step : Steps()) report.methods.emplace_back(step.name, step.description);
  if (arguments.sort == kSortByDivergence) report.sort = RankOrder::kDivergence;
  return report;
}

void RegisterReport(Verb parent) {
  Verb report = parent.AddGroup("report", "Write the report from records",
                                "metal-marlin report generate ./benchmarks/results/ -o docs/report");
  auto options = std::make_shared<ReportArguments>();
  Verb verb = report.AddVerb("generate", "Write RESULTS.md and plots from a folder of records",
                             "metal-marlin report generate ./benchmarks/results/ -o docs/report");
  verb.Add("results", options->results, "Folder of records");
  verb.Add("-o,--output", options->output, "Folder of the report; default: the folder of the records");
  verb.Add("--sort", options->sort,
           "Order of the rows in the tables of a model: ppl, by perplexity delta; kl, by mean KL. Ranks stay the same")
      .OneOf({kSortByPerplexity, kSortByDivergence});
  verb.Runs([options](Invocation& invocation) { return RunReport(*options, invocation); });
  RegisterImport(report);
}

}  // namespace marlin
