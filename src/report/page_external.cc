// After the models: what other programs measured, in tables of its own.
#include <fmt/format.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "report/figures.h"
#include "report/page_sections.h"

namespace marlin {
namespace {

Cell ExternalCell(std::string text, const StoredExternal& stored, const PageOptions& options) {
  Cell cell = {std::move(text), options.records_link + stored.file};
  cell.record = stored.record.id;
  return cell;
}

std::string ProgramText(const ExternalRecord& record) {
  return record.program.name + " " + record.program.version.value_or("(version not named)");
}

std::string ErrorText(const external::Measurement& x) {
  return x.error ? fmt::format("{} ({})", FigureThreeDigits(*x.error), *x.error_kind) : "not named";
}

Table MeasurementTable(const StoredExternal& stored, const PageOptions& options) {
  Table table;
  table.columns = {{"Measurement", Align::kLeft},
                   {"Value"},
                   {"Unit", Align::kLeft},
                   {"± (kind)", Align::kLeft},
                   {"Protocol of that program", Align::kLeft}};
  for (const external::Measurement& x : stored.record.measurements) {
    table.Add({ExternalCell(x.what, stored, options), FigureFiveDigits(x.value), x.unit.value_or("of the metric"),
               ErrorText(x), x.protocol});
  }
  return table;
}

Document RecordBlocks(const StoredExternal& stored, const PageOptions& options) {
  const ExternalRecord& record = stored.record;
  Document out;
  out.AddText(fmt::format("{}, measured {}.", ProgramText(record), record.measured.value_or("at a time not named")));
  std::vector<std::string> facts;
  facts.push_back("Machine: " + record.machine.value_or("not named"));
  if (record.model.description) facts.push_back("Model: " + *record.model.description);
  if (record.settings) facts.push_back("Settings: " + *record.settings);
  out.AddList(std::move(facts));
  out.AddTable(MeasurementTable(stored, options));
  return out;
}

Table FileTable(const PageOptions& options) {
  Table table;
  table.columns = {{"Record", Align::kLeft}, {"Model", Align::kLeft},        {"Program", Align::kLeft},
                   {"File", Align::kLeft},   {"sha256 of it", Align::kLeft}, {"Command", Align::kLeft}};
  for (const StoredExternal& stored : options.external) {
    const ExternalRecord& record = stored.record;
    table.Add({ExternalCell(ShortHash(record.id), stored, options), record.model.name, ProgramText(record),
               record.source.file, ShortHash(record.source.sha256), record.command});
  }
  return table;
}

}  // namespace

Document ExternalSection(const PageOptions& options) {
  Document out;
  if (options.external.empty()) return out;
  out.AddHeading(2, "Measured by other programs");
  out.AddList({"These numbers come from files of other programs and keep the protocols of those programs.",
               "None of them can be set beside a number of another section: text, windows, prompts and timing differ. "
               "They are in no rank, no plot and no summary.",
               "± is what the program gives: the standard deviation of its repetitions, or a standard error."});
  std::map<std::string, std::vector<const StoredExternal*>> models;
  for (const StoredExternal& stored : options.external) models[stored.record.model.name].push_back(&stored);
  for (const auto& [name, records] : models) {
    out.AddHeading(3, name);
    for (const StoredExternal* const stored : records) out.Append(RecordBlocks(*stored, options));
  }
  Document files;
  files.AddTable(FileTable(options));
  out.AddFold(fmt::format("Imported records: {}", options.external.size()), std::move(files));
  return out;
}

}  // namespace marlin
