// Notes under a table of speeds: which rows were timed interleaved, and whether other programs were running.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "report/figures.h"
#include "report/page_sections.h"

namespace marlin {
namespace {

using Rows = std::vector<TimedRow>;

std::string Names(const Rows& rows) {
  std::vector<std::string> names;
  for (const TimedRow& row : rows) names.push_back(OneLine(row.row->name));
  return fmt::format("{}", fmt::join(names, ", "));
}

// By run, in the order of the rows.
std::vector<Rows> RunsOf(const Rows& rows) {
  std::vector<Rows> runs;
  std::map<std::string, std::size_t> index;
  for (const TimedRow& row : rows) {
    const std::size_t run = index.emplace(TimingRun(row.timing->record()), runs.size()).first->second;
    if (run == runs.size()) runs.emplace_back();
    runs[run].push_back(row);
  }
  return runs;
}

std::string RunsWarning(const Rows& rows, const std::string& protocol) {
  const std::vector<Rows> runs = RunsOf(rows);
  if (runs.size() < 2) return "";
  const bool all_alone = std::ranges::all_of(runs, [](const Rows& run) { return run.size() == 1; });
  return fmt::format(
      "Speeds ({}) come from {} runs. Only rows of one run were timed interleaved; a difference between runs may come "
      "from the machine.{}",
      protocol, runs.size(), all_alone ? " Each row was timed alone." : "");
}

// Names every row but those of the longest run.
std::string RunsNote(const Rows& rows, const std::string& protocol) {
  std::vector<Rows> runs = RunsOf(rows);
  const auto longest = std::ranges::max_element(runs, {}, &Rows::size);
  if (runs.size() < 2 || longest->size() == 1) return "";
  runs.erase(longest);
  std::string note = fmt::format("Runs ({}).", protocol);
  Rows alone;
  for (const Rows& run : runs) {
    if (run.size() == 1) {
      alone.push_back(run[0]);
    } else {
      note += fmt::format(" Timed interleaved with each other, not with the rest: {}.", Names(run));
    }
  }
  return alone.empty() ? note : note + fmt::format(" Timed alone: {}.", Names(alone));
}

}  // namespace

std::string LoadNote(const std::vector<TimedRow>& rows) {
  Rows loaded;
  double load = 0;
  for (const TimedRow& row : rows) {
    const std::optional<double> of_others = ForeignLoad(row.timing->record().machine);
    if (!of_others) continue;
    loaded.push_back(row);
    load = std::max(load, *of_others);
  }
  if (loaded.empty()) return "";
  return fmt::format(
      "Warning: other programs were running while {} timed (load up to {:.1f} on {} threads); these speeds are too "
      "low, measure again on a quiet machine.",
      loaded.size() == rows.size() ? "these rows were" : Names(loaded) + (loaded.size() == 1 ? " was" : " were"), load,
      loaded[0].timing->record().machine.threads);
}

std::vector<std::string> TimingWarnings(const ResultGroup& group, const TimingColumns& timings) {
  std::vector<std::string> warnings;
  for (std::size_t i = 0; i < timings.size(); ++i) {
    const Rows rows = timings.RowsIn(i, AddressesOf(group.rows));
    for (std::string& warning : std::vector{RunsWarning(rows, timings.both_labels(i)), LoadNote(rows)}) {
      if (!warning.empty()) warnings.push_back(std::move(warning));
    }
  }
  return warnings;
}

std::vector<std::string> TimingNotes(const ResultGroup& group, const TimingColumns& timings) {
  std::vector<std::string> notes;
  for (std::size_t i = 0; i < timings.size(); ++i) {
    std::string note = RunsNote(timings.RowsIn(i, AddressesOf(group.rows)), timings.both_labels(i));
    if (!note.empty()) notes.push_back(std::move(note));
  }
  return notes;
}

std::vector<std::string> ArithmeticNotes(const ResultGroup& group) {
  std::map<std::string, std::vector<std::string>> rows;  // by arithmetic
  for (const ResultRow& row : group.rows) {
    for (const StoredRecord* other : row.other_arithmetics) {
      rows[ArithmeticOf(other->record)].push_back(
          fmt::format("{} (perplexity {}, record {})", OneLine(row.name),
                      FigureFixed(PerplexityOf(*other->record.perplexity).perplexity, 3), ShortHash(other->record.id)));
    }
  }
  std::vector<std::string> notes;
  for (const auto& [arithmetic, names] : rows) {
    notes.push_back(fmt::format(
        "Also measured with another arithmetic, {}, and not in the table: {}. A row is compared only with the baseline "
        "of its own arithmetic.",
        OneLine(arithmetic), fmt::join(names, ", ")));
  }
  return notes;
}

std::string ImportedNote(const ResultGroup& group) {
  std::vector<std::string> names;
  for (const ResultRow& row : group.rows) {
    if (row.record().config.kind == record::Kind::kImported) names.push_back(OneLine(row.name));
  }
  if (names.empty()) return "";
  return fmt::format(
      "Imported: {}. Another program quantized {} from the same model. Each is evaluated as it is, by the same "
      "evaluator on the same windows; its size counts the bytes in the file; it is not timed.",
      fmt::join(names, ", "), names.size() == 1 ? "this file" : "these files");
}

}  // namespace marlin
