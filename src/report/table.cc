#include "report/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "base/check.h"

namespace marlin {
namespace {

// Columns that a terminal needs: code points, since every sign used here is one column wide.
std::size_t Width(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

// Code points that reorder or hide what stands around them: marks and overrides of direction, separators of lines and
// paragraphs, characters of no width, and the controls from 0x80.
bool IsUnseen(std::uint32_t c) {
  constexpr std::pair<std::uint32_t, std::uint32_t> kRanges[] = {
      {0x80, 0x9f},     {0xad, 0xad},     {0x61c, 0x61c},   {0x180e, 0x180e}, {0x200b, 0x200b},  {0x200e, 0x200f},
      {0x2028, 0x202e}, {0x2060, 0x206f}, {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xe0000, 0xe007f}};
  return std::ranges::any_of(kRanges, [c](const auto& range) { return c >= range.first && c <= range.second; });
}

struct Character {
  std::uint32_t code = 0;
  std::size_t bytes = 1;  // 1 also for what is no UTF-8
};

Character FirstOf(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const std::size_t bytes = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
  if (bytes == 1) return {lead, 1};
  if (bytes == 0 || text.size() < bytes) return {0xfffd, 1};
  std::uint32_t code = lead & (0xffu >> (bytes + 1));
  for (std::size_t i = 1; i < bytes; ++i) {
    const auto next = static_cast<unsigned char>(text[i]);
    if ((next & 0xc0) != 0x80) return {0xfffd, 1};
    code = code << 6 | (next & 0x3fu);
  }
  return {code, bytes};
}

}  // namespace

std::string OneLine(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const Character first = FirstOf(text);
    if (first.code < 0x20 || first.code == 0x7f) {
      out += ' ';
    } else if (first.code == 0xfffd || IsUnseen(first.code)) {
      out += "\xef\xbf\xbd";  // U+FFFD, which says that something was here
    } else {
      out += text.substr(0, first.bytes);
    }
    text.remove_prefix(first.bytes);
  }
  return out;
}

std::string RelativeAddress(std::string_view path) {
  std::string out;
  for (const char c : path) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("/._-~").find(c) != std::string_view::npos;
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

void Table::Add(std::vector<Cell> row) {
  MARLIN_CHECK(row.size() == columns.size(), "a cell for every column");
  rows.push_back(std::move(row));
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
