#include "report/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace marlin {
namespace {

bool IsAlphanumeric(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

// Columns that a terminal needs: code points, since every sign used here is one column wide.
std::size_t Width(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string CellMarkdown(const Cell& cell) {
  std::string text = EscapeMarkdown(cell.text);
  if (!cell.link.empty()) text = fmt::format("[{}]({})", text, EscapeAddress(cell.link));
  return cell.strong ? "**" + text + "**" : text;
}

}  // namespace

void Table::Add(std::vector<Cell> row) {
  MARLIN_CHECK(row.size() == columns.size(), "a cell for every column");
  rows.push_back(std::move(row));
}

std::string OneLine(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  return out;
}

std::string EscapeMarkdown(std::string_view text) {
  // Written as HTML entities: GitHub reads $ as mathematics and @ as a person, whatever precedes them.
  constexpr std::string_view kEntities = "&<>@$|";
  constexpr std::string_view kBackslash = "\\`*~";
  const std::string line = OneLine(text);
  // Brackets are only text unless they make a link; an underscore inside a word is only text.
  const bool link = line.find("](") != std::string::npos || line.find("][") != std::string::npos;
  std::string out;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (kEntities.find(c) != std::string_view::npos) {
      out += fmt::format("&#{};", static_cast<int>(c));
      continue;
    }
    const bool inside_word = i > 0 && i + 1 < line.size() && IsAlphanumeric(line[i - 1]) && IsAlphanumeric(line[i + 1]);
    const bool special = kBackslash.find(c) != std::string_view::npos || (c == '_' && !inside_word) ||
                         (link && (c == '[' || c == ']')) || (c == '#' && i == 0);
    if (special) out += '\\';
    out += c;
  }
  return out;
}

std::string CodeSpan(std::string_view text) {
  const std::string line = OneLine(text);
  std::size_t longest = 0;
  std::size_t run = 0;
  for (const char c : line) {
    run = c == '`' ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  const std::string marks(longest + 1, '`');
  const bool pad = longest > 0;
  return marks + (pad ? " " : "") + line + (pad ? " " : "") + marks;
}

std::string EscapeAddress(std::string_view path) {
  std::string out;
  for (const char c : path) {
    if (IsAlphanumeric(c) || std::string_view("/._-~").find(c) != std::string_view::npos) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

std::string ToMarkdown(const Table& table) {
  std::string out = "|";
  for (const Column& column : table.columns) out += " " + EscapeMarkdown(column.title) + " |";
  out += "\n|";
  for (const Column& column : table.columns) out += column.align == Align::kLeft ? " --- |" : " ---: |";
  out += "\n";
  for (const std::vector<Cell>& row : table.rows) {
    out += "|";
    for (const Cell& cell : row) out += " " + CellMarkdown(cell) + " |";
    out += "\n";
  }
  return out;
}

std::string ToPlainText(const Table& table) {
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    std::size_t width = Width(table.columns[i].title);
    for (const std::vector<Cell>& row : table.rows) width = std::max(width, Width(OneLine(row[i].text)));
    widths.push_back(width);
  }
  std::string out;
  const auto add_line = [&](auto&& text_of) {
    std::string line;
    for (std::size_t i = 0; i < widths.size(); ++i) {
      const std::string text = OneLine(text_of(i));
      const std::string fill(widths[i] - Width(text), ' ');
      line += (i == 0 ? "" : "  ") + (table.columns[i].align == Align::kLeft ? text + fill : fill + text);
    }
    out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  };
  add_line([&](std::size_t i) { return table.columns[i].title; });
  add_line([&](std::size_t i) { return std::string(widths[i], '-'); });
  for (const std::vector<Cell>& row : table.rows) {
    add_line([&](std::size_t i) { return row[i].text; });
  }
  return out;
}

}  // namespace marlin
