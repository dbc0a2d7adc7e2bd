#include "report/markdown.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

namespace marlin {
namespace {

bool IsAlphanumeric(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

// Written as HTML entities: GitHub reads $ as mathematics and @ as a person, whatever precedes them.
constexpr std::string_view kEntities = "&<>@$";

std::string Entity(char c) { return fmt::format("&#{};", static_cast<int>(c)); }

// Where a text stands. A bar ends a cell, and a bracket the text of a link; elsewhere they are only text.
enum class Place { kLine, kCell, kLinkText };

// Brackets are only text unless they make a link.
bool MakesLink(std::string_view text) {
  return text.find("](") != std::string_view::npos || text.find("][") != std::string_view::npos;
}

// Text that Markdown and HTML leave as it is, on one line.
std::string Escape(std::string_view text, Place place, bool link) {
  constexpr std::string_view kBackslash = "\\`*~";
  const std::string line = OneLine(text);
  std::string out;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (kEntities.find(c) != std::string_view::npos || (c == '|' && place != Place::kLine)) {
      out += Entity(c);
      continue;
    }
    // An underscore inside a word is only text.
    const bool inside_word = i > 0 && i + 1 < line.size() && IsAlphanumeric(line[i - 1]) && IsAlphanumeric(line[i + 1]);
    const bool special = kBackslash.find(c) != std::string_view::npos || (c == '_' && !inside_word) ||
                         (link && (c == '[' || c == ']')) || (c == '#' && i == 0);
    if (special) out += '\\';
    out += c;
  }
  return out;
}

std::string LinkText(std::string_view text) { return Escape(text, Place::kLinkText, true); }

// Text inside an HTML element, where a backslash escapes nothing.
std::string EscapeSummary(std::string_view text) {
  std::string out;
  for (const char c : OneLine(text)) out += kEntities.find(c) == std::string_view::npos ? std::string(1, c) : Entity(c);
  return out;
}

// The text at the start of a block, where its first characters could make it a list, code, or the target of links.
std::string EscapeStart(std::string_view text, bool link) {
  std::string line = OneLine(text);
  line.erase(0, std::min(line.find_first_not_of(' '), line.size()));
  std::string out = Escape(line, Place::kLine, link);
  const std::size_t digits = std::min(out.find_first_not_of("0123456789"), out.size());
  const std::string_view mark = std::string_view(out).substr(digits, 2);
  if (digits > 0 && (mark == ". " || mark == ") " || mark == "." || mark == ")")) {
    out.insert(digits, "\\");
  } else if (out.starts_with('-') || out.starts_with('+') || out.starts_with('[')) {
    out.insert(0, "\\");
  }
  return out;
}

// Backticks that no run of them in `text` is as long as.
std::string Backticks(std::string_view text) {
  std::size_t longest = 0;
  std::size_t run = 0;
  for (const char c : text) {
    run = c == '`' ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  return std::string(longest + 1, '`');
}

std::string CodeSpan(std::string_view text) {
  const std::string line = OneLine(text);
  if (line.empty()) return "";
  const std::string marks = Backticks(line);
  const char* pad = marks.size() > 1 ? " " : "";
  return marks + pad + line + pad + marks;
}

std::string Line(const std::vector<document::Piece>& pieces) {
  std::string all;
  for (const document::Piece& piece : pieces) all += piece.text;
  const bool link = MakesLink(all);
  std::string out;
  for (const document::Piece& piece : pieces) {
    out += piece.code    ? CodeSpan(piece.text)
           : out.empty() ? EscapeStart(piece.text, link)
                         : Escape(piece.text, Place::kLine, link);
  }
  return out + "\n";
}

std::string CellText(const Cell& cell) {
  const std::string text = cell.link.empty() ? Escape(cell.text, Place::kCell, MakesLink(cell.text))
                                             : fmt::format("[{}]({})", LinkText(cell.text), RelativeAddress(cell.link));
  return cell.strong ? "**" + text + "**" : text;
}

std::string BlockText(const document::Heading& x) {
  return std::string(static_cast<std::size_t>(x.level), '#') + " " + Escape(x.text, Place::kLine, MakesLink(x.text)) +
         "\n";
}

std::string BlockText(const document::Paragraph& x) { return Line(x.pieces); }

std::string BlockText(const document::List& x) {
  std::string out;
  for (std::size_t i = 0; i < x.items.size(); ++i) {
    out += (x.numbered ? fmt::format("{}. ", i + 1) : "- ") + Line({x.items[i]});
  }
  return out;
}

std::string BlockText(const document::CodeBlock& x) {
  std::string lines;
  for (const std::string& line : x.lines) lines += OneLine(line) + "\n";
  const std::string fence(std::max<std::size_t>(Backticks(lines).size(), 3), '`');
  return fence + "\n" + lines + fence + "\n";
}

std::string BlockText(const document::Picture& x) {
  return fmt::format("![{}]({})\n\n[as SVG]({})\n", LinkText(x.title), RelativeAddress(x.png), RelativeAddress(x.svg));
}

// The columns of each table that shows a part of this one, the key in every part: first those without `detail`.
std::vector<std::vector<std::size_t>> PartsOf(const Table& table) {
  std::vector<std::size_t> first;
  std::vector<std::size_t> rest;
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    // What has no room in the first part, unless the key still comes.
    const std::size_t room = kMarkdownColumns - (i < table.key ? 1 : 0);
    const bool shown = i == table.key || (!table.columns[i].detail && first.size() < room);
    (shown ? first : rest).push_back(i);
  }
  std::vector<std::vector<std::size_t>> parts = {first};
  for (std::size_t i = 0; i < rest.size(); ++i) {
    if (i % (kMarkdownColumns - 1) == 0) parts.push_back({table.key});
    parts.back().push_back(rest[i]);
  }
  return parts;
}

Table Selected(const Table& table, const std::vector<std::size_t>& columns) {
  Table out;
  for (const std::size_t i : columns) out.columns.push_back(table.columns[i]);
  for (const std::vector<Cell>& row : table.rows) {
    std::vector<Cell> cells;
    for (const std::size_t i : columns) cells.push_back(row[i]);
    out.Add(std::move(cells));
  }
  return out;
}

std::string FoldText(std::string_view summary, std::string_view content) {
  return fmt::format("<details><summary>{}</summary>\n\n{}\n</details>\n", EscapeSummary(summary), content);
}

std::string TableText(const Table& table, bool folded) {
  const std::vector<std::vector<std::size_t>> parts = PartsOf(table);
  std::string more;
  for (std::size_t i = 1; i < parts.size(); ++i) more += (i == 1 ? "" : "\n") + ToMarkdown(Selected(table, parts[i]));
  const std::string out = ToMarkdown(Selected(table, parts[0]));
  return more.empty() ? out : out + "\n" + (folded ? more : FoldText("More columns of these rows", more));
}

std::string Blocks(const Document& document, bool folded);

std::string BlockText(const document::Fold& x) { return FoldText(x.summary, Blocks(x.content, true)); }

std::string Blocks(const Document& document, bool folded) {
  std::string out;
  for (const document::Block& block : document.blocks) {
    if (!out.empty()) out += "\n";
    out += std::visit(
        [&](const auto& x) {
          if constexpr (std::is_same_v<std::decay_t<decltype(x)>, Table>) {
            return TableText(x, folded);
          } else {
            return BlockText(x);
          }
        },
        block);
  }
  return out;
}

}  // namespace

std::string ToMarkdown(const Document& document) { return Blocks(document, false); }

std::string ToMarkdown(const Table& table) {
  std::string out = "|";
  for (const Column& column : table.columns) out += " " + CellText(column.title) + " |";
  out += "\n|";
  for (const Column& column : table.columns) out += column.align == Align::kLeft ? " --- |" : " ---: |";
  out += "\n";
  for (const std::vector<Cell>& row : table.rows) {
    out += "|";
    for (const Cell& cell : row) out += " " + CellText(cell) + " |";
    out += "\n";
  }
  return out;
}

}  // namespace marlin
