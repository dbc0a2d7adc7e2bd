// For tests: the page of some records, and the tables of a page.
#pragma once

#include <sstream>
#include <string>
#include <vector>

#include "records/analysis.h"
#include "report/page.h"

namespace marlin {

inline std::string PageOf(const std::vector<StoredRecord>& records, const PageOptions& options = {}) {
  return RenderPage(Analyze(records), options);
}

namespace test {

// The lines of a table: its head, the rule below, its rows; each the texts between the bars.
using MarkdownTable = std::vector<std::vector<std::string>>;

inline std::vector<MarkdownTable> TablesOf(const std::string& page) {
  std::vector<MarkdownTable> tables;
  bool inside = false;
  std::stringstream stream(page);
  for (std::string line; std::getline(stream, line);) {
    if (line.starts_with("|") && !inside) tables.emplace_back();
    inside = line.starts_with("|");
    if (!inside) continue;
    std::vector<std::string> cells;
    std::stringstream rest(line.substr(1));
    for (std::string cell; std::getline(rest, cell, '|');) cells.push_back(cell.substr(1, cell.size() - 2));
    tables.back().push_back(std::move(cells));
  }
  return tables;
}

// The cell under this title in the line of the row of this name, in the first table that has both; "" = none has.
inline std::string CellUnder(const std::string& page, const std::string& title, const std::string& name) {
  for (const MarkdownTable& table : TablesOf(page)) {
    for (std::size_t i = 0; i < table[0].size(); ++i) {
      if (table[0][i] != title) continue;
      for (const std::vector<std::string>& row : table) {
        for (const std::string& cell : row) {
          if (cell.find("[" + name + "](") != std::string::npos) return row[i];
        }
      }
    }
  }
  return "";
}

}  // namespace test

}  // namespace marlin
