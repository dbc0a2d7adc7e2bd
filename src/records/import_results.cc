#include "records/import_results.h"

#include <fmt/format.h>

#include <utility>

#include "base/json_depth.h"
#include "base/json_error.h"
#include "base/sha256.h"
#include "records/import_fields.h"
#include "records/keys.h"
#include "records/record_check.h"

namespace marlin {
namespace {

using Imported = nlohmann::json;

Result<Imported> ParseImport(std::string_view text, const std::string& where) {
  if (JsonDepth(text) > kDeepestJson) {
    return Error{ErrorCode::kInput,
                 fmt::format("{}: nested deeper than {} levels, which no results are", where, kDeepestJson)};
  }
  try {
    return Imported::parse(text);
  } catch (const Imported::parse_error& error) {
    return Error{ErrorCode::kInput, fmt::format("{}: {}", where,
                                                WhyNoJson(text, error.byte, "",
                                                          "this is not JSON (NaN and Infinity are none), or the "
                                                          "file is cut off here"))};
  } catch (const Imported::exception& error) {  // a number beyond every range
    return Error{ErrorCode::kInput, fmt::format("{}: a number is too large for JSON", where)};
  }
}

// The lines of a text that are not blank, each with its place.
Result<std::vector<ImportEntry>> ParseLines(std::string_view text, std::string_view where) {
  std::vector<ImportEntry> entries;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    std::string place = fmt::format("{}, line {}", where, number);
    Result<Imported> entry = ParseImport(line, place);
    if (!entry) return entry.error();
    entries.push_back({std::move(place), std::move(*entry)});
    if (entries.size() > kMostExternalMeasurements) break;
  }
  return entries;
}

std::vector<ImportEntry> EntriesOfArray(Imported array, std::string_view where) {
  std::vector<ImportEntry> entries;
  for (Imported& element : array) {
    entries.push_back({fmt::format("{}, entry {}", where, entries.size() + 1), std::move(element)});
  }
  return entries;
}

// Several objects, one a line: the first line alone is an object, and something follows.
bool IsLines(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos || text[begin] != '{') return false;
  text.remove_prefix(begin);
  const std::string_view first = text.substr(0, text.find('\n'));
  return JsonDepth(first) <= kDeepestJson && Imported::accept(first);
}

Error NeitherProgram(std::string_view where, std::string_view got) {
  return {ErrorCode::kInput,
          fmt::format("{}: this is {}; results of llama-bench (-o json or -o jsonl: objects with avg_ts) or of "
                      "lm-evaluation-harness (results_*.json: an object with results) were wanted",
                      where, got)};
}

Result<std::vector<ExternalRecord>> RecordsOf(std::string_view text, const std::string& where) {
  std::vector<ImportEntry> entries;
  if (IsLines(text)) {
    auto lines = ParseLines(text, where);
    if (!lines) return lines.error();
    entries = std::move(*lines);
  } else {
    auto whole = ParseImport(text, where);
    if (!whole) return whole.error();
    if (whole->is_array()) {
      entries = EntriesOfArray(std::move(*whole), where);
    } else {
      entries.push_back({where, std::move(*whole)});
    }
  }
  if (entries.empty()) return NeitherProgram(where, "an empty list");
  const Imported& first = entries[0].json;
  if (first.is_object() && first.contains("results") && entries.size() == 1) return ImportLmEval(first, where);
  if (first.is_object() && first.contains("schema")) return NeitherProgram(where, "an object with a schema of its own");
  if (!first.is_object()) return NeitherProgram(entries[0].where, first.type_name());
  if (!first.contains("avg_ts") && !first.contains("build_commit")) {
    return NeitherProgram(entries[0].where, "an object without avg_ts and without results");
  }
  if (entries.size() > kMostExternalMeasurements) {
    return Error{ErrorCode::kInput,
                 fmt::format("{}: more than {} results in one file", where, kMostExternalMeasurements)};
  }
  return ImportLlamaBench(entries);
}

}  // namespace

Result<std::vector<ExternalRecord>> ImportResults(std::string_view text, std::string_view where, std::string_view file,
                                                  std::string_view command) {
  auto records = RecordsOf(text, std::string(where));
  if (!records) return records.error();
  const std::string sha256 = Sha256Hex(text);
  for (std::size_t i = 0; i < records->size(); ++i) {
    ExternalRecord& record = (*records)[i];
    record.key = ExternalKey(sha256, i);
    record.id = IdOfKey(record.key);
    record.source = {std::string(file), sha256};
    record.command = command;
    if (Status status = CheckRecord(record, where); !status.ok()) return status.error();
  }
  return records;
}

}  // namespace marlin
